/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to transport/verbs.
 *   device.c       which device serves an address, and why none does
 *   resolve.c      from an address, or a GID's index, to the device that carries it
 *   cm.c           rdma_cm events with a time limit; what a lane shows when it connects, and why one is turned away
 *   mr.c           chunks of guest memory as memory regions
 *   source.c       the source's lanes: connecting, life
 *   post.c         runs into work requests, completions
 *   accept.c       which lanes the destination accepts
 *   destination.c  the destination's lanes: fences, life
 *   provider.c     the table
 * A link has one protection domain: no key of it is good on another link's queue pairs.
 */
#ifndef TRANSPORT_VERBS_VERBS_H
#define TRANSPORT_VERBS_VERBS_H

#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "transport/link.h"

#define VERBS_DEPTH_DEFAULT   128u
#define VERBS_WRITE_BYTES_MAX (1u << 20)
#define VERBS_NAME_BYTES      64

/* ---- device.c ---- */

/* verbs_device_check: may this device be used? Its name is allowed, its port is active. */
int verbs_device_check(const struct link_options *options, const struct rdma_cm_id *id, struct tern_error *error);
int verbs_usable(const struct link_options *options, const struct sockaddr *address, enum tern_side side,
                 char *device_out, size_t device_bytes, struct tern_error *error);
/* verbs_no_rail: nothing serves this address: which of the reasons is it? address may be NULL where no device is there.
 */
int verbs_no_rail(const struct link_options *options, const struct sockaddr *address, struct tern_error *error);
/* ---- resolve.c ---- */

/* verbs_resolve: make *id and bind it to a device that is allowed, active and reaches peer, from the GID asked for.
 * id       NULL before; the caller's afterwards, also on failure (may be NULL then)
 * abort_fd -1: none */
int verbs_resolve(const struct link_options *options, struct rdma_event_channel *channel, struct rdma_cm_id **id,
                  const struct sockaddr *peer, int abort_fd, uint64_t deadline_ns, struct tern_error *error);
/* verbs_bound_gid_check: at the destination the local address is the GID: is it the one that was asked for? */
int verbs_bound_gid_check(const struct link_options *options, const struct rdma_cm_id *id, const struct sockaddr *local,
                          struct tern_error *error);

/* ---- cm.c ---- */

#define VERBS_HELLO_BYTES 28u /* of the 56 that rdma_cm carries */

struct verbs_hello {
    uint32_t lane, n_lanes;
    uint8_t token[LINK_TOKEN_BYTES];
};

void verbs_hello_encode(const struct verbs_hello *hello, uint8_t bytes[VERBS_HELLO_BYTES]);
/* verbs_hello_decode: 0, or -EPROTO. */
int verbs_hello_decode(const uint8_t *bytes, size_t length, struct verbs_hello *out);

#define VERBS_REFUSAL_BYTES 12u /* of the 148 that rdma_cm carries */

enum verbs_reason {
    VERBS_REASON_HELLO = 1, /* no greeting of this version */
    VERBS_REASON_TOKEN = 2,
    VERBS_REASON_LANE = 3,      /* its number is taken, or too high */
    VERBS_REASON_RESOURCES = 4, /* code says what failed */
};

/* Why a lane was turned away; code is an errno or 0. */
struct verbs_refusal {
    enum verbs_reason reason;
    int code;
};

void verbs_refusal_encode(const struct verbs_refusal *refusal, uint8_t bytes[VERBS_REFUSAL_BYTES]);
/* verbs_refusal_decode: 0, or -EPROTO. */
int verbs_refusal_decode(const uint8_t *bytes, size_t length, struct verbs_refusal *out);
/* "it showed a wrong token" */
const char *verbs_reason_text(enum verbs_reason reason);

/* verbs_channel: an event channel whose descriptor does not block. NULL with errno */
struct rdma_event_channel *verbs_channel(void);

/* verbs_cm_wait: the next event of channel is `wanted`; it is acknowledged. status of other events is in error.
 * abort_fd  -1: none */
int verbs_cm_wait(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted, int abort_fd,
                  uint64_t deadline_ns, struct tern_error *error);

