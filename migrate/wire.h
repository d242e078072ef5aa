/* SPDX-License-Identifier: BSD-2-Clause */
/* The messages of the control channel, version WIRE_VERSION. Pure: bytes in, structs out; no I/O, no allocation.
 *
 * All integers are little-endian; a string is u16 length + bytes without NUL; an array is u32 count + entries.
 * A decoder takes only what it can prove: every count is checked against its bound and the bytes that are there,
 * and bytes left over make the message bad.
 *
 * Sequence (S source, D destination):
 *   S HELLO             session, layout, profile, residence, wishes    D HELLO_ACK  transport, token, or D REFUSE
 *   (lanes connect, each showing the token)
 *   S WANT*             chunks that it will write             D KEY*       as each is registered
 *   each round:  S LIST* (verify: pages written; CLEAR: pages that became zero), writes and fences on the lanes,
 *                S ROUND_END · D ROUND_ACK when every fence was seen and every page cleared
 *   a lane fails while another rail goes on: S LANE_DOWN · D LANE_GONE when no write of it can land any more; what it
 *                had not brought over is dirty again, for the next round; then this round ends without it
 *   it has connected again, showing the token: S LANE_UP between two rounds; its fences count from the next one on
 *   last round:  ROUND_END has LAST and, with verify, a digest for each region; D compares before ROUND_ACK;
 *                where one differs D sends ASK and S answers DIGESTS until D can name the page in REFUSE
 *   (device state and a fence on the lanes)
 *   S PREPARE · D READY · S COMMIT · D ACTIVE
 *   either, before COMMIT: REFUSE (why) or ABORT
 *   after a cut: a new connection, S QUERY(session) · D STANDING, and on from there
 */
#ifndef MIGRATE_WIRE_H
#define MIGRATE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/tern.h"
#include "transport/link.h"

#define WIRE_VERSION       3u
#define WIRE_SESSION_BYTES 16
#define WIRE_REGIONS_MAX   32u
#define WIRE_KEYS_MAX      1024u
#define WIRE_RUNS_MAX      4096u
#define WIRE_DIGESTS_MAX   65536u
#define WIRE_RESIDENCE_MAX 1024u
#define WIRE_UNIT_BYTES    (2ull << 20)                  /* of guest memory in a unit of residence */
#define WIRE_BUFFER_BYTES  (WIRE_DIGESTS_MAX * 8u + 64u) /* holds any message */

enum wire_type {
    WIRE_REFUSE = 16, /* its format never changes: other versions must be able to read it */
    WIRE_HELLO = 17,
    WIRE_HELLO_ACK = 18,
    WIRE_WANT = 19,
    WIRE_KEY = 20,
    WIRE_LIST = 21,
    WIRE_ROUND_END = 22,
    WIRE_ROUND_ACK = 23,
    WIRE_ASK = 24,
    WIRE_DIGESTS = 25,
    WIRE_PREPARE = 26,
    WIRE_READY = 27,
    WIRE_COMMIT = 28,
    WIRE_ACTIVE = 29,
    WIRE_ABORT = 30,
    WIRE_QUERY = 31,
    WIRE_STANDING = 32,
    WIRE_LANE_DOWN = 33,
    WIRE_LANE_GONE = 34,
    WIRE_LANE_UP = 35,
};

#define WIRE_CAN_VERBS 1u
#define WIRE_CAN_TCP   2u

struct wire_region {
    uint64_t guest_address, length_bytes, page_bytes;
    char name[TERN_NAME_BYTES];
};

/* Where guest memory lies at the source: n_units units from first_unit of the region on, mostly on this NUMA node. */
struct wire_residence {
    uint32_t region;
    uint64_t first_unit, n_units;
    uint8_t node; /* below TERN_NODES_MAX */
};

struct wire_hello {
    uint8_t session[WIRE_SESSION_BYTES];
    char kind[TERN_NAME_BYTES];
    char program[TERN_NAME_BYTES]; /* "tern 0.1.0", for messages */
    uint32_t transports;           /* WIRE_CAN_*, what the source can use towards this destination */
    char no_verbs[128];            /* why not verbs, if not */
    uint32_t n_lanes;
    uint64_t chunk_bytes;
    uint64_t state_capacity_bytes;
    uint32_t peer_timeout_ms;
    uint32_t reconnect_ms;
    bool verify;
    uint32_t n_regions;
    struct wire_region regions[WIRE_REGIONS_MAX];
    uint32_t profile_bytes;
    uint8_t profile[TERN_PROFILE_BYTES];
    uint32_t n_residence; /* in order, not overlapping; 0: one node, or not known */
    struct wire_residence residence[WIRE_RESIDENCE_MAX];
};

struct wire_hello_ack {
    char transport[TERN_NAME_BYTES];
    char reason[128];
    char device[TERN_NAME_BYTES];
    uint8_t token[LINK_TOKEN_BYTES];
    uint16_t port;                                 /* for the lanes; 0: as control */
    uint32_t n_rails;                              /* beside the one that the control channel came over */
    struct sockaddr_storage rails[LINK_RAILS_MAX]; /* IPv4 or IPv6, with ports */
    uint64_t chunk_bytes; /* what both sides use: the source's, or another that the destination's device takes */
};

struct wire_chunk {
    uint32_t region;
    uint64_t chunk;
};

struct wire_key {
    uint32_t region;
    uint64_t chunk;
    struct link_key key;
};

