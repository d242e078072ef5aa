/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/common/qemu_doomed.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECONNECT_MS 500
#define PROMPT_MS    5000

/* Shared with the process that dies. */
static struct fate {
    struct moment moment;
    int signal;
    _Atomic uint16_t port;
    _Atomic bool reached;
    _Atomic bool receiving; /* the destination that lives has admitted its source */
} * fate;

static struct tern_vm inner; /* of the doomed process */

/* ---- the one that dies ---- */

static void reach(enum step step, uint32_t phase)
{
    if (fate->moment.step != step || fate->moment.phase != phase)
        return;
    atomic_store(&fate->reached, true);
    kill(getpid(), fate->signal);
    for (;;)
        pause();
}

static void on_event(void *opaque, const struct tern_event *event)
{
    (void)opaque;
    if (event->kind == TERN_EVENT_PHASE)
        reach(AT_PHASE, event->phase);
}

/* A source that vanishes before its lanes are there was never admitted, and the destination waits for another. */
static void on_source_event(void *opaque, const struct tern_event *event)
{
    for (int ms = 0; event->phase >= TERN_PHASE_PRE_COPY && ms < PROMPT_MS && !atomic_load(&fate->receiving); ms++)
        usleep(1000);
    on_event(opaque, event);
}

static void note_receiving(void *opaque, const struct tern_event *event)
{
    (void)opaque;
    if (event->phase == TERN_PHASE_PRE_COPY)
        atomic_store(&fate->receiving, true);
}

static int on_pause(void *opaque, struct tern_error *error)
{
    int r;

    reach(IN_PAUSE, 0);
    r = inner.pause(opaque, error);
    reach(AFTER_PAUSE, 0);
    return r;
}

static int on_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    int r = inner.save_state(opaque, buffer, capacity_bytes, length_bytes, error);

    reach(AFTER_SAVE, 0);
    return r;
}

static int on_commit(void *opaque, struct tern_error *error)
{
    int r;

    reach(IN_COMMIT, 0);
    r = inner.commit(opaque, error);
    reach(AFTER_COMMIT, 0);
    return r;
}

static int on_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    int r;

    reach(IN_LOAD, 0);
    r = inner.load_state(opaque, buffer, length_bytes, error);
    reach(AFTER_LOAD, 0);
    return r;
}

static int on_resume(void *opaque, struct tern_error *error)
{
    int r;

    reach(IN_RESUME, 0);
    r = inner.resume(opaque, error);
    reach(AFTER_RESUME, 0);
    return r;
}

static void wait_port(void)
{
    while (!atomic_load(&fate->port))
        usleep(1000);
}

static void be_source(struct qemu_side *side)
{
    struct tern_source *session;

    inner = side->description;
    side->description.pause = on_pause;
    side->description.save_state = on_save;
    side->description.commit = on_commit;
    wait_port();
    side->options.port = atomic_load(&fate->port);
    if (!tern_source_create(&side->description, &side->options, &session, NULL))
        tern_source_run(session, &side->result, NULL);
}

static void be_destination(struct qemu_side *side)
{
    struct tern_destination *session;

    inner = side->description;
    side->description.load_state = on_load;
    side->description.resume = on_resume;
    if (tern_destination_create(&side->description, &side->options, &session, NULL))
        return;
    atomic_store(&fate->port, tern_destination_port(session));
    tern_destination_run(session, &side->result, NULL);
}

