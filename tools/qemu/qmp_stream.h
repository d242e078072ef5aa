/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON objects over a socket, one after the other, both ways. Knows nothing of QMP but that messages are objects. */
#ifndef TOOLS_QEMU_QMP_STREAM_H
#define TOOLS_QEMU_QMP_STREAM_H

#include <json-c/json.h>
#include <stdint.h>

#include "transport/tern_error.h"

struct qmp_stream {
    int fd;       /* owned, non-blocking */
    int attached; /* to be sent with the next message's first byte; -1: none. Borrowed */
    struct json_tokener *tokener;
    char *buffer;
    size_t begin_bytes, end_bytes; /* read and not yet parsed */
    size_t message_bytes;          /* of the unfinished message */
    int broken;                    /* -errno that ended it */
    char broken_text[96];
};

/* fd is owned from here on, also on failure. */
int qmp_stream_init(struct qmp_stream *stream, int fd, struct tern_error *error);
void qmp_stream_release(struct qmp_stream *stream);

/* qmp_stream_read: the next object, the caller's to put.
 * errors   -ETIMEDOUT, with no text; -ECONNRESET, -EPROTO: now and from then on */
int qmp_stream_read(struct qmp_stream *stream, uint64_t deadline_ns, struct json_object **out,
                    struct tern_error *error);
/* The next message carries this descriptor, which stays the caller's and is open until then. */
void qmp_stream_attach(struct qmp_stream *stream, int fd);
/* qmp_stream_write: the whole object and a newline. One that was cut by the deadline breaks the stream. */
int qmp_stream_write(struct qmp_stream *stream, struct json_object *message, uint64_t deadline_ns,
                     struct tern_error *error);

#endif
