/* SPDX-License-Identifier: BSD-2-Clause */
/* tern is killed in the middle of a look for which it had QEMU stop its guest: the guest runs again. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "migrate/dirty/tracker.h"
#include "tests/common/qemu.h"
#include "tools/qemu/drained_tracker.h"
#include "tools/qemu/migration_status.h"

#define PATIENCE_MS 20000

static int die(void *self, struct tern_error *error)
{
    (void)self, (void)error;
    raise(SIGKILL);
    return 0;
}

static int no_fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    (void)self, (void)region, (void)bitmap, (void)error;
    return 0;
}

static void no_stop(void *self)
{
    (void)self;
}

static const struct tern_tracker_ops ops = {"deadly", die, no_fetch, NULL, no_stop};

/* In a process of its own. */
static void look_and_die(const char *path)
{
    struct tracker_base base = {0};
    struct tern_tracker inner = {&ops, &base}, tracker;
    static struct guest_ram ram;
    struct guardian *guardian;
    struct qmp *qmp;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (guardian_create(path, &guardian, NULL) || qmp_connect(path, 5000, &qmp, NULL) ||
        drained_tracker_create(&inner, &ram, qmp, guardian, &tracker, NULL))
        _exit(1);
    tracker.ops->start(tracker.self, NULL);
    _exit(2);
}

Test(qemu_drained, tern_is_killed_during_a_look, .timeout = 60)
{
    struct tern_error error = {0};
    struct json_object *event;
    struct qemu qemu = {0};
    char path[128];
    int status;
    pid_t pid;

    qemu_start(&qemu, "-M q35 -m 32M -qmp unix:@/second,server=on,wait=off");
    snprintf(path, sizeof(path), "%s/second", qemu.folder);
    cr_assert_eq(qemu_wait_run_state(qemu.qmp, "running", PATIENCE_MS, &error), 0, "%s", error.message);
    qmp_forget_events(qemu.qmp);
    pid = fork();
    if (!pid)
        look_and_die(path);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status 0x%x", status);
    cr_assert_eq(qmp_event(qemu.qmp, "STOP", PATIENCE_MS, &event, &error), 0, "it was never stopped: %s",
                 error.message);
    json_object_put(event);
    cr_assert_eq(qemu_wait_run_state(qemu.qmp, "running", PATIENCE_MS, &error), 0, "%s", error.message);
    qemu_end(&qemu);
}
