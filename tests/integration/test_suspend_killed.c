/* SPDX-License-Identifier: BSD-2-Clause */
/* Whoever suspends a guest is killed (SIGKILL), at every step and at any moment: there is no image, or a whole one; an
 * older image is there unless the new one is; the next suspend is not in the way of what was left. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/suspended.h"
#include "transport/clock.h"

#define MIB (1ull << 20)

enum step { AT_START, IN_PRE_COPY, IN_PAUSE, AFTER_PAUSE, AFTER_SAVE, IN_COMMIT, DONE, NEVER };

static const char *const names[] = {"at the start", "in pre-copy", "about to pause", "paused",
                                    "saved",        "in commit",   "done",           "never"};

static const struct process_guest_config config = {.memory_bytes = 64 * MIB,
                                                   .random_bytes = 32 * MIB,
                                                   .working_set_bytes = 8 * MIB,
                                                   .dirty_pages_ps = 10000,
                                                   .seed = 13};

static enum step doom;

static void die_at(enum step step)
{
    if (doom == step)
        raise(SIGKILL);
}

static void on_event(void *opaque, const struct tern_event *event)
{
    (void)opaque;
    if (event->kind == TERN_EVENT_PHASE && event->phase == TERN_PHASE_PRE_COPY)
        die_at(AT_START);
    if (event->kind == TERN_EVENT_ROUND)
        die_at(IN_PRE_COPY);
}

static int doomed_pause(void *opaque, struct tern_error *error)
{
    struct tern_vm vm;
    int r;

    process_guest_describe(opaque, &vm);
    die_at(IN_PAUSE);
    r = vm.pause(opaque, error);
    die_at(AFTER_PAUSE);
    return r;
}

static int doomed_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                       struct tern_error *error)
{
    struct tern_vm vm;
    int r;

    process_guest_describe(opaque, &vm);
    r = vm.save_state(opaque, buffer, capacity_bytes, length_bytes, error);
    die_at(AFTER_SAVE);
    return r;
}

static int doomed_commit(void *opaque, struct tern_error *error)
{
    (void)opaque;
    (void)error;
    die_at(IN_COMMIT);
    return 0;
}

static int suspend_doomed(const char *path)
{
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct process_guest *guest;
    struct tern_options options;
    struct tern_suspend *session;
    struct tern_vm vm;

    if (process_guest_create(&config, true, &guest, NULL))
        return 1;
    process_guest_describe(guest, &vm);
    process_guest_start(guest);
    vm.pause = doomed_pause;
    vm.save_state = doomed_save;
    vm.commit = doomed_commit;
    tern_options_init(&options);
    options.on_event = on_event;
    options.downtime_limit_ns = 2 * NS_PER_S;
    return tern_suspend_create(&vm, path, &options, &session, NULL) || tern_suspend_run(session, &result, NULL);
}

/* A process with a guest, which it suspends to that path. */
static pid_t spawn(const char *path, enum step step)
{
    pid_t pid = fork();

    cr_assert_geq(pid, 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    doom = step;
    if (suspend_doomed(path))
        _exit(1);
    die_at(DONE);
    _exit(0);
}

/* The threads of this process have begun, and allocate nothing any more: AddressSanitizer's allocator does not bear a
 * fork while another thread is in it. */
static void start(struct suspended *s)
{
    suspended_init(s, &config, NULL);
    while (process_guest_steps(s->guest) < 200)
        usleep(1000);
}

static void wait_killed(pid_t pid, const char *name)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: %x", name, status);
}

static uint64_t created_digest(const char *path, const char *name)
{
    struct tern_image image = {.struct_bytes = sizeof(image)};
    struct tern_error error = {0};

    cr_assert_eq(tern_image_check(path, &error), 0, "%s: %s", name, error.message);
    cr_assert_eq(tern_image_read(path, &image, &error), 0);
    return image.sections[0].digest;
}

Test(suspend_killed, at_every_step, .timeout = 120)
{
    struct suspended s;

    start(&s);
    for (enum step step = AT_START; step < NEVER; step++) {
        wait_killed(spawn(s.path, step), names[step]);
        if (step < DONE)
            cr_assert_not(suspended_has(&s, ""), "%s: an image is there", names[step]);
        else
            created_digest(s.path, names[step]);
    }
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert_not(suspended_has(&s, ".partial"));
    cr_assert_eq(suspended_resume(&s, false), 0, "%s", s.error.message);
    suspended_expect_back(&s);
    suspended_free(&s);
}

Test(suspend_killed, an_older_image_stays, .timeout = 120)
{
    struct suspended s;
    uint64_t digest;

    start(&s);
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    digest = created_digest(s.path, "the older one");
    for (enum step step = AT_START; step < DONE; step++) {
        wait_killed(spawn(s.path, step), names[step]);
        cr_assert_eq(created_digest(s.path, names[step]), digest, "%s: it is another one", names[step]);
    }
    suspended_free(&s);
}

/* How long one takes is measured, so that the moments spread over all of it. */
Test(suspend_killed, at_any_moment, .timeout = 120)
{
    struct suspended s;
    uint64_t begin_ns, took_ns;
    int status, n_images = 0, n_killed = 0;

    start(&s);
    begin_ns = clock_now_ns();
    cr_assert_eq(waitpid(spawn(s.path, NEVER), &status, 0) > 0 && status, 0);
    took_ns = clock_now_ns() - begin_ns;
    cr_assert_eq(unlink(s.path), 0);
    for (uint64_t i = 0; i < 24; i++) {
        pid_t pid = spawn(s.path, NEVER);
        struct timespec nap = clock_timespec(took_ns * i / 24);

        nanosleep(&nap, NULL);
        kill(pid, SIGKILL);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        n_killed += WIFSIGNALED(status);
        if (!suspended_has(&s, ""))
            continue;
        created_digest(s.path, "killed");
        unlink(s.path);
        n_images++;
    }
    cr_assert_gt(n_killed, 0);
    cr_log_info("%d killed of 24, %d whole images", n_killed, n_images);
    suspended_free(&s);
}
