/* SPDX-License-Identifier: BSD-2-Clause */
/* One side is killed, or stands still for good, at each step of a migration. The other says so within seconds and has
 * what the handover promises: the source its running guest, or doubt once the commit may have been heard; the
 * destination nothing that runs, and no thread or descriptor left. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/common/pair.h"

#define MIB          (1ull << 20)
#define PROMPT_MS    5000
#define RECONNECT_MS 500

enum step {
    AT_PHASE, /* the event of a phase */
    AT_ROUND, /* the end of a round */
    IN_PAUSE,
    IN_SAVE,
    IN_LOAD,
    IN_RESUME,
    AFTER_RESUME,
};

struct moment {
    enum step step;
    uint32_t which; /* phase or round */
    const char *name;
};

/* Shared with the process that dies. */
static struct fate {
    struct moment moment;
    int signal;
    uint16_t port;
    _Atomic uint64_t at_ms; /* when it came */
    _Atomic bool receiving; /* the destination that lives has admitted its source */
    struct tern_vm inner;
} * fate;

static const struct process_guest_config busy = {
    .memory_bytes = 48 * MIB,
    .high_bytes = 8 * MIB,
    .random_bytes = 24 * MIB,
    .working_set_bytes = 8 * MIB,
    .dirty_pages_ps = 10000,
    .seed = 9,
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the one that dies ---- */

static void reach(enum step step, uint32_t which)
{
    if (fate->moment.step != step || fate->moment.which != which || atomic_load(&fate->at_ms))
        return;
    atomic_store(&fate->at_ms, now_ms());
    kill(getpid(), fate->signal);
    for (;;) /* until the signal has come */
        pause();
}

static void on_event(struct pair *pair, const struct tern_event *event)
{
    (void)pair;
    if (event->kind == TERN_EVENT_PHASE)
        reach(AT_PHASE, event->phase);
    if (event->kind == TERN_EVENT_ROUND)
        reach(AT_ROUND, event->round);
}

/* A source that vanishes before its lanes are there was never admitted, and the destination waits for another. */
static void on_source_event(struct pair *pair, const struct tern_event *event)
{
    for (int ms = 0; event->phase >= TERN_PHASE_PRE_COPY && ms < PROMPT_MS && !atomic_load(&fate->receiving); ms++)
        usleep(1000);
    on_event(pair, event);
}

static void note_receiving(struct pair *pair, const struct tern_event *event)
{
    (void)pair;
    if (event->phase == TERN_PHASE_PRE_COPY)
        atomic_store(&fate->receiving, true);
}

static int pause_and_die(void *opaque, struct tern_error *error)
{
    reach(IN_PAUSE, 0);
    return fate->inner.pause(opaque, error);
}

static int save_and_die(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                        struct tern_error *error)
{
    reach(IN_SAVE, 0);
    return fate->inner.save_state(opaque, buffer, capacity_bytes, length_bytes, error);
}

static int load_and_die(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    reach(IN_LOAD, 0);
    return fate->inner.load_state(opaque, buffer, length_bytes, error);
}

static int resume_and_die(void *opaque, struct tern_error *error)
{
    int r;

    reach(IN_RESUME, 0);
    r = fate->inner.resume(opaque, error);
    reach(AFTER_RESUME, 0);
    return r;
}

static void wait_for_port(void)
{
    while (!__atomic_load_n(&fate->port, __ATOMIC_ACQUIRE))
        usleep(1000);
}

static void set_port(uint16_t port)
{
    __atomic_store_n(&fate->port, port, __ATOMIC_RELEASE);
}

static void be_source(void)
{
    struct pair own;

    pair_init(&own, &busy, NULL, pair_host(false));
    own.source_options.reconnect_ms = RECONNECT_MS;
    wait_for_port();
    own.source_options.port = fate->port;
    fate->inner = own.source_vm;
    own.source_vm.pause = pause_and_die;
    own.source_vm.save_state = save_and_die;
    own.on_source_event = on_source_event;
    process_guest_start(own.source);
    if (!tern_source_create(&own.source_vm, &own.source_options, &own.source_session, NULL))
        tern_source_run(own.source_session, &own.source_result, NULL);
}

static void be_destination(void)
{
    struct pair own;

    pair_init(&own, &busy, NULL, pair_host(false));
    process_guest_describe(own.destination, &own.destination_vm); /* there is no source here to compare with */
    fate->inner = own.destination_vm;
    own.destination_vm.load_state = load_and_die;
    own.destination_vm.resume = resume_and_die;
    own.on_destination_event = on_event;
    pair_start_destination(&own);
    set_port(own.source_options.port);
    pthread_join(own.destination_thread, NULL);
}

static pid_t start_doomed(void (*side)(void), struct moment moment, int signal)
{
    pid_t pid;

    if (!fate)
        fate = mmap(NULL, sizeof(*fate), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(fate, MAP_FAILED);
    *fate = (struct fate){.moment = moment, .signal = signal};
    pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        side();
        _exit(0);
    }
    cr_assert_gt(pid, 0);
    return pid;
}

static void bury(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status), "%s was never reached", fate->moment.name);
}

