/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of the tcp lanes: a destination behind a real listener, its guest memory between guards; and who comes to
 * it, a source or a hand-made lane. */
#ifndef TESTS_UNIT_TCP_FAR_H
#define TESTS_UNIT_TCP_FAR_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/link.h"
#include "transport/listener.h"
#include "transport/preamble.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/tcp.h"

#define MIB        (1ull << 20)
#define LENGTH     (2 * MIB)
#define GUARD      (1 * MIB)
#define PATTERN    0x5a
#define PATIENT_MS 20000

static const uint8_t token[LINK_TOKEN_BYTES] = {1, 2, 3, 4};
static const struct link_options options = {
    .gid_index = -1, .n_lanes = 2, .chunk_bytes = 2 * MIB, .connect_timeout_ms = PATIENT_MS};

/* Two regions with guards around each, in one mapping: guard, region 0, guard, region 3, guard. */
#define ALL (2 * LENGTH + 3 * GUARD)

struct far {
    struct link_destination *link;
    struct listener *listener;
    uint8_t *all, *regions[4];
    int other_lane; /* of a test that uses one; -1: none */
};

static inline void on_connection(void *opaque, int fd, const struct preamble *preamble)
{
    struct far *far = opaque;

    if (memcmp(preamble->token, token, sizeof(token))) /* as the session does: the provider knows no token */
        close(fd);
    else
        link_tcp.destination_adopt(far->link, preamble->lane, fd, NULL);
}

static inline void on_stranger(void *opaque, int fd, const struct tern_error *error)
{
    (void)opaque, (void)fd, (void)error;
}

static inline void far_open_with(struct far *far, const struct link_options *with)
{
    struct listener_handler handler = {on_connection, on_stranger, far};
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    uint16_t port;

    far->other_lane = -1;
    far->all = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(far->all, MAP_FAILED);
    memset(far->all, PATTERN, ALL);
    far->regions[0] = far->all + GUARD;
    far->regions[3] = far->regions[0] + LENGTH + GUARD;
    cr_assert_eq(link_tcp.destination_open(with, (struct sockaddr *)&local, token, &port, &far->link, NULL), 0);
    cr_assert_eq(port, 0);
    cr_assert_eq(link_tcp.destination_expose(far->link, 0, far->regions[0], LENGTH, NULL), 0);
    cr_assert_eq(link_tcp.destination_expose(far->link, 3, far->regions[3], LENGTH, NULL), 0);
    cr_assert_eq(listener_create("127.0.0.1", 0, &handler, &far->listener, NULL), 0);
}

static inline void far_open(struct far *far)
{
    far_open_with(far, &options);
}

static inline void far_close(struct far *far)
{
    listener_destroy(far->listener);
    link_tcp.destination_close(far->link);
    if (far->other_lane >= 0)
        close(far->other_lane);
    munmap(far->all, ALL);
}

static inline void untouched(const struct far *far)
{
    for (uint64_t i = 0; i < ALL; i++)
        cr_assert_eq(far->all[i], PATTERN, "byte %lu was written", i);
}

static inline int dial_lane(const struct far *far, uint32_t lane, const uint8_t *shown)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(listener_port(far->listener)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct preamble preamble = {.kind = PREAMBLE_LANE, .lane = lane, .n_lanes = 2};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint8_t bytes[PREAMBLE_BYTES];

    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    memcpy(preamble.token, shown, sizeof(token));
    preamble_encode(&preamble, bytes);
    cr_assert_eq(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
    return fd;
}

static inline int open_lane(const struct far *far, uint32_t lane)
{
    int fd = dial_lane(far, lane, token);
    uint8_t answer;

    cr_assert_eq(recv(fd, &answer, 1, 0), 1);
    cr_assert_eq(answer, PREAMBLE_ACCEPTED);
    return fd;
}

static inline void all_connected(struct far *far)
{
    struct tern_error error = {0};

    cr_assert_eq(link_tcp.wait_lanes(far->link, &error), 0, "%s", error.message);
}

/* The other lane connects too, and stays silent. */
static inline int open_one_lane(struct far *far, uint32_t lane)
{
    int fd = open_lane(far, lane);

    far->other_lane = open_lane(far, !lane);
    all_connected(far);
    return fd;
}

static inline void put_frame(int fd, struct frame frame, const void *payload, size_t n)
{
    uint8_t bytes[FRAME_BYTES];

    frame_encode(&frame, bytes);
    cr_assert_eq(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
    if (n)
        cr_assert_eq(send(fd, payload, n, MSG_NOSIGNAL), (ssize_t)n);
}

static inline void closed(int fd)
{
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, 0);

    cr_assert(n == 0 || (n < 0 && errno == ECONNRESET), "%zd", n);
    close(fd);
}

/* ---- a source; its regions 0 and 3 are near, one after the other ---- */

static inline struct link_source *open_source(const struct far *far, const struct link_options *with, uint8_t *near)
{
    struct sockaddr_in peer = {
        .sin_family = AF_INET, .sin_port = htons(listener_port(far->listener)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct link_source *source;
    struct tern_error error = {0};

    cr_assert_eq(link_tcp.source_open(with, (struct sockaddr *)&peer, token, &source, &error), 0, "%s", error.message);
    cr_assert_eq(link_tcp.source_add(source, 0, near, LENGTH, NULL), 0);
    cr_assert_eq(link_tcp.source_add(source, 3, near + LENGTH, LENGTH, NULL), 0);
    cr_assert_eq(link_tcp.wait_lanes(far->link, &error), 0, "%s", error.message);
    return source;
}

static inline void post_whole(struct link_source *source, uint32_t lane, struct link_run run)
{
    struct tern_error error = {0};
    int n;

    while ((n = link_tcp.post(source, lane, &run, 1, &error)) == 0)
        cr_assert_eq(link_tcp.wait(source, lane, LINK_WAIT_ROOM, PATIENT_MS, &error), 0, "%s", error.message);
    cr_assert_eq(n, 1, "%s", error.message);
}

static inline void fence_and_wait(struct link_source *source, struct far *far, uint32_t round)
{
    struct tern_error error = {0};

    for (uint32_t lane = 0; lane < 2; lane++) {
        cr_assert_eq(link_tcp.fence(source, lane, round, &error), 0, "%s", error.message);
        cr_assert_eq(link_tcp.wait(source, lane, LINK_WAIT_DRAINED, PATIENT_MS, &error), 0, "%s", error.message);
    }
    cr_assert_eq(link_tcp.wait_fence(far->link, round, PATIENT_MS, &error), 0, "%s", error.message);
}

#endif
