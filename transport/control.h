/* SPDX-License-Identifier: BSD-2-Clause */
/* The control channel: length-framed messages over one TCP connection.
 *
 * Frame, little-endian:  u32 payload length · u16 type · u16 zero · payload.
 * A length over CONTROL_PAYLOAD_MAX or a nonzero third field ends the connection (-EPROTO). Type CONTROL_PING
 * is the channel's own: each side sends one in every quarter of the peer time-out, at least two a second, and a peer
 * that was silent for the whole of it is dead. A reader thread receives into a bounded queue; what came before the end
 * of the connection is delivered before the end is. Knows nothing of what the messages mean.
 */
#ifndef TRANSPORT_CONTROL_H
#define TRANSPORT_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "transport/tern_error.h"

#define CONTROL_PAYLOAD_MAX             (1u << 20)
#define CONTROL_HEADER_BYTES            8u
#define CONTROL_PING                    1u
#define CONTROL_PEER_TIMEOUT_MS_DEFAULT 4000u

struct control;

struct control_frame {
    uint16_t type;
    uint32_t length_bytes;
    uint8_t *payload; /* the receiver's: control_frame_free */
};

/* control_create: take over a connected socket.
 * fd               the control's from here on, also on failure
 * on_lost          may be NULL; called once from the reader thread when the connection has ended, with -errno
 * errors           -ENOMEM, -EAGAIN */
int control_create(int fd, uint32_t peer_timeout_ms, void (*on_lost)(void *opaque, int code), void *opaque,
                   struct control **out, struct tern_error *error);

/* control_destroy: end the connection in order, so that what was sent last arrives (bounded: 500 ms), and free.
 * Takes NULL. No other call may be under way. */
void control_destroy(struct control *control);

/* control_cut: end the connection with a reset, so that the peer sees no orderly end, and free. Takes NULL. */
void control_cut(struct control *control);

/* control_send: send one message whole; blocks while the socket is full, at most the peer time-out.
 * thread   any
 * errors   -EPIPE, -ECONNRESET, -ETIMEDOUT: the connection is over */
int control_send(struct control *control, uint16_t type, const void *payload, size_t length_bytes,
                 struct tern_error *error);

/* control_receive: take the next message.
 * timeout_ms       -1: until something happens
 * returns  0 and *out; -ETIMEDOUT; -EINTR control_kick was called; or how the connection ended:
 *          -EPIPE in order, between two frames: the peer sent nothing more
 *          -ECONNRESET cut, -EHOSTDOWN silent for the peer time-out, -EPROTO it sent what is no frame
 * thread   one at a time */
int control_receive(struct control *control, int timeout_ms, struct control_frame *out, struct tern_error *error);
void control_frame_free(struct control_frame *frame);

/* control_kick: make the present or next control_receive return -EINTR. Any thread. */
void control_kick(struct control *control);

/* control_lost: 0 while the connection stands, else the -errno it ended with. Any thread. */
int control_lost(struct control *control);

/* control_send_raw: one frame straight to a socket that has no control yet (a refusal). Bounded by 1 s. */
int control_send_raw(int fd, uint16_t type, const void *payload, size_t length_bytes);

/* The addresses of the connection. Valid until destroy. */
const struct sockaddr_storage *control_peer(const struct control *control);
const struct sockaddr_storage *control_local(const struct control *control);

#endif
