/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU dies (SIGKILL) at each step of its migration. Both terns end within seconds, and say so; the guest runs at the
 * other side if that one had it or was to have it, and QEMU there is set as before. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "tests/common/qemu_side.h"
#include "transport/clock.h"

#define PROMPT_MS                                                                                                      \
    (bench.signal == SIGKILL ? 6000ull : 20000ull) /* commands to a stopped one run into their time-out                \
                                                    */
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum step { AT_PRE_COPY, AFTER_PAUSE, AFTER_SAVE, IN_COMMIT, AFTER_COMMIT, IN_LOAD, AFTER_LOAD, IN_RESUME };

static const char *const names[] = {
    "pre-copy", "paused", "saved", "about to commit", "committed", "about to load", "loaded", "about to run",
};

static struct bench {
    struct qemu_side a, b;
    struct tern_vm source, destination; /* their own callbacks */
    struct qemu_side *victim;
    enum step step;
    int signal;
    uint64_t at_ns; /* when it came */
    struct tern_destination *session;
} bench;

static void reach(enum step step)
{
    if (step != bench.step || bench.at_ns)
        return;
    bench.at_ns = clock_now_ns();
    kill(bench.victim->qemu.pid, bench.signal);
    if (bench.signal == SIGKILL)
        qemu_side_expect_ended(bench.victim, names[step]);
}

static void on_event(void *opaque, const struct tern_event *event)
{
    (void)opaque;
    if (event->kind == TERN_EVENT_PHASE && event->phase == TERN_PHASE_PRE_COPY)
        reach(AT_PRE_COPY);
}

static int on_pause(void *opaque, struct tern_error *error)
{
    int r = bench.source.pause(opaque, error);

    reach(AFTER_PAUSE);
    return r;
}

static int on_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    int r = bench.source.save_state(opaque, buffer, capacity_bytes, length_bytes, error);

    reach(AFTER_SAVE);
    return r;
}

static int on_commit(void *opaque, struct tern_error *error)
{
    int r;

    reach(IN_COMMIT);
    r = bench.source.commit(opaque, error);
    reach(AFTER_COMMIT);
    return r;
}

static int on_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    int r;

    reach(IN_LOAD);
    r = bench.destination.load_state(opaque, buffer, length_bytes, error);
    reach(AFTER_LOAD);
    return r;
}

static int on_resume(void *opaque, struct tern_error *error)
{
    reach(IN_RESUME);
    return bench.destination.resume(opaque, error);
}

static void *run_destination(void *opaque)
{
    (void)opaque;
    bench.b.code = tern_destination_run(bench.session, &bench.b.result, &bench.b.error);
    return NULL;
}

static void run(bool is_source, enum step step, int signal)
{
    struct tern_source *session;
    pthread_t thread;

    bench = (struct bench){.step = step, .signal = signal};
    bench.victim = is_source ? &bench.a : &bench.b;
    qemu_side_start(&bench.a, QEMU_WRITER);
    qemu_side_start(&bench.b, NULL);
    qemu_side_open(&bench.a, TERN_SIDE_SOURCE);
    qemu_side_open(&bench.b, TERN_SIDE_DESTINATION);
    bench.source = bench.a.description;
    bench.destination = bench.b.description;
    bench.a.description.pause = on_pause;
    bench.a.description.save_state = on_save;
    bench.a.description.commit = on_commit;
    bench.b.description.load_state = on_load;
    bench.b.description.resume = on_resume;
    bench.a.options.on_event = on_event;
    cr_assert_eq(tern_destination_create(&bench.b.description, &bench.b.options, &bench.session, NULL), 0);
    bench.a.options.port = tern_destination_port(bench.session);
    cr_assert_eq(pthread_create(&thread, NULL, run_destination, NULL), 0);
    cr_assert_eq(tern_source_create(&bench.a.description, &bench.a.options, &session, NULL), 0);
    bench.a.code = tern_source_run(session, &bench.a.result, &bench.a.error);
    pthread_join(thread, NULL);
    tern_source_destroy(session);
    tern_destination_destroy(bench.session);
    cr_assert_neq(bench.at_ns, 0, "%s was not reached", names[step]);
    cr_assert_lt(clock_now_ns() - bench.at_ns, PROMPT_MS * NS_PER_MS, "%s", names[step]);
}