/* verbs_sleep: until one of the descriptors is readable (those that are -1 are left out).
 * returns  0, -ETIMEDOUT, -ECANCELED when abort_fd is */
int verbs_sleep(int completion_fd, int cm_fd, int abort_fd, int timeout_ms);

/* ---- mr.c ---- */

struct verbs_region {
    uint8_t *base;
    uint64_t length_bytes;
    uint64_t n_chunks;
    struct ibv_mr **mrs;   /* one a chunk, NULL until registered */
    struct link_key *keys; /* source: the destination's */
};

int verbs_region_init(struct verbs_region *region, void *base, uint64_t length_bytes, uint64_t chunk_bytes,
                      struct tern_error *error);
/* Deregisters. Takes a zeroed one. */
void verbs_region_free(struct verbs_region *region);
int verbs_region_register(struct verbs_region *region, struct ibv_pd *pd, uint64_t chunk, uint64_t chunk_bytes,
                          int access, struct tern_error *error);

/* ---- source.c, post.c ---- */

struct verbs_posted { /* what a work request wrote, to name it if it fails; length 0: a fence */
    uint32_t region;
    uint64_t offset_bytes;
    uint64_t length_bytes;
};

struct verbs_lane {
    struct link_source *source;
    uint32_t index;
    struct rdma_event_channel *channel;
    struct rdma_cm_id *id;
    struct ibv_comp_channel *completions;
    struct ibv_cq *cq;
    uint32_t depth;
    uint64_t posted, completed; /* work requests, ever */
    uint64_t signalled;         /* the last one posted that was */
    struct link_run rest;       /* of the run that is being posted; length 0: none */
    struct verbs_posted *ring;  /* depth entries, by number of the work request */
};

struct link_source {
    uint32_t n_lanes, n_regions;
    uint64_t chunk_bytes;
    uint32_t write_bytes_max;
    struct verbs_lane *lanes;
    struct verbs_region regions[LINK_REGIONS_MAX];
    struct ibv_pd *pd;
    int abort_fd;
    _Atomic bool aborted;
    char device[VERBS_NAME_BYTES];
};

int verbs_source_open(const struct link_options *options, const struct sockaddr *peer,
                      const uint8_t token[LINK_TOKEN_BYTES], struct link_source **out, struct tern_error *error);
void verbs_source_close(struct link_source *source);
int verbs_source_add(struct link_source *source, uint32_t region, void *base, uint64_t length_bytes,
                     struct tern_error *error);
int verbs_source_register_chunk(struct link_source *source, uint32_t region, uint64_t chunk, struct tern_error *error);
void verbs_source_set_key(struct link_source *source, uint32_t region, uint64_t chunk, struct link_key key);
int verbs_post(struct link_source *source, uint32_t lane, const struct link_run *runs, size_t n_runs,
               struct tern_error *error);
int verbs_fence(struct link_source *source, uint32_t lane, uint32_t round, struct tern_error *error);
int verbs_wait(struct link_source *source, uint32_t lane, enum link_wait what, int timeout_ms,
               struct tern_error *error);
void verbs_source_abort(struct link_source *source);
const char *verbs_source_device(struct link_source *source);

/* ---- destination.c, accept.c ---- */

int verbs_destination_open(const struct link_options *options, const struct sockaddr *local,
                           const uint8_t token[LINK_TOKEN_BYTES], uint16_t *port_out, struct link_destination **out,
                           struct tern_error *error);
void verbs_destination_close(struct link_destination *destination);
int verbs_destination_expose(struct link_destination *destination, uint32_t region, void *base, uint64_t length_bytes,
                             struct tern_error *error);
int verbs_destination_register_chunk(struct link_destination *destination, uint32_t region, uint64_t chunk,
                                     struct link_key *out, struct tern_error *error);
int verbs_wait_lanes(struct link_destination *destination, struct tern_error *error);
int verbs_wait_fence(struct link_destination *destination, uint32_t round, int timeout_ms, struct tern_error *error);
void verbs_destination_abort(struct link_destination *destination);
void verbs_destination_teardown(struct link_destination *destination);

#endif
