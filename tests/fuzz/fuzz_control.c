/* SPDX-License-Identifier: BSD-2-Clause */
/* The control channel's framing. The input is what the peer sends before it closes; what is received, and how it ends,
 * must be what control.h says of these bytes. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "transport/control.h"

#define PATIENT_MS 10000

/* The next frame by the letter of control.h. 1 and its payload in *at; or how the connection ends. */
static int next_frame(const uint8_t *data, size_t size, size_t *at, uint16_t *type, uint32_t *length)
{
    const uint8_t *head = data + *at;
    size_t left = size - *at;

    if (!left)
        return -EPIPE;
    if (left < CONTROL_HEADER_BYTES)
        return -ECONNRESET;
    *length = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
    *type = (uint16_t)(head[4] | head[5] << 8);
    if (*length > CONTROL_PAYLOAD_MAX || head[6] || head[7])
        return -EPROTO;
    if (left - CONTROL_HEADER_BYTES < *length)
        return -ECONNRESET;
    *at += CONTROL_HEADER_BYTES;
    return 1;
}

static void compare(struct control *control, const uint8_t *data, size_t size)
{
    struct control_frame frame;
    uint32_t length;
    size_t at = 0;
    uint16_t type;
    int r;

    while ((r = next_frame(data, size, &at, &type, &length)) == 1) {
        if (type != CONTROL_PING) {
            MUST(control_receive(control, PATIENT_MS, &frame, NULL) == 0);
            MUST(frame.type == type && frame.length_bytes == length && !memcmp(frame.payload, data + at, length));
            control_frame_free(&frame);
        }
        at += length;
    }
    MUST(control_receive(control, PATIENT_MS, &frame, NULL) == r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control *control;
    size_t half = size / 2; /* so that frames come in two pieces too */
    int fds[2];

    MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    MUST(!control_create(fds[0], PATIENT_MS, NULL, NULL, &control, NULL));
    MUST(send(fds[1], data, half, MSG_NOSIGNAL) == (ssize_t)half || control_lost(control));
    MUST(send(fds[1], data + half, size - half, MSG_NOSIGNAL) == (ssize_t)(size - half) || control_lost(control));
    shutdown(fds[1], SHUT_WR);
    compare(control, data, size);
    close(fds[1]);
    control_destroy(control);
    return 0;
}
