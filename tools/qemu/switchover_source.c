/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/qemu/doubt.h"
#include "tools/qemu/migration_status.h"
#include "tools/qemu/switchover.h"
#include "transport/clock.h"
#include "transport/error.h"

#define STEP_MS 10000
#define FD_NAME "tern"

struct qemu_source {
    struct qmp *qmp;
    struct guardian *guardian;
    struct qemu_settings settings;
    bool was_running; /* when it was created */
    bool stopped;     /* by us, and not running again */
    bool saved;       /* the other side may have loaded the state, and announced itself */
    bool committed;

    uint8_t *stream; /* what QEMU sent; mapped, filled by the reader */
    size_t capacity_bytes, stream_bytes;
    uint64_t stopped_ns; /* from then on its guest stands still, or stands still soon; 0: pause was not called */
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

/* Look, charge the guardian, change: in this order. */
static int change(struct qemu_source *source, struct tern_error *error)
{
    char status[32], state[32];
    int r = migration_status(source->qmp, status, NULL, error);

    if (!r && strcmp(status, "none") && strcmp(status, "completed") && strcmp(status, "failed") &&
        strcmp(status, "cancelled"))
        r = error_set(error, -EBUSY, "wait for its end, or cancel it", "QEMU is migrating already (%s)", status);
    if (!r)
        r = qemu_run_state(source->qmp, state, error);
    if (!r)
        r = settings_read(&source->settings, source->qmp, true, error);
    if (r)
        return r;
    source->was_running = !strcmp(state, "running");
    r = guardian_charge(source->guardian, GUARDIAN_GUEST, source->was_running, &source->settings, error);
    if (r)
        settings_release(&source->settings);
    else
        r = settings_change(&source->settings, source->qmp, error);
    if (r)
        guardian_charge(source->guardian, GUARDIAN_NONE, false, NULL, NULL);
    return r;
}

int qemu_source_create(struct qmp *qmp, struct guardian *guardian, size_t capacity_bytes, struct qemu_source **out,
                       struct tern_error *error)
{
    struct qemu_source *source = calloc(1, sizeof(*source));
    int r;

    if (!source)
        return error_set(error, -ENOMEM, NULL, "out of memory for QEMU's switchover");
    source->qmp = qmp;
    source->guardian = guardian;
    source->fd = -1;
    source->capacity_bytes = capacity_bytes;
    source->stream =
        mmap(NULL, capacity_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (source->stream == MAP_FAILED) {
        free(source);
        return error_set(error, -ENOMEM, NULL, "out of memory for QEMU's device state");
    }
    r = change(source, error);
    if (r) {
        munmap(source->stream, capacity_bytes);
        free(source);
        return r;
    }
    r = open_stream(source, error);
    if (r)
        qemu_source_destroy(source);
    else
        *out = source;
    return r;
}

void qemu_source_destroy(struct qemu_source *source)
{
    char status[32];
    bool done;

    if (!source)
        return;
    if (source->stopped && !migration_status(source->qmp, status, NULL, NULL) && !strcmp(status, "pre-switchover"))
        qemu_source_resume(source, NULL);
    if (!source->stopped_ns && source->fd >= 0)
        qmp_close_fd(source->qmp, FD_NAME);
    close_stream(source, false);
    done = !source->stopped || source->committed; /* the guest is where it belongs */
    if (done)
        guardian_charge(source->guardian, GUARDIAN_SETTINGS, false, &source->settings, NULL);
    if (!settings_restore(&source->settings, source->qmp, NULL) && done)
        guardian_charge(source->guardian, GUARDIAN_NONE, false, NULL, NULL);
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
    int r;

    source->stopped = true;
    source->stopped_ns = clock_now_ns();
    r = begin(source, error);
    if (!r)
        r = migration_wait(source->qmp, "pre-switchover", "stop its guest", STEP_MS, &source->stopped_ns, error);
    if (r)
        qemu_source_resume(source, NULL);
    return r;
}

uint64_t qemu_source_stopped_ns(const struct qemu_source *source)
{
    return source->stopped_ns;
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
        r = migration_wait(source->qmp, "completed", "hand out its device state", STEP_MS, NULL, error);
    if (r)
        return r;
    close_stream(source, true);
    source->saved = true;
    if (source->overflow || source->stream_bytes > buffer_bytes)
        return error_set(error, -ENOSPC, NULL, "QEMU's device state has over %zu MiB",
                         (buffer_bytes < source->capacity_bytes ? buffer_bytes : source->capacity_bytes) >> 20);
    memcpy(buffer, source->stream, source->stream_bytes);
    *length_bytes = source->stream_bytes;
    return 0;
}

int qemu_source_commit(struct qemu_source *source, struct tern_error *error)
{
    int r = doubt_mark(source->qmp, error);

    source->committed = true;
    return r ? r : guardian_charge(source->guardian, GUARDIAN_SETTINGS, false, &source->settings, error);
}

/* Before the switchover cancelling is enough: QEMU runs its guest again by itself. After it, the guest is stopped for
 * good but whole: 'cont' takes the disks back and runs it. */
int qemu_bring_back(struct qmp *qmp, bool was_running, struct tern_error *error)
{
    char status[32], state[32];
    int r = migration_status(qmp, status, NULL, error);

    if (!r && strcmp(status, "completed") && strcmp(status, "failed") && strcmp(status, "cancelled") &&
        strcmp(status, "none")) {
        r = qmp_command(qmp, "migrate_cancel", NULL, QMP_TIMEOUT_MS, NULL, error);
        if (!r) {
            struct tern_error ended = {0};

            r = migration_wait(qmp, "cancelled", "cancel its migration", STEP_MS, NULL, &ended);
            if (r == -EREMOTEIO) /* failed is as good */
                r = 0;
            else if (r && error)
                *error = ended;
        }
    }
    if (!r && was_running) {
        r = qemu_run_state(qmp, state, error);
        if (!r && strcmp(state, "running"))
            r = qmp_command(qmp, "cont", NULL, QMP_TIMEOUT_MS, NULL, error);
        if (!r)
            r = qemu_wait_run_state(qmp, "running", STEP_MS, error);
    }
    return r;
}

int qemu_source_resume(struct qemu_source *source, struct tern_error *error)
{
    struct announce announce;
    int r;

    close_stream(source, false);
    r = qemu_bring_back(source->qmp, source->was_running, error);
    source->stopped = r != 0;
    if (!r && source->saved) {
        announce_read(&announce, source->settings.parameters);
        announce_soon(&announce, source->qmp);
    }
    if (!r && source->committed)
        doubt_clear(source->qmp, NULL); /* it stands for nothing while the guest runs */
    return r;
}
