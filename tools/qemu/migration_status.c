/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/migration_status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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

/* The next MIGRATION event, or its absence for a while: either way it is time to look. */
static int wait_event(struct qmp *qmp, const char *name, struct tern_error *error)
{
    struct json_object *event;
    int r = qmp_event(qmp, name, LOOK_MS, &event, error);

    if (!r)
        json_object_put(event);
    return r == -ETIMEDOUT ? 0 : r;
}

int migration_wait(struct qmp *qmp, const char *wanted, const char *what, int timeout_ms, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms);
    char status[32], reason[160];

    for (;;) {
        int r = migration_status(qmp, status, reason, error);

        if (r || !strcmp(status, wanted))
            return r;
        if (!strcmp(status, "failed") || !strcmp(status, "cancelled"))
            return error_set(error, -EREMOTEIO, "QEMU's own output may say more", "QEMU cannot %s: %s", what,
                             *reason ? reason : status);
        if (!clock_left_ms(deadline_ns))
            return error_set(error, -ETIMEDOUT, NULL, "QEMU does not %s within %d s: its migration is '%s'", what,
                             timeout_ms / 1000, status);
        r = wait_event(qmp, "MIGRATION", error);
        if (r)
            return r;
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
    char state[32];

    for (;;) {
        int r = qemu_run_state(qmp, state, error);

        if (r || !strcmp(state, wanted))
            return r;
        if (!clock_left_ms(deadline_ns))
            return error_set(error, -ETIMEDOUT, NULL, "QEMU's guest is '%s', not '%s', after %d s", state, wanted,
                             timeout_ms / 1000);
        r = wait_event(qmp, "RESUME", error);
        if (r)
            return r;
    }
}