enum wire_list_kind {
    WIRE_LIST_WRITTEN = 1, /* on their way over a lane */
    WIRE_LIST_CLEAR = 2,   /* were sent once and are zero now: the destination clears them */
};

struct wire_run {
    uint64_t first_page, n_pages;
};

struct wire_list {
    uint32_t round;
    uint32_t region;
    enum wire_list_kind kind;
    uint32_t n_runs;
    const uint8_t *runs; /* in the message's own bytes: wire_list_run */
};

struct wire_round_end {
    uint32_t round;
    bool last;
    uint32_t n_digests; /* 0, or one a region */
    uint64_t digests[WIRE_REGIONS_MAX];
};

struct wire_round_ack {
    uint32_t round;
    uint64_t backlog_pages;   /* written and not yet digested there */
    uint64_t digest_pages_ps; /* measured there; 0 unknown */
};

/* Digests of chunk hashes (per_page false: entry i is chunk first + i) or of pages. */
struct wire_ask {
    uint32_t region;
    bool per_page;
    uint64_t first;
    uint32_t n;
};

struct wire_digests {
    struct wire_ask of;
    const uint8_t *entries; /* of.n u64: wire_digest */
};

struct wire_prepare {
    uint32_t round;
    uint64_t state_bytes;
    uint64_t state_digest;
};

enum wire_standing {
    WIRE_STANDING_READY = 1,   /* paused and whole: no COMMIT was heard */
    WIRE_STANDING_ACTIVE = 2,  /* runs here */
    WIRE_STANDING_GONE = 3,    /* discarded; never ran and never will */
    WIRE_STANDING_UNKNOWN = 4, /* no such session here */
};

struct wire_refuse {
    int32_t code;
    char message[TERN_ERROR_MESSAGE_BYTES];
    char hint[TERN_ERROR_HINT_BYTES];
};

/* Encoders: into buffer of WIRE_BUFFER_BYTES; return the length. Counts beyond their bound are a bug of the caller. */
/* wire_put_refuse: any error, as one line; a code that is no errno goes as -EIO. */
size_t wire_put_refuse(uint8_t *buffer, const struct tern_error *error);
size_t wire_put_hello(uint8_t *buffer, const struct wire_hello *hello);
size_t wire_put_hello_ack(uint8_t *buffer, const struct wire_hello_ack *ack);
size_t wire_put_want(uint8_t *buffer, const struct wire_chunk *chunks, uint32_t n);
size_t wire_put_keys(uint8_t *buffer, const struct wire_key *keys, uint32_t n);
size_t wire_put_list(uint8_t *buffer, uint32_t round, uint32_t region, enum wire_list_kind kind,
                     const struct wire_run *runs, uint32_t n_runs);
size_t wire_put_round_end(uint8_t *buffer, const struct wire_round_end *end);
size_t wire_put_round_ack(uint8_t *buffer, const struct wire_round_ack *ack);
size_t wire_put_ask(uint8_t *buffer, const struct wire_ask *ask);
size_t wire_put_digests(uint8_t *buffer, const struct wire_ask *of, const uint64_t *entries);
size_t wire_put_prepare(uint8_t *buffer, const struct wire_prepare *prepare);
size_t wire_put_query(uint8_t *buffer, const uint8_t session[WIRE_SESSION_BYTES]);
size_t wire_put_lane(uint8_t *buffer, uint32_t lane); /* LANE_DOWN, LANE_GONE, LANE_UP */
size_t wire_put_standing(uint8_t *buffer, enum wire_standing standing);

/* Decoders: 0, or -EPROTO with *out undefined. Arrays are written up to the caller's max, *n says how many. */
int wire_get_refuse(const uint8_t *payload, size_t length, struct wire_refuse *out);
int wire_get_hello(const uint8_t *payload, size_t length, struct wire_hello *out);
int wire_get_hello_ack(const uint8_t *payload, size_t length, struct wire_hello_ack *out);
int wire_get_want(const uint8_t *payload, size_t length, struct wire_chunk *out, uint32_t max, uint32_t *n);
int wire_get_keys(const uint8_t *payload, size_t length, struct wire_key *out, uint32_t max, uint32_t *n);
int wire_get_list(const uint8_t *payload, size_t length, struct wire_list *out);
int wire_get_round_end(const uint8_t *payload, size_t length, struct wire_round_end *out);
int wire_get_round_ack(const uint8_t *payload, size_t length, struct wire_round_ack *out);
int wire_get_ask(const uint8_t *payload, size_t length, struct wire_ask *out);
int wire_get_digests(const uint8_t *payload, size_t length, struct wire_digests *out);
int wire_get_prepare(const uint8_t *payload, size_t length, struct wire_prepare *out);
int wire_get_query(const uint8_t *payload, size_t length, uint8_t session[WIRE_SESSION_BYTES]);
int wire_get_lane(const uint8_t *payload, size_t length, uint32_t *lane);
int wire_get_standing(const uint8_t *payload, size_t length, enum wire_standing *out);

/* Entry i of a decoded list or digests message; i is below its count. */
struct wire_run wire_list_run(const struct wire_list *list, uint32_t i);
uint64_t wire_digest(const struct wire_digests *digests, uint32_t i);

/* "HELLO", "type 77", for messages. buffer is used for the latter. */
const char *wire_type_name(uint16_t type, char buffer[16]);

#endif
