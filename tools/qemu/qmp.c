/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands and events over the stream of qmp_stream.c.
 * Every command carries an id of its own; an answer with another id came too late and is dropped. */
#include "tools/qemu/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/qemu/qmp_stream.h"
#include "transport/clock.h"
#include "transport/error.h"

#define CONNECT_STEP_MS 20

struct qmp {
    struct qmp_stream stream;
    uint64_t last_id;
    int version[3];
    char error_class[64];
    bool (*patience)(void *opaque); /* NULL: none */
    void *patience_opaque;
    struct json_object *events[QMP_EVENTS_MAX]; /* owned; a ring */
    size_t first_event, n_events;
};

/* ---- members of replies ---- */

const char *qmp_text(struct json_object *object, const char *member)
{
    struct json_object *value;

    return json_object_object_get_ex(object, member, &value) && json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

uint64_t qmp_number(struct json_object *object, const char *member, uint64_t fallback)
{
    struct json_object *value;

    return json_object_object_get_ex(object, member, &value) && json_object_is_type(value, json_type_int)
               ? json_object_get_uint64(value)
               : fallback;
}

bool qmp_truth(struct json_object *object, const char *member, bool fallback)
{
    struct json_object *value;

    return json_object_object_get_ex(object, member, &value) && json_object_is_type(value, json_type_boolean)
               ? json_object_get_boolean(value)
               : fallback;
}

/* ---- events ---- */

static struct json_object **event_at(struct qmp *qmp, size_t i)
{
    return &qmp->events[(qmp->first_event + i) % QMP_EVENTS_MAX];
}

static void keep_event(struct qmp *qmp, struct json_object *event)
{
    if (qmp->n_events == QMP_EVENTS_MAX) {
        json_object_put(*event_at(qmp, 0));
        qmp->first_event = (qmp->first_event + 1) % QMP_EVENTS_MAX;
        qmp->n_events--;
    }
    *event_at(qmp, qmp->n_events++) = event;
}

static struct json_object *take_event(struct qmp *qmp, const char *name)
{
    for (size_t i = 0; i < qmp->n_events; i++) {
        struct json_object *event = *event_at(qmp, i);

        if (name && strcmp(qmp_text(event, "event"), name))
            continue;
        for (; i + 1 < qmp->n_events; i++)
            *event_at(qmp, i) = *event_at(qmp, i + 1);
        qmp->n_events--;
        return event;
    }
    return NULL;
}

void qmp_forget_events(struct qmp *qmp)
{
    struct json_object *event;

    while ((event = take_event(qmp, NULL)))
        json_object_put(event);
}

int qmp_event(struct qmp *qmp, const char *name, int timeout_ms, struct json_object **event_out,
              struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)(timeout_ms > 0 ? timeout_ms : 0));
    struct json_object *message;
    int r;

    while (!(*event_out = take_event(qmp, name))) {
        r = qmp_stream_read(&qmp->stream, deadline_ns, &message, error);
        if (r)
            return r;
        if (qmp_text(message, "event"))
            keep_event(qmp, message);
        else
            json_object_put(message);
    }
    return 0;
}

/* ---- commands ---- */

static int refusal(struct qmp *qmp, const char *name, struct json_object *said, struct tern_error *error)
{
    static const struct {
        const char *class;
        int code;
    } codes[] = {{"CommandNotFound", -ENOSYS}, {"DeviceNotActive", -ENODEV}, {"DeviceNotFound", -ENODEV}};
    const char *class = qmp_text(said, "class"), *text = qmp_text(said, "desc");
    int code = -EREMOTEIO;

    snprintf(qmp->error_class, sizeof(qmp->error_class), "%s", class ? class : "");
    for (size_t i = 0; class && i < sizeof(codes) / sizeof(*codes); i++)
        if (!strcmp(class, codes[i].class))
            code = codes[i].code;
    return error_set(error, code, NULL, "QEMU refuses %s: %s (%s)", name, text ? text : "no reason given",
                     class ? class : "no class");
}

/* An answer to another command, which was given up, is dropped. One without id is to a command that QEMU could not
 * even read. */
