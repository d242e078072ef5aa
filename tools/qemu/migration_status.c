/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/migration_status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "transport/clock.h"
#include "transport/error.h"

#define LOOK_MS 50 /* an event usually comes first */

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

int migration_status(struct qmp *qmp, char status[32], char reason[160], struct tern_error *error)
{
    struct json_object *reply;
    int r = qmp_command(qmp, "query-migrate", NULL, QMP_TIMEOUT_MS, &reply, error);

    if (r)
        return r;
    copy(status, 32, qmp_text(reply, "status"));
    if (!*status)
        copy(status, 32, "none");
    if (reason)
        copy(reason, 160, qmp_text(reply, "error-desc"));
    json_object_put(reply);
    return 0;
}

/* QEMU's clock of events is the wall's; ours is monotonic. A step of the wall clock in between must not make a moment
 * that has not been. */
static uint64_t moment_of(struct json_object *event)
{
    struct json_object *stamp = NULL;
    struct timespec wall;
    uint64_t now_ns = clock_now_ns(), then_us, wall_us;

    clock_gettime(CLOCK_REALTIME, &wall);
    json_object_object_get_ex(event, "timestamp", &stamp);
    then_us = qmp_number(stamp, "seconds", 0) * 1000000 + qmp_number(stamp, "microseconds", 0);
    wall_us = (uint64_t)wall.tv_sec * 1000000 + (uint64_t)wall.tv_nsec / 1000;
    return then_us && then_us < wall_us && (wall_us - then_us) * 1000 < now_ns ? now_ns - (wall_us - then_us) * 1000
                                                                               : now_ns;
}

/* The status that the next MIGRATION event tells; none came for a while: what QEMU answers when it is asked. The reason
 * of a failure is only in the answer. */
static int next_status(struct qmp *qmp, char status[32], char reason[160], uint64_t *at_ns, struct tern_error *error)
{
    struct json_object *event, *data = NULL;
    int r = qmp_event(qmp, "MIGRATION", LOOK_MS, &event, error);

    *reason = 0;
    if (!r) {
        json_object_object_get_ex(event, "data", &data);
        copy(status, 32, qmp_text(data, "status"));
        *at_ns = moment_of(event);
        json_object_put(event);
    }
    if (r == -ETIMEDOUT || (!r && !strcmp(status, "failed"))) {
        *at_ns = clock_now_ns();
        r = migration_status(qmp, status, reason, error);
    }
    return r;
}

int migration_wait(struct qmp *qmp, const char *wanted, const char *what, int timeout_ms, uint64_t *active_ns,
                   struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms), at_ns;
    char status[32], reason[160];

    for (;;) {
        int r = next_status(qmp, status, reason, &at_ns, error);

        if (r)
            return r;
        if (active_ns && !strcmp(status, "active"))
            *active_ns = at_ns;
        if (!strcmp(status, wanted))
            return 0;
        if (!strcmp(status, "failed") || !strcmp(status, "cancelled"))
            return error_set(error, -EREMOTEIO, "QEMU's own output may say more", "QEMU cannot %s: %s", what,
                             *reason ? reason : status);
        if (!clock_left_ms(deadline_ns) && qmp_goes_on(qmp))
            deadline_ns = clock_after_ms((uint32_t)timeout_ms);
        else if (!clock_left_ms(deadline_ns))
            return error_set(error, -ETIMEDOUT, NULL, "QEMU does not %s within %d s: its migration is '%s'", what,
                             timeout_ms / 1000, status);
    }
}

int qemu_run_state(struct qmp *qmp, char state[32], struct tern_error *error)
{
    struct json_object *reply;
    int r = qmp_command(qmp, "query-status", NULL, QMP_TIMEOUT_MS, &reply, error);

    if (r)
        return r;
    copy(state, 32, qmp_text(reply, "status"));
    json_object_put(reply);
    return 0;
}

int qemu_wait_run_state(struct qmp *qmp, const char *wanted, int timeout_ms, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms);
    struct json_object *event;
    char state[32];

    for (;;) {
        int r = qemu_run_state(qmp, state, error);

        if (r || !strcmp(state, wanted))
            return r;
        if (!clock_left_ms(deadline_ns))
            return error_set(error, -ETIMEDOUT, NULL, "QEMU's guest is '%s', not '%s', after %d s", state, wanted,
                             timeout_ms / 1000);
        r = qmp_event(qmp, "RESUME", LOOK_MS, &event, error);
        if (!r)
            json_object_put(event);
        else if (r != -ETIMEDOUT)
            return r;
    }
}
