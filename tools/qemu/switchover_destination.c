/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/qemu/migration_status.h"
#include "tools/qemu/switchover.h"
#include "transport/clock.h"
#include "transport/error.h"

#define STEP_MS 10000
#define FD_NAME "tern"

struct qemu_destination {
    struct qmp *qmp;
    struct qemu_settings settings;
};

int qemu_destination_create(struct qmp *qmp, struct qemu_destination **out, struct tern_error *error)
{
    struct qemu_destination *destination;
    char state[32];
    int r = qemu_run_state(qmp, state, error);

    if (!r && strcmp(state, "inmigrate"))
        r = error_set(error, -EBUSY, "start it with -incoming defer",
                      "this QEMU does not wait for a migration: its guest is '%s'", state);
    if (r)
        return r;
    destination = calloc(1, sizeof(*destination));
    if (!destination)
        return error_set(error, -ENOMEM, NULL, "out of memory for QEMU's switchover");
    destination->qmp = qmp;
    r = settings_change(&destination->settings, qmp, false, error);
    if (r) {
        free(destination);
        return r;
    }
    *out = destination;
    return 0;
}

static int begin(struct qemu_destination *destination, int fd, struct tern_error *error)
{
    struct json_object *arguments;
    int r = qmp_give_fd(destination->qmp, fd, FD_NAME, error);

    if (!r) /* while it waits, this only means: do not start the guest when it is there */
        r = qmp_command(destination->qmp, "stop", NULL, QMP_TIMEOUT_MS, NULL, error);
    if (r)
        return r;
    arguments = json_object_new_object();
    json_object_object_add(arguments, "uri", json_object_new_string("fd:" FD_NAME));
    return qmp_command(destination->qmp, "migrate-incoming", arguments, QMP_TIMEOUT_MS, NULL, error);
}

/* QEMU that refuses the state closes its end: what it says of it is asked for afterwards. */
static int feed(int fd, const uint8_t *bytes, size_t length, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms(STEP_MS);

    while (length) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return 0;
        } else if (!clock_left_ms(deadline_ns)) {
            return error_set(error, -ETIMEDOUT, NULL, "QEMU does not take its device state");
        } else {
            poll(&p, 1, clock_left_ms(deadline_ns));
        }
    }
    return 0;
}

int qemu_destination_load(struct qemu_destination *destination, const void *buffer, size_t length_bytes,
                          struct tern_error *error)
{
    int ends[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return error_set(error, -errno, NULL, "cannot make a socket pair: %s", strerror(errno));
    r = begin(destination, ends[1], error);
    close(ends[1]);
    if (!r)
        r = feed(ends[0], buffer, length_bytes, error);
    shutdown(ends[0], SHUT_WR);
    if (!r)
        r = migration_wait(destination->qmp, "completed", "take the device state", STEP_MS, error);
    if (r == -ECONNRESET) /* an incoming migration that fails ends QEMU */
        error_set(error, r, "its own output says why; the same devices and machine type are needed on both sides",
                  "the destination's QEMU has ended over the device state");
    close(ends[0]);
    if (!r)
        r = qemu_wait_run_state(destination->qmp, "paused", STEP_MS, error);
    return r;
}

int qemu_destination_resume(struct qemu_destination *destination, struct tern_error *error)
{
    int r = qmp_command(destination->qmp, "cont", NULL, QMP_TIMEOUT_MS, NULL, error);

    if (!r)
        r = qemu_wait_run_state(destination->qmp, "running", STEP_MS, error);
    return r;
}

void qemu_destination_destroy(struct qemu_destination *destination)
{
    if (!destination)
        return;
    settings_restore(&destination->settings, destination->qmp, NULL);
    free(destination);
}
