/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/qemu/doubt.h"
#include "tools/qemu/migration_status.h"
#include "tools/qemu/switchover.h"
#include "transport/clock.h"
#include "transport/error.h"

#define STEP_MS 10000
#define FD_NAME "tern"

struct qemu_destination {
    struct qmp *qmp;
    struct guardian *guardian;
    struct qemu_settings settings;
    int fd; /* our end of the stream, whose other end QEMU has; -1: none */
    bool loads;
};

static int open_stream(struct qemu_destination *destination, struct tern_error *error)
{
    int ends[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return error_set(error, -errno, NULL, "cannot make a socket pair: %s", strerror(errno));
    r = qmp_give_fd(destination->qmp, ends[1], FD_NAME, error);
    close(ends[1]);
    destination->fd = ends[0];
    return r;
}

int qemu_destination_create(struct qmp *qmp, struct guardian *guardian, struct qemu_destination **out,
                            struct tern_error *error)
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
    destination->guardian = guardian;
    destination->fd = -1;
    r = settings_read(&destination->settings, qmp, false, error);
    if (!r)
        r = guardian_charge(guardian, GUARDIAN_SETTINGS, false, &destination->settings, error);
    if (!r)
        r = settings_change(&destination->settings, qmp, error);
    if (r) {
        settings_release(&destination->settings);
        guardian_charge(guardian, GUARDIAN_NONE, false, NULL, NULL);
        free(destination);
        return r;
    }
    r = doubt_mark(qmp, error); /* it means nothing yet, and is there when it does */
    if (!r)
        r = open_stream(destination, error);
    if (r)
        qemu_destination_destroy(destination);
    else
        *out = destination;
    return r;
}

static int begin(struct qemu_destination *destination, struct tern_error *error)
{
    struct json_object *arguments;
    /* While it waits, this only means: do not start the guest when it is there. */
    int r = qmp_command(destination->qmp, "stop", NULL, QMP_TIMEOUT_MS, NULL, error);

    if (r)
        return r;
    qmp_forget_events(destination->qmp);
    arguments = json_object_new_object();
    json_object_object_add(arguments, "uri", json_object_new_string("fd:" FD_NAME));
    return qmp_command(destination->qmp, "migrate-incoming", arguments, QMP_TIMEOUT_MS, NULL, error);
}

/* QEMU that refuses the state closes its end: what it says of it is asked for afterwards. */
static int feed(struct qmp *qmp, int fd, const uint8_t *bytes, size_t length, struct tern_error *error)
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
        } else if (!clock_left_ms(deadline_ns) && qmp_goes_on(qmp)) {
            deadline_ns = clock_after_ms(STEP_MS);
        } else if (!clock_left_ms(deadline_ns)) {
            return error_set(error, -ETIMEDOUT, NULL, "QEMU does not take its device state");
        } else {
            poll(&p, 1, clock_left_ms(deadline_ns));
        }
    }
    return 0;
}

/* "completed" is the last that QEMU does: its guest's run state is final by then. */
int qemu_destination_load(struct qemu_destination *destination, const void *buffer, size_t length_bytes,
                          struct tern_error *error)
{
    int r;

    destination->loads = true;
    r = begin(destination, error);
    if (!r)
        r = feed(destination->qmp, destination->fd, buffer, length_bytes, error);
    shutdown(destination->fd, SHUT_WR);
    if (!r)
        r = migration_wait(destination->qmp, "completed", "take the device state", STEP_MS, NULL, error);
    if (r == -ECONNRESET) /* an incoming migration that fails ends QEMU */
        error_set(error, r, "its own output says why; the same devices and machine type are needed on both sides",
                  "the destination's QEMU has ended over the device state");
    return r;
}

/* QEMU answers when its vCPUs run. What it does with the rest takes none of the downtime. */
int qemu_destination_resume(struct qemu_destination *destination, const struct announce *announce,
                            struct tern_error *error)
{
    int r = qmp_command(destination->qmp, "cont", NULL, QMP_TIMEOUT_MS, NULL, error);

    if (r)
        return r;
    announce_soon(announce, destination->qmp);
    doubt_clear_soon(destination->qmp);
    return 0;
}

void qemu_destination_destroy(struct qemu_destination *destination)
{
    if (!destination)
        return;
    if (destination->fd >= 0)
        close(destination->fd);
    if (!destination->loads && destination->fd >= 0)
        qmp_close_fd(destination->qmp, FD_NAME);
    if (!destination->loads)
        doubt_clear(destination->qmp, NULL);
    if (!settings_restore(&destination->settings, destination->qmp, NULL))
        guardian_charge(destination->guardian, GUARDIAN_NONE, false, NULL, NULL);
    free(destination);
}
