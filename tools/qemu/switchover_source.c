/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/qemu/migration_status.h"
#include "tools/qemu/switchover.h"
#include "transport/error.h"

#define STEP_MS 10000
#define FD_NAME "tern"

struct qemu_source {
    struct qmp *qmp;
    struct qemu_settings settings;
    bool was_running; /* when pause was called */
    bool stopped;     /* by us, and not running again */

    uint8_t *stream; /* what QEMU sent; mapped, filled by the reader */
    size_t capacity_bytes, stream_bytes;
    bool overflow;
    int fd; /* our end; -1: no stream */
    pthread_t reader;
};

/* ---- the stream ---- */

/* QEMU waits for nobody to read its stream: so all of it is read, whatever becomes of it. */
static void *read_stream(void *argument)
{
    struct qemu_source *source = argument;
    uint8_t spare[4096];

    for (;;) {
        size_t room = source->capacity_bytes - source->stream_bytes;
        ssize_t n = room ? read(source->fd, source->stream + source->stream_bytes, room)
                         : read(source->fd, spare, sizeof(spare));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return NULL;
        if (room)
            source->stream_bytes += (size_t)n;
        else
            source->overflow = true;
    }
}

static int open_stream(struct qemu_source *source, struct tern_error *error)
{
    int ends[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return error_set(error, -errno, NULL, "cannot make a socket pair: %s", strerror(errno));
    r = qmp_give_fd(source->qmp, ends[1], FD_NAME, error);
    close(ends[1]);
    source->fd = ends[0];
    source->stream_bytes = 0;
    source->overflow = false;
    if (!r) {
        r = -pthread_create(&source->reader, NULL, read_stream, source);
        if (r)
            error_set(error, r, NULL, "cannot start a thread: %s", strerror(-r));
    }
    if (r) {
        close(source->fd);
        source->fd = -1;
    }
    return r;
}

/* The end of the stream, or our end of it. */
static void close_stream(struct qemu_source *source, bool wait_for_end)
{
    if (source->fd < 0)
        return;
    if (!wait_for_end)
        shutdown(source->fd, SHUT_RDWR);
    pthread_join(source->reader, NULL);
    close(source->fd);
    source->fd = -1;
}

/* ---- life ---- */

int qemu_source_create(struct qmp *qmp, size_t capacity_bytes, struct qemu_source **out, struct tern_error *error)
{
    struct qemu_source *source = calloc(1, sizeof(*source));
    char status[32];
    int r;

    if (!source)
        return error_set(error, -ENOMEM, NULL, "out of memory for QEMU's switchover");
    source->qmp = qmp;
    source->fd = -1;
    source->capacity_bytes = capacity_bytes;
    source->stream =
        mmap(NULL, capacity_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (source->stream == MAP_FAILED) {
        free(source);
        return error_set(error, -ENOMEM, NULL, "out of memory for QEMU's device state");
    }
    r = migration_status(qmp, status, NULL, error);
    if (!r && strcmp(status, "none") && strcmp(status, "completed") && strcmp(status, "failed") &&
        strcmp(status, "cancelled"))
        r = error_set(error, -EBUSY, "wait for its end, or cancel it", "QEMU is migrating already (%s)", status);
    if (!r)
        r = settings_change(&source->settings, qmp, true, error);
    if (r) {
        munmap(source->stream, capacity_bytes);
        free(source);
        return r;
    }
    *out = source;
    return 0;
}

void qemu_source_destroy(struct qemu_source *source)
{
    char status[32];

    if (!source)
        return;
    if (source->stopped && !migration_status(source->qmp, status, NULL, NULL) && !strcmp(status, "pre-switchover"))
        qemu_source_resume(source, NULL);
    close_stream(source, false);
    settings_restore(&source->settings, source->qmp, NULL);
    munmap(source->stream, source->capacity_bytes);
    free(source);
}

/* ---- the steps ---- */

static int begin(struct qemu_source *source, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object();

    qmp_forget_events(source->qmp);
    json_object_object_add(arguments, "uri", json_object_new_string("fd:" FD_NAME));
    return qmp_command(source->qmp, "migrate", arguments, QMP_TIMEOUT_MS, NULL, error);
}

int qemu_source_pause(struct qemu_source *source, struct tern_error *error)
{
    char state[32];
    int r = qemu_run_state(source->qmp, state, error);

    if (r)
        return r;
    source->was_running = !strcmp(state, "running");
    r = open_stream(source, error);
    if (r)
        return r;
    source->stopped = true;
    r = begin(source, error);
    if (!r)
        r = migration_wait(source->qmp, "pre-switchover", "stop its guest", STEP_MS, error);
    if (r)
        qemu_source_resume(source, NULL);
    return r;
}

static int proceed(struct qemu_source *source, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "state", json_object_new_string("pre-switchover"));
    return qmp_command(source->qmp, "migrate-continue", arguments, QMP_TIMEOUT_MS, NULL, error);
}

int qemu_source_save(struct qemu_source *source, void *buffer, size_t buffer_bytes, size_t *length_bytes,
                     struct tern_error *error)
{
    int r = proceed(source, error);

    if (!r)
        r = migration_wait(source->qmp, "completed", "hand out its device state", STEP_MS, error);
    if (r)
        return r;
    close_stream(source, true);
    if (source->overflow || source->stream_bytes > buffer_bytes)
        return error_set(error, -ENOSPC, NULL, "QEMU's device state has over %zu MiB",
                         (buffer_bytes < source->capacity_bytes ? buffer_bytes : source->capacity_bytes) >> 20);
    memcpy(buffer, source->stream, source->stream_bytes);
    *length_bytes = source->stream_bytes;
    return 0;
}

/* Before the switchover cancelling is enough: QEMU runs its guest again by itself. After it, the guest is stopped for
 * good but whole: 'cont' takes the disks back and runs it. */
int qemu_source_resume(struct qemu_source *source, struct tern_error *error)
{
    char status[32], state[32];
    int r = migration_status(source->qmp, status, NULL, error);

    if (!r && strcmp(status, "completed") && strcmp(status, "failed") && strcmp(status, "cancelled") &&
        strcmp(status, "none")) {
        r = qmp_command(source->qmp, "migrate_cancel", NULL, QMP_TIMEOUT_MS, NULL, error);
        close_stream(source, false);
        if (!r) {
            struct tern_error ended = {0};

            r = migration_wait(source->qmp, "cancelled", "cancel its migration", STEP_MS, &ended);
            if (r == -EREMOTEIO) /* failed is as good */
                r = 0;
            else if (r && error)
                *error = ended;
        }
    }
    close_stream(source, false);
    if (!r && source->was_running) {
        r = qemu_run_state(source->qmp, state, error);
        if (!r && strcmp(state, "running"))
            r = qmp_command(source->qmp, "cont", NULL, QMP_TIMEOUT_MS, NULL, error);
        if (!r)
            r = qemu_wait_run_state(source->qmp, "running", STEP_MS, error);
    }
    source->stopped = r != 0;
    return r;
}
