/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to transport/tcp: what the provider's two halves share. */
#ifndef TRANSPORT_TCP_TCP_H
#define TRANSPORT_TCP_TCP_H

#include <sys/uio.h>

#include "transport/link.h"

struct tcp_region {
    uint8_t *base;
    uint64_t length_bytes;
    int file_fd; /* borrowed; 0: none */
    uint64_t file_offset_bytes;
};

/* Do length_bytes at offset_bytes lie within this region? Proven for any numbers, whoever sent them. */
static inline bool tcp_inside(const struct tcp_region regions[LINK_REGIONS_MAX], uint32_t region, uint64_t offset_bytes,
                              uint64_t length_bytes)
{
    return region < LINK_REGIONS_MAX && length_bytes && offset_bytes <= regions[region].length_bytes &&
           length_bytes <= regions[region].length_bytes - offset_bytes;
}

/* tcp_tune: options of a lane's socket: no delay, and a vanished peer is noticed, as is one that takes no answers.
 * peer_timeout_ms  a second after this, so that the control channel, whose word is the better one, is first; 0: 4000 */
void tcp_tune(int fd, uint32_t peer_timeout_ms);

/* ---- read.c ---- */

#define TCP_ANSWERS_MAX 128u

/* A lane's reads that were asked for, first in front, and the places that their bytes are for. */
struct tcp_answers {
    struct iovec queue[TCP_ANSWERS_MAX];
    uint32_t head, count;
    uint64_t taken_bytes; /* of the first */
};

/* tcp_answers_expect: there is room. */
void tcp_answers_expect(struct tcp_answers *answers, uint8_t *to, uint64_t length_bytes);
/* tcp_answers_take: what has come, into its place; never blocks. Only where one is expected.
 * returns  bytes; 0: nothing has come; -errno, -ECONNRESET if the peer ended the lane */
ssize_t tcp_answers_take(struct tcp_answers *answers, int fd);
/* tcp_answer: send an answer's bytes; blocks. -ETIMEDOUT: the reader takes nothing; -errno */
int tcp_answer(int fd, const uint8_t *from, uint64_t length_bytes);

/* The source's half, in source.c. */
int tcp_source_open(const struct link_options *options, const struct sockaddr *peer,
                    const uint8_t token[LINK_TOKEN_BYTES], struct link_source **out, struct tern_error *error);
void tcp_source_close(struct link_source *source);
int tcp_source_add(struct link_source *source, uint32_t region, void *base, uint64_t length_bytes,
                   struct tern_error *error);
int tcp_post(struct link_source *source, uint32_t lane, const struct link_run *runs, size_t n_runs,
             struct tern_error *error);
int tcp_fence(struct link_source *source, uint32_t lane, uint32_t round, struct tern_error *error);
int tcp_wait(struct link_source *source, uint32_t lane, enum link_wait what, int timeout_ms, struct tern_error *error);
void tcp_source_abort(struct link_source *source);
const char *tcp_source_device(struct link_source *source);

/* The destination's half, in destination.c. */
int tcp_destination_open(const struct link_options *options, const struct sockaddr *local,
                         const uint8_t token[LINK_TOKEN_BYTES], uint16_t *port_out, struct link_destination **out,
                         struct tern_error *error);
void tcp_destination_close(struct link_destination *destination);
int tcp_destination_expose(struct link_destination *destination, uint32_t region, void *base, uint64_t length_bytes,
                           struct tern_error *error);
int tcp_destination_file(struct link_destination *destination, uint32_t region, int fd, uint64_t offset_bytes,
                         struct tern_error *error);
int tcp_destination_adopt(struct link_destination *destination, uint32_t lane, int fd, struct tern_error *error);
int tcp_wait_lanes(struct link_destination *destination, struct tern_error *error);
int tcp_wait_fence(struct link_destination *destination, uint32_t round, int timeout_ms, struct tern_error *error);
void tcp_destination_abort(struct link_destination *destination);
void tcp_destination_teardown(struct link_destination *destination);

#endif