static void finish(void)
{
    uint64_t begin_ns = clock_now_ns();

    qemu_side_close(&bench.a);
    qemu_side_close(&bench.b);
    cr_assert_lt(clock_now_ns() - begin_ns, PROMPT_MS * NS_PER_MS, "%s", names[bench.step]);
}

Test(qemu_dies, source_before_the_commit, .timeout = 90)
{
    static const enum step steps[] = {AT_PRE_COPY, AFTER_PAUSE, AFTER_SAVE, IN_COMMIT};

    for (size_t i = 0; i < COUNT(steps); i++) {
        run(true, steps[i], SIGKILL);
        cr_assert_eq(bench.a.result.outcome, TERN_OUTCOME_FAILED, "%s", names[steps[i]]);
        cr_assert_gt(strlen(bench.a.error.message), 0, "%s", names[steps[i]]);
        cr_assert_eq(bench.b.result.outcome, TERN_OUTCOME_FAILED, "%s", names[steps[i]]);
        cr_assert_eq(qemu_vm_leave(bench.b.vm, false, NULL), 0);
        finish();
        if (steps[i] >= AFTER_SAVE) /* noticed when the destination has it all */
            qemu_side_expect_ended(&bench.b, names[steps[i]]);
        else
            qemu_side_expect(&bench.b, "inmigrate", names[steps[i]]);
        qemu_side_end(&bench.a);
        qemu_side_end(&bench.b);
    }
}

Test(qemu_dies, source_that_has_committed, .timeout = 90)
{
    run(true, AFTER_COMMIT, SIGKILL);
    cr_assert_eq(bench.a.result.outcome, TERN_OUTCOME_MIGRATED, "%s", bench.a.error.message);
    cr_assert_eq(bench.b.result.outcome, TERN_OUTCOME_MIGRATED, "%s", bench.b.error.message);
    cr_assert_eq(qemu_vm_leave(bench.a.vm, false, NULL), 0);
    finish();
    qemu_side_expect_as_before(&bench.b, "committed");
    qemu_side_end(&bench.a);
    qemu_side_end(&bench.b);
}

Test(qemu_dies, destination, .timeout = 90)
{
    static const enum step steps[] = {AT_PRE_COPY, IN_LOAD, AFTER_LOAD, IN_RESUME};

    for (size_t i = 0; i < COUNT(steps); i++) {
        run(false, steps[i], SIGKILL);
        cr_assert_eq(bench.a.result.outcome, TERN_OUTCOME_FAILED, "%s", names[steps[i]]);
        cr_assert_eq(bench.b.result.outcome, TERN_OUTCOME_FAILED, "%s", names[steps[i]]);
        cr_assert_not_null(strstr(bench.b.error.message, "QEMU"), "%s: %s", names[steps[i]], bench.b.error.message);
        cr_assert_eq(qemu_vm_leave(bench.b.vm, false, NULL), 0);
        finish();
        qemu_side_expect_as_before(&bench.a, names[steps[i]]);
        qemu_side_end(&bench.a);
        qemu_side_end(&bench.b);
    }
}

/* Told to run the guest it stands still, and would run it when it goes on: it is ended before the source goes on. */
Test(qemu_dies, destination_that_does_not_answer, .timeout = 90)
{
    run(false, IN_RESUME, SIGSTOP);
    cr_assert_eq(bench.a.result.outcome, TERN_OUTCOME_FAILED, "%s", bench.a.error.message);
    cr_assert_eq(bench.b.result.outcome, TERN_OUTCOME_FAILED, "%s", bench.b.error.message);
    qemu_side_expect_ended(&bench.b, "stopped");
    finish();
    qemu_side_expect_as_before(&bench.a, "stopped");
    qemu_side_end(&bench.a);
    qemu_side_end(&bench.b);
}
