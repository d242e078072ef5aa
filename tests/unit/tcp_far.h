/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of the tcp lanes: a destination behind a real listener, its guest memory between guards. */
#ifndef TESTS_UNIT_TCP_FAR_H
#define TESTS_UNIT_TCP_FAR_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/link.h"
#include "transport/listener.h"
#include "transport/preamble.h"

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

static inline void far_open(struct far *far)
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
    cr_assert_eq(link_tcp.destination_open(&options, (struct sockaddr *)&local, token, &port, &far->link, NULL), 0);
    cr_assert_eq(port, 0);
    cr_assert_eq(link_tcp.destination_expose(far->link, 0, far->regions[0], LENGTH, NULL), 0);
    cr_assert_eq(link_tcp.destination_expose(far->link, 3, far->regions[3], LENGTH, NULL), 0);
    cr_assert_eq(listener_create("127.0.0.1", 0, &handler, &far->listener, NULL), 0);
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

#endif