/* ---- the one that is left ---- */

static uint32_t count_entries(const char *path)
{
    DIR *dir = opendir(path);
    uint32_t n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

struct left {
    uint32_t descriptors, threads;
};

static struct left count_left(void)
{
    return (struct left){count_entries("/proc/self/fd"), count_entries("/proc/self/task")};
}

static void nothing_leaked(struct left before)
{
    struct left after = count_left();

    cr_assert_eq(after.descriptors, before.descriptors, "%s: %u descriptors, %u before", fate->moment.name,
                 after.descriptors, before.descriptors);
    cr_assert_eq(after.threads, before.threads, "%s: %u threads, %u before", fate->moment.name, after.threads,
                 before.threads);
}

static void in_time(uint64_t most_ms)
{
    uint64_t at_ms = atomic_load(&fate->at_ms), took_ms = now_ms() - at_ms;

    cr_assert_neq(at_ms, 0, "%s was never reached", fate->moment.name);
    cr_assert_leq(took_ms, most_ms, "%s, signal %d: told after %llu ms", fate->moment.name, fate->signal,
                  (unsigned long long)took_ms);
}

static void check_source(struct pair *pair, enum tern_outcome outcome)
{
    cr_assert_eq(pair->source_result.outcome, outcome, "%s, signal %d: %s", fate->moment.name, fate->signal,
                 pair->source_error.message);
    if (outcome == TERN_OUTCOME_FAILED) {
        cr_assert_lt(pair->source_code, 0);
        cr_assert_not_null(strstr(pair->source_error.message, "destination"), "%s, signal %d: %s", fate->moment.name,
                           fate->signal, pair->source_error.message);
        pair_check_stayed(pair);
    } else {
        cr_assert_eq(pair->source_code, -EINPROGRESS);
        cr_assert(!process_guest_runs(pair->source), "%s: it runs here, and may run there", fate->moment.name);
    }
}

static void destination_dies(struct moment moment, int signal, enum tern_outcome outcome)
{
    pid_t pid = start_doomed(be_destination, moment, signal);
    struct left before;
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.source_options.reconnect_ms = RECONNECT_MS;
    process_guest_start(pair.source);
    wait_for_port();
    pair.source_options.port = fate->port;
    before = count_left();
    cr_assert_eq(tern_source_create(&pair.source_vm, &pair.source_options, &pair.source_session, NULL), 0);
    pair.source_result.struct_bytes = sizeof(pair.source_result);
    pair.source_code = tern_source_run(pair.source_session, &pair.source_result, &pair.source_error);
    in_time(PROMPT_MS + (outcome == TERN_OUTCOME_IN_DOUBT ? 2 * RECONNECT_MS : 0));
    tern_source_destroy(pair.source_session);
    nothing_leaked(before);
    check_source(&pair, outcome);
    bury(pid);
    pair_free(&pair);
}

static void source_dies(struct moment moment, int signal, enum tern_outcome outcome)
{
    pid_t pid = start_doomed(be_source, moment, signal);
    struct left before;
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    process_guest_describe(pair.destination, &pair.destination_vm);
    pair.on_destination_event = note_receiving;
    before = count_left();
    pair_start_destination(&pair);
    set_port(pair.source_options.port);
    pthread_join(pair.destination_thread, NULL);
    if (outcome == TERN_OUTCOME_FAILED)
        in_time(PROMPT_MS);
    else /* it waits for longer than a source seeks */
        in_time(PROMPT_MS + RECONNECT_MS + 2 * 4000 + 1000);
    tern_destination_destroy(pair.destination_session);
    nothing_leaked(before);
    cr_assert_eq(pair.destination_result.outcome, outcome, "%s, signal %d: %s", moment.name, signal,
                 pair.destination_error.message);
    cr_assert_lt(pair.destination_code, 0);
    cr_assert_not_null(strstr(pair.destination_error.message, "source"), "%s, signal %d: %s", moment.name, signal,
                       pair.destination_error.message);
    cr_assert(!process_guest_runs(pair.destination), "%s", moment.name);
    bury(pid);
    pair_free(&pair);
}

/* ---- moments ---- */

/* Until the destination may have heard the commit, its end is a failed migration and no more. */
static const struct moment before_commit[] = {
    {AT_PHASE, TERN_PHASE_INITIATE, "initiate"},
    {AT_PHASE, TERN_PHASE_PRE_COPY, "pre-copy"},
    {AT_ROUND, 1, "round 1"},
    {AT_ROUND, 2, "round 2"},
    {IN_LOAD, 0, "load_state"},
    {AT_PHASE, TERN_PHASE_COMMIT, "about to say READY"},
};

static const struct moment after_commit[] = {
    {AT_PHASE, TERN_PHASE_ACTIVATE, "commit heard"},
    {IN_RESUME, 0, "resume"},
    {AFTER_RESUME, 0, "about to say ACTIVE"},
};

static const struct moment of_source[] = {
    {AT_PHASE, TERN_PHASE_PRE_COPY, "pre-copy"},
    {AT_ROUND, 1, "round 1"},
    {AT_PHASE, TERN_PHASE_STOP_AND_COPY, "stop-and-copy"},
    {IN_PAUSE, 0, "pause"},
    {IN_SAVE, 0, "save_state"},
    {AT_PHASE, TERN_PHASE_COMMIT, "all sent"},
};

static const struct moment ready_heard = {AT_PHASE, TERN_PHASE_ACTIVATE, "about to say COMMIT"};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

Test(killed, destination_before_the_commit, .timeout = 120)
{
    for (size_t i = 0; i < COUNT(before_commit); i++)
        destination_dies(before_commit[i], SIGKILL, TERN_OUTCOME_FAILED);
}

Test(killed, destination_after_the_commit, .timeout = 120)
{
    for (size_t i = 0; i < COUNT(after_commit); i++)
        destination_dies(after_commit[i], SIGKILL, TERN_OUTCOME_IN_DOUBT);
}

Test(stopped, destination_before_the_commit, .timeout = 120)
{
    for (size_t i = 0; i < COUNT(before_commit); i++)
        destination_dies(before_commit[i], SIGSTOP, TERN_OUTCOME_FAILED);
}

Test(stopped, destination_after_the_commit, .timeout = 120)
{
    for (size_t i = 0; i < COUNT(after_commit); i++)
        destination_dies(after_commit[i], SIGSTOP, TERN_OUTCOME_IN_DOUBT);
}

Test(killed, source_before_the_commit, .timeout = 120)
{
    for (size_t i = 0; i < COUNT(of_source); i++)
        source_dies(of_source[i], SIGKILL, TERN_OUTCOME_FAILED);
    source_dies(ready_heard, SIGKILL, TERN_OUTCOME_FAILED); /* its orderly end proves that no commit was sent */
}

Test(stopped, source_before_the_commit, .timeout = 120)
{
    for (size_t i = 0; i < COUNT(of_source); i++)
        source_dies(of_source[i], SIGSTOP, TERN_OUTCOME_FAILED);
}

/* It may have sent the commit for all that the destination knows: the guest is kept, and nobody's yet. */
Test(stopped, source_about_to_commit, .timeout = 60)
{
    source_dies(ready_heard, SIGSTOP, TERN_OUTCOME_IN_DOUBT);
}