pid_t doomed_spawn(struct qemu_side *side, enum tern_side which, struct moment moment, int signal)
{
    pid_t parent = getpid(), pid;

    /* a new one each: an earlier process may still live */
    fate = mmap(NULL, sizeof(*fate), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(fate, MAP_FAILED);
    *fate = (struct fate){.moment = moment, .signal = signal};
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    qemu_side_open(side, which);
    side->options.reconnect_ms = RECONNECT_MS;
    side->options.on_event = which == TERN_SIDE_SOURCE ? on_source_event : on_event;
    if (which == TERN_SIDE_SOURCE)
        be_source(side);
    else
        be_destination(side);
    _exit(0);
}

uint16_t doomed_port(void)
{
    wait_port();
    return atomic_load(&fate->port);
}

void doomed_set_port(uint16_t port)
{
    atomic_store(&fate->port, port);
}

static void bury(pid_t pid)
{
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert(atomic_load(&fate->reached), "%s was never reached", fate->moment.name);
}

/* ---- the one that is left ---- */

static void *run_destination(void *opaque)
{
    struct qemu_side *side = opaque;
    struct tern_destination *session;

    cr_assert_eq(tern_destination_create(&side->description, &side->options, &session, NULL), 0);
    atomic_store(&fate->port, tern_destination_port(session));
    side->code = tern_destination_run(session, &side->result, &side->error);
    tern_destination_destroy(session);
    if (side->result.outcome == TERN_OUTCOME_FAILED)
        qemu_vm_leave(side->vm, false, NULL);
    return NULL;
}

static void run_source(struct qemu_side *side)
{
    struct tern_source *session;

    wait_port();
    side->options.port = atomic_load(&fate->port);
    side->options.reconnect_ms = RECONNECT_MS;
    cr_assert_eq(tern_source_create(&side->description, &side->options, &session, NULL), 0);
    side->code = tern_source_run(session, &side->result, &side->error);
    tern_source_destroy(session);
}

/* ---- around it ---- */

void doomed_start(struct doomed_bench *bench, const char *kernel)
{
    qemu_side_start(&bench->a, kernel);
    qemu_side_start(&bench->b, NULL);
}

void doomed_end(struct doomed_bench *bench)
{
    qemu_side_end(&bench->a);
    qemu_side_end(&bench->b);
}

void doomed_replace(struct qemu_side *side)
{
    qemu_side_end(side);
    qemu_side_start(side, NULL);
}

/* The guest is at b: that is a from here on. */
void doomed_swap(struct doomed_bench *bench)
{
    qemu_side_end(&bench->a);
    bench->a = bench->b;
    qemu_side_start(&bench->b, NULL);
}

void doomed_next_succeeds(struct doomed_bench *bench, const char *name)
{
    pthread_t thread;

    atomic_store(&fate->port, 0);
    qemu_side_open(&bench->b, TERN_SIDE_DESTINATION);
    qemu_side_open(&bench->a, TERN_SIDE_SOURCE);
    bench->a.options.verify = true;
    cr_assert_eq(pthread_create(&thread, NULL, run_destination, &bench->b), 0);
    run_source(&bench->a);
    pthread_join(thread, NULL);
    cr_assert_eq(bench->a.code, 0, "%s, then: %s", name, bench->a.error.message);
    cr_assert_eq(bench->b.code, 0, "%s, then: %s", name, bench->b.error.message);
    qemu_side_close(&bench->a);
    qemu_side_close(&bench->b);
    qemu_side_expect_settings(&bench->a, name);
    qemu_side_expect_as_before(&bench->b, name);
    doomed_swap(bench);
}

void doomed_source(struct doomed_bench *bench, struct moment moment)
{
    pid_t pid = doomed_spawn(&bench->a, TERN_SIDE_SOURCE, moment, SIGKILL);

    qemu_side_open(&bench->b, TERN_SIDE_DESTINATION);
    bench->b.options.on_event = note_receiving;
    run_destination(&bench->b);
    bury(pid);
    cr_assert_eq(bench->b.result.outcome, TERN_OUTCOME_FAILED, "%s: outcome %d: %s", moment.name,
                 bench->b.result.outcome, bench->b.error.message);
    qemu_side_close(&bench->b);
}

void doomed_destination(struct doomed_bench *bench, struct moment moment, enum tern_outcome outcome)
{
    pid_t pid = doomed_spawn(&bench->b, TERN_SIDE_DESTINATION, moment, SIGKILL);

    qemu_side_open(&bench->a, TERN_SIDE_SOURCE);
    run_source(&bench->a);
    bury(pid);
    cr_assert_eq(bench->a.result.outcome, outcome, "%s: %s", moment.name, bench->a.error.message);
    qemu_side_close(&bench->a);
}

void doomed_expect_doubt(struct qemu_side *side, const char *run_state, const char *name)
{
    qemu_side_expect(side, run_state, name);
    qemu_side_expect_doubt(side, true, name);
    qemu_side_expect_settings(side, name);
    cr_assert_eq(qemu_side_tern(side, "cont", "--quiet"), 1, "%s: a guest in doubt was run", name);
    cr_assert_eq(qemu_side_tern(side, "migrate", "--to 127.0.0.1:1 --quiet"), 1, "%s: it was migrated", name);
    qemu_side_expect(side, run_state, name);
}

void doomed_resolve(struct qemu_side *side, bool here, const char *name)
{
    cr_assert_eq(qemu_side_tern(side, "resolve", here ? "--owner here" : "--owner there"), 0, "%s", name);
    if (here)
        qemu_side_expect_as_before(side, name);
    else
        qemu_side_expect_ended(side, name);
    if (here)
        cr_assert_eq(qemu_side_tern(side, "resolve", "--owner there --quiet"), 1, "%s: resolved twice", name);
}
