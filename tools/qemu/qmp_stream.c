/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/qmp_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/qemu/qmp.h"
#include "transport/clock.h"
#include "transport/error.h"

#define READ_BYTES 65536
#define DEPTH_MAX  64

static int breaks(struct qmp_stream *stream, int code, const char *text, struct tern_error *error)
{
    if (!stream->broken) {
        stream->broken = code;
        snprintf(stream->broken_text, sizeof(stream->broken_text), "%s", text);
    }
    return error_set(error, stream->broken, NULL, "%s", stream->broken_text);
}

int qmp_stream_init(struct qmp_stream *stream, int fd, struct tern_error *error)
{
    int flags = fcntl(fd, F_GETFL);

    *stream = (struct qmp_stream){.fd = fd, .attached = -1};
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
        return error_set(error, -errno, NULL, "cannot set up the QMP socket: %s", strerror(errno));
    stream->tokener = json_tokener_new_ex(DEPTH_MAX);
    stream->buffer = malloc(READ_BYTES);
    if (!stream->tokener || !stream->buffer)
        return error_set(error, -ENOMEM, NULL, "out of memory for the QMP client");
    return 0;
}

void qmp_stream_release(struct qmp_stream *stream)
{
    if (stream->tokener)
        json_tokener_free(stream->tokener);
    free(stream->buffer);
    close(stream->fd);
    *stream = (struct qmp_stream){.fd = -1};
}

/* Feed what was read; *out stays NULL while the message is not whole. */
static int parse(struct qmp_stream *stream, struct json_object **out, struct tern_error *error)
{
    size_t n = stream->end_bytes - stream->begin_bytes;
    enum json_tokener_error state;

    /* White space between messages must not count as the beginning of one. */
    while (!stream->message_bytes && n && strchr(" \t\r\n", stream->buffer[stream->begin_bytes])) {
        stream->begin_bytes++;
        n--;
    }
    if (!n)
        return 0;
    *out = json_tokener_parse_ex(stream->tokener, stream->buffer + stream->begin_bytes, (int)n);
    state = json_tokener_get_error(stream->tokener);
    if (state == json_tokener_continue) {
        stream->begin_bytes = stream->end_bytes;
        stream->message_bytes += n;
        return stream->message_bytes > QMP_MESSAGE_BYTES_MAX
                   ? breaks(stream, -EPROTO, "QEMU sent a message without end on its QMP socket", error)
                   : 0;
    }
    if (state != json_tokener_success || !json_object_is_type(*out, json_type_object)) {
        json_object_put(*out);
        *out = NULL;
        return breaks(stream, -EPROTO, "what came on the QMP socket is not JSON", error);
    }
    stream->begin_bytes += json_tokener_get_parse_end(stream->tokener);
    stream->message_bytes = 0;
    return 0;
}

static int fill(struct qmp_stream *stream, uint64_t deadline_ns, struct tern_error *error)
{
    for (;;) {
        struct pollfd p = {.fd = stream->fd, .events = POLLIN};
        ssize_t n = recv(stream->fd, stream->buffer, READ_BYTES, 0);

        if (n > 0) {
            stream->begin_bytes = 0;
            stream->end_bytes = (size_t)n;
            return 0;
        }
        if (!n || (errno != EAGAIN && errno != EINTR))
            return breaks(stream, -ECONNRESET, "QEMU has closed its QMP socket", error);
        if (!clock_left_ms(deadline_ns))
            return -ETIMEDOUT;
        poll(&p, 1, clock_left_ms(deadline_ns));
    }
}

int qmp_stream_read(struct qmp_stream *stream, uint64_t deadline_ns, struct json_object **out, struct tern_error *error)
{
    struct json_object *message = NULL;
    int r = stream->broken ? breaks(stream, 0, NULL, error) : 0;

    while (!r) {
        r = parse(stream, &message, error);
        if (message) {
            *out = message;
            return 0;
        }
        if (!r)
            r = fill(stream, deadline_ns, error);
    }
    return r;
}

void qmp_stream_attach(struct qmp_stream *stream, int fd)
{
    stream->attached = fd;
}

/* send(), with the attached descriptor if there is one. source: unix(7), SCM_RIGHTS */
static ssize_t send_some(struct qmp_stream *stream, const char *text, size_t length)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)text, length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *head;
    ssize_t n;

    if (stream->attached >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        head = CMSG_FIRSTHDR(&message);
        *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(head), &stream->attached, sizeof(int));
    }
    n = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    if (n > 0)
        stream->attached = -1;
    return n;
}

int qmp_stream_write(struct qmp_stream *stream, struct json_object *message, uint64_t deadline_ns,
                     struct tern_error *error)
{
    size_t length, sent = 0;
    const char *text = json_object_to_json_string_length(message, JSON_C_TO_STRING_PLAIN, &length);

    if (stream->broken)
        return breaks(stream, 0, NULL, error);
    while (sent < length + 1) {
        struct pollfd p = {.fd = stream->fd, .events = POLLOUT};
        ssize_t n = sent < length ? send_some(stream, text + sent, length - sent) : send_some(stream, "\n", 1);

        if (n > 0)
            sent += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return breaks(stream, -ECONNRESET, "QEMU has closed its QMP socket", error);
        else if (!clock_left_ms(deadline_ns))
            return breaks(stream, -ETIMEDOUT, "QEMU takes no commands on its QMP socket", error);
        else
            poll(&p, 1, clock_left_ms(deadline_ns));
    }
    return 0;
}