static bool is_answer(struct qmp *qmp, struct json_object *message)
{
    uint64_t id = qmp_number(message, "id", 0);

    return json_object_object_get_ex(message, "error", NULL)
               ? id == qmp->last_id || !json_object_object_get_ex(message, "id", NULL)
               : id == qmp->last_id && json_object_object_get_ex(message, "return", NULL);
}

static int wait_answer(struct qmp *qmp, const char *name, uint64_t deadline_ns, uint32_t timeout_ms,
                       struct json_object **reply_out, struct tern_error *error)
{
    struct json_object *message, *part;
    int r;

    for (;;) {
        r = qmp_stream_read(&qmp->stream, deadline_ns, &message, error);
        if (r == -ETIMEDOUT && qmp_goes_on(qmp)) {
            deadline_ns = clock_after_ms(timeout_ms);
            continue;
        }
        if (r == -ETIMEDOUT)
            return error_set(error, r, "see whether QEMU hangs", "QEMU does not answer %s", name);
        if (r)
            return r;
        if (qmp_text(message, "event")) {
            keep_event(qmp, message);
            continue;
        }
        if (is_answer(qmp, message))
            break;
        json_object_put(message);
    }
    if (json_object_object_get_ex(message, "error", &part)) {
        r = refusal(qmp, name, part, error);
    } else if (reply_out) {
        json_object_object_get_ex(message, "return", &part);
        *reply_out = json_object_get(part);
    }
    json_object_put(message);
    return r;
}

static int say(struct qmp *qmp, const char *name, struct json_object *arguments, uint64_t deadline_ns,
               struct tern_error *error)
{
    struct json_object *message = json_object_new_object();
    int r;

    json_object_object_add(message, "execute", json_object_new_string(name));
    if (arguments)
        json_object_object_add(message, "arguments", arguments);
    json_object_object_add(message, "id", json_object_new_uint64(++qmp->last_id));
    r = qmp_stream_write(&qmp->stream, message, deadline_ns, error);
    json_object_put(message);
    return r;
}

int qmp_command(struct qmp *qmp, const char *name, struct json_object *arguments, int timeout_ms,
                struct json_object **reply_out, struct tern_error *error)
{
    uint32_t wait_ms = (uint32_t)(timeout_ms > 0 ? timeout_ms : 0);
    uint64_t deadline_ns = clock_after_ms(wait_ms);
    int r;

    qmp->error_class[0] = 0;
    r = say(qmp, name, arguments, deadline_ns, error);
    return r ? r : wait_answer(qmp, name, deadline_ns, wait_ms, reply_out, error);
}

void qmp_set_patience(struct qmp *qmp, bool (*goes_on)(void *opaque), void *opaque)
{
    qmp->patience = goes_on;
    qmp->patience_opaque = opaque;
}

bool qmp_goes_on(struct qmp *qmp)
{
    return qmp->patience && qmp->patience(qmp->patience_opaque);
}

int qmp_send(struct qmp *qmp, const char *name, struct json_object *arguments, struct tern_error *error)
{
    return say(qmp, name, arguments, clock_after_ms(QMP_TIMEOUT_MS), error);
}

int qmp_give_fd(struct qmp *qmp, int fd, const char *name, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object();
    int r;

    json_object_object_add(arguments, "fdname", json_object_new_string(name));
    qmp_stream_attach(&qmp->stream, fd);
    r = qmp_command(qmp, "getfd", arguments, QMP_TIMEOUT_MS, NULL, error);
    qmp_stream_attach(&qmp->stream, -1);
    return r;
}

void qmp_close_fd(struct qmp *qmp, const char *name)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "fdname", json_object_new_string(name));
    qmp_send(qmp, "closefd", arguments, NULL);
}

int qmp_quit(struct qmp *qmp, struct tern_error *error)
{
    int r = qmp_command(qmp, "quit", NULL, QMP_TIMEOUT_MS, NULL, error);

    return r == -ECONNRESET ? 0 : r;
}

