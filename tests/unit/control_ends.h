/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of the control channel: one end is a control, the other a raw socket or a control too. */
#ifndef TESTS_UNIT_CONTROL_ENDS_H
#define TESTS_UNIT_CONTROL_ENDS_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/control.h"

#define PATIENT_MS 20000 /* for what must come */

struct ends {
    struct control *control;
    int peer; /* raw */
    _Atomic int lost, n_lost;
};

/* A connected pair over loopback. */
static inline void connect_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(listening, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(listening, 1), 0);
    cr_assert_eq(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fds[1], (struct sockaddr *)&address, sizeof(address)), 0);
    fds[0] = accept(listening, NULL, NULL);
    cr_assert_geq(fds[0], 0);
    close(listening);
}

static inline void on_lost(void *opaque, int code)
{
    struct ends *ends = opaque;

    atomic_store(&ends->lost, code);
    atomic_fetch_add(&ends->n_lost, 1);
}

static inline void open_ends(struct ends *ends, uint32_t peer_timeout_ms)
{
    struct tern_error error = {0};
    int fds[2];

    connect_pair(fds);
    *ends = (struct ends){.peer = fds[1]};
    cr_assert_eq(control_create(fds[0], peer_timeout_ms, on_lost, ends, &ends->control, &error), 0, "%s",
                 error.message);
}

static inline void close_ends(struct ends *ends)
{
    if (ends->peer >= 0)
        close(ends->peer);
    control_destroy(ends->control);
}

static inline void open_two(struct control **one, struct control **other, uint32_t peer_timeout_ms)
{
    int fds[2];

    connect_pair(fds);
    cr_assert_eq(control_create(fds[0], peer_timeout_ms, NULL, NULL, one, NULL), 0);
    cr_assert_eq(control_create(fds[1], peer_timeout_ms, NULL, NULL, other, NULL), 0);
}

static inline void put(int fd, const void *bytes, size_t n)
{
    cr_assert_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* What control.h says a frame is. */
static inline void put_header(int fd, uint32_t length, uint16_t type, uint16_t zero)
{
    uint8_t header[8] = {(uint8_t)length, (uint8_t)(length >> 8), (uint8_t)(length >> 16), (uint8_t)(length >> 24),
                         (uint8_t)type,   (uint8_t)(type >> 8),   (uint8_t)zero,           (uint8_t)(zero >> 8)};

    put(fd, header, sizeof(header));
}

static inline void expect(struct control *control, uint16_t type, const void *payload, uint32_t length)
{
    struct control_frame frame;
    struct tern_error error = {0};

    cr_assert_eq(control_receive(control, PATIENT_MS, &frame, &error), 0, "%s", error.message);
    cr_assert_eq(frame.type, type);
    cr_assert_eq(frame.length_bytes, length);
    cr_assert_eq(memcmp(frame.payload, payload, length), 0);
    control_frame_free(&frame);
}

#endif
