/* SPDX-License-Identifier: BSD-2-Clause */
/* One side of a migration, played by a test message by message against a real session on the other side, over tcp. */
#ifndef TESTS_COMMON_PLAYED_H
#define TESTS_COMMON_PLAYED_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrate/wire.h"
#include "tests/common/pair.h"
#include "transport/control.h"
#include "transport/link.h"
#include "transport/listener.h"

#define PLAYED_STATE_BYTES (64u << 10)

struct played {
    struct pair *pair;
    struct wire_hello hello;
    struct wire_hello_ack ack;
    struct control *_Atomic control;
    struct link_source *source_lanes;
    struct link_destination *_Atomic destination_lanes;
    struct listener *listener;
    pthread_t source_thread; /* of the real source */
    uint8_t state[PLAYED_STATE_BYTES];
    uint8_t message[WIRE_BUFFER_BYTES];
};

/* A message from played->message, or without a payload. */
void played_send(struct played *played, enum wire_type type, size_t length);
/* played_expect: the next message is of this type; the caller frees it. Asserts. */
struct control_frame played_expect(struct played *played, enum wire_type type);
/* The same, payload and all forgotten. */
void played_expect_plain(struct played *played, enum wire_type type);
/* The peer gives up, and this is in its words. */
void played_expect_refusal(struct played *played, const char *words);

/* ---- the source is played ---- */

/* played_hello: what a source of pair->source_vm says. */
void played_hello(struct played *played, struct pair *pair);
/* played_dial: a control channel, and the HELLO on it. */
void played_dial(struct played *played);
/* played_connect: HELLO_ACK and one lane. */
void played_connect(struct played *played);
/* played_round: end a round, in which nothing was sent. digests: NULL, or one a region. */
void played_round(struct played *played, uint32_t round, bool last, const uint64_t *digests);
/* played_prepare: the device state of pair->source, on the lane, and PREPARE. */
void played_prepare(struct played *played, uint32_t round);
/* The digest of a region that reads as zero. */
uint64_t played_zero_digest(const struct tern_region *region);

/* ---- the destination is played ---- */

/* played_start_source: the real source, towards this port. */
void played_start_source(struct played *played, struct pair *pair, uint16_t port);
/* played_listen: start the real source, take its HELLO and its lanes, into pair->destination's memory. */
void played_listen(struct played *played, struct pair *pair);
/* played_until: acknowledge rounds (without their fences once the lanes are closed) until a message of this type comes,
 * or the last round's end. */
void played_until(struct played *played, enum wire_type type, bool acknowledge_last);
/* played_join_source: the real source has ended. */
void played_join_source(struct played *played);

void played_close(struct played *played);

#endif