int qmp_human(struct qmp *qmp, const char *line, int timeout_ms, char **text_out, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object(), *reply;
    int r;

    json_object_object_add(arguments, "command-line", json_object_new_string(line));
    r = qmp_command(qmp, "human-monitor-command", arguments, timeout_ms, &reply, error);
    if (r)
        return r;
    if (json_object_is_type(reply, json_type_string))
        *text_out = strdup(json_object_get_string(reply));
    else
        r = error_set(error, -EPROTO, NULL, "QEMU's answer to '%s' is not text", line);
    if (!r && !*text_out)
        r = error_set(error, -ENOMEM, NULL, "out of memory for QEMU's answer to '%s'", line);
    json_object_put(reply);
    return r;
}

/* ---- beginning and end ---- */

static int greeting(struct qmp *qmp, uint64_t deadline_ns, struct tern_error *error)
{
    static const char *const members[] = {"major", "minor", "micro"};
    struct json_object *message, *part = NULL;
    int r = qmp_stream_read(&qmp->stream, deadline_ns, &message, error);

    if (r == -ETIMEDOUT)
        return error_set(error, r, "a monitor serves one client at a time: give tern a -qmp socket of its own",
                         "no greeting on the QMP socket");
    if (r)
        return r;
    if (!json_object_object_get_ex(message, "QMP", &part))
        r = error_set(error, -EPROTO, "give the path of a -qmp socket", "the socket's other end does not speak QMP");
    else if (json_object_object_get_ex(part, "version", &part) && json_object_object_get_ex(part, "qemu", &part))
        for (int i = 0; i < 3; i++)
            qmp->version[i] = (int)qmp_number(part, members[i], 0);
    json_object_put(message);
    return r;
}

int qmp_adopt(int fd, int timeout_ms, struct qmp **out, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)(timeout_ms > 0 ? timeout_ms : 0));
    struct qmp *qmp = calloc(1, sizeof(*qmp));
    int r;

    if (!qmp) {
        close(fd);
        return error_set(error, -ENOMEM, NULL, "out of memory for the QMP client");
    }
    r = qmp_stream_init(&qmp->stream, fd, error);
    if (!r)
        r = greeting(qmp, deadline_ns, error);
    if (!r)
        r = qmp_command(qmp, "qmp_capabilities", NULL, clock_left_ms(deadline_ns), NULL, error);
    if (r) {
        qmp_close(qmp);
        return r;
    }
    *out = qmp;
    return 0;
}

/* A full backlog (EAGAIN) is a monitor that is busy with others: worth waiting for. */
static int connect_by(int fd, const struct sockaddr_un *address, uint64_t deadline_ns)
{
    while (connect(fd, (const struct sockaddr *)address, sizeof(*address))) {
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (!clock_left_ms(deadline_ns))
            return -ETIMEDOUT;
        poll(NULL, 0, CONNECT_STEP_MS);
    }
    return 0;
}

int qmp_connect(const char *path, int timeout_ms, struct qmp **out, struct tern_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint64_t deadline_ns = clock_after_ms((uint32_t)(timeout_ms > 0 ? timeout_ms : 0));
    int fd, r;

    if (!*path || strlen(path) >= sizeof(address.sun_path))
        return error_set(error, -ENAMETOOLONG, "take a shorter path", "socket path of %zu bytes: at most %zu fit",
                         strlen(path), sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(error, -errno, NULL, "cannot make a socket: %s", strerror(errno));
    r = connect_by(fd, &address, deadline_ns);
    if (r) {
        close(fd);
        return error_set(error, r, "start QEMU with -qmp unix:PATH,server=on,wait=off",
                         "cannot connect to the QMP socket %s: %s", path, strerror(-r));
    }
    return qmp_adopt(fd, clock_left_ms(deadline_ns), out, error);
}

void qmp_close(struct qmp *qmp)
{
    if (!qmp)
        return;
    qmp_forget_events(qmp);
    qmp_stream_release(&qmp->stream);
    free(qmp);
}

int qmp_fd(const struct qmp *qmp)
{
    return qmp->stream.fd;
}

void qmp_version(const struct qmp *qmp, int *major, int *minor, int *micro)
{
    *major = qmp->version[0];
    *minor = qmp->version[1];
    *micro = qmp->version[2];
}

const char *qmp_error_class(const struct qmp *qmp)
{
    return qmp->error_class;
}
