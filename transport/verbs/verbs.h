/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to transport/verbs.
 *   device.c       which device serves an address, and why none does
 *   resolve.c      from an address, or a GID's index, to the device that carries it
 *   cm.c           rdma_cm events with a time limit; what a lane shows when it connects, and why one is turned away
 *   rails.c        which lane rides which rail
 *   limits.c       what a device allows, and the sizes that follow
 *   operation.c    what writing or reading asks of a device
 *   mr.c           chunks of guest memory as memory regions, or as what goes through a ring
 *   ring.c         the source's ring: what of a lane's registered buffer is in use
 *   source.c       the source's lanes: connecting, life
 *   rejoin.c       those of them that were lost with their rail and come back with it
 *   post.c         runs into work requests
 *   tune.c         how long a write is best, how many under way, how many completions: measured
 *   complete.c     their completions, and credits
 *   accept.c       which lanes the destination accepts
 *   listen.c       the destination's rails
 *   slots.c        the destination's ring: slots that receive, copied into guest memory
 *   destination.c  the destination's lanes: fences, life
 *   provider.c     the table
 * A link has a protection domain a rail: no key of it is good on another link's queue pairs.
 *
 * A chunk that is registered at both ends is written by RDMA, with no copy. One that is not registered at the source is
 * copied into the lane's ring and written from there. One that is not registered at the destination is SENT, in pieces
 * with a header each, into the slots that the destination posted as receives; it copies them into place. A lane sends
 * no more than it has credits for; a message from the destination gives them back, with their number as immediate.
 * Either way what was posted first on a lane is in its place first, and a fence comes after all of it: the destination
 * handles one completion queue in order.
 * A link that reads has the same queue, and no ring on either side.
 */
#ifndef TRANSPORT_VERBS_VERBS_H
#define TRANSPORT_VERBS_VERBS_H

#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "transport/link.h"

#define VERBS_DEPTH_DEFAULT   128u
#define VERBS_WRITE_BYTES_MAX (1u << 20)
#define VERBS_NAME_BYTES      LINK_DEVICE_BYTES
#define VERBS_PAGE_BYTES      4096u
#define VERBS_SLOT_BYTES      (32u << 10) /* payload of a slot of the destination's ring */
#define VERBS_SLOTS_MAX       16u         /* of a lane */
#define VERBS_SLOTS_MIN       8u
#define VERBS_SLOTS_FENCES    4u             /* of a lane's slots are no credits: fences take a receive too */
#define VERBS_STARVED_NS      20000000000ull /* a lane without a slot, and nothing under way, is lost */
#define VERBS_RING_BYTES_MAX  (512u << 10)
#define VERBS_RING_BYTES_MIN  (32u << 10)

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
/* verbs_address_of: an IP address of the device of that name, of family, that other hosts can reach.
 * returns 0, -ENODEV no such device, -EADDRNOTAVAIL it has none */
int verbs_address_of(const char *device, int family, struct sockaddr_storage *out);
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

#define VERBS_WELCOME_BYTES 12u /* of the 196 that rdma_cm carries */

/* What a lane is told when it is accepted: the destination's slots for it, 0 of them: it has none. */
struct verbs_welcome {
    uint32_t slot_bytes; /* payload */
    uint32_t credits;
};

void verbs_welcome_encode(const struct verbs_welcome *welcome, uint8_t bytes[VERBS_WELCOME_BYTES]);
/* verbs_welcome_decode: 0, or -EPROTO. */
int verbs_welcome_decode(const uint8_t *bytes, size_t length, struct verbs_welcome *out);

/* verbs_channel: an event channel whose descriptor does not block. NULL with errno */
struct rdma_event_channel *verbs_channel(void);

/* verbs_cm_wait: the next event of channel is `wanted`; it is acknowledged. status of other events is in error.
 * abort_fd  -1: none
 * welcome   what came with it, or NULL */
int verbs_cm_wait(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted, int abort_fd,
                  uint64_t deadline_ns, struct verbs_welcome *welcome, struct tern_error *error);

/* verbs_sleep: until one of the descriptors is readable (those that are -1 are left out).
 * returns  0, -ETIMEDOUT, -ECANCELED when abort_fd is */
int verbs_sleep(int completion_fd, int cm_fd, int abort_fd, int timeout_ms);

/* ---- rails.c ---- */

/* verbs_rail_of: which rail a lane rides: they take turns, in this order of preference. n_rails is not 0. */
uint32_t verbs_rail_of(uint32_t lane, const uint32_t *order, uint32_t n_rails);
/* verbs_append_name: add a device's name to a comma-separated list, once. */
void verbs_append_name(char *list, size_t capacity, const char *name);
/* verbs_rail_goes_on: of lanes with these rails, is one neither lost nor on `rail`? */
bool verbs_rail_goes_on(const uint32_t *rail_of_lane, uint32_t n_lanes, uint64_t lanes_lost, uint32_t rail);

/* ---- tune.c ---- */

/* What was written in how long, in writes of one length with so many under way at most, one in so many signalled. */
struct verbs_sample {
    uint32_t write_bytes, depth;
    uint64_t bytes, ns;
    uint32_t signal_every;
};

/* verbs_tune_choose: of the samples within 5 % of the best rate the one with the least under way: a fence waits for
 * that; of several such the one with the fewest completions. NULL: there is none */
const struct verbs_sample *verbs_tune_choose(const struct verbs_sample *samples, uint32_t n);
/* verbs_tune_volume: what a sample writes to take slice_ns at this rate, in whole writes. 0: too few of them to tell
 * anything */
uint64_t verbs_tune_volume(uint64_t bytes_ps, uint64_t slice_ns, uint32_t write_bytes);
int verbs_tune(struct link_source *source, uint32_t region, const struct link_tuning *given, uint32_t budget_ms,
               struct link_tuning *out);

/* ---- limits.c ---- */

int verbs_limits(const char *device, struct link_limits *out, struct tern_error *error);
/* verbs_has_odp: can this operation be served with unpinned memory at both ends? source: ibv_query_device_ex(3) */
bool verbs_has_odp(const struct ibv_device_attr_ex *attr, enum link_operation operation);
/* verbs_limits_of: what an engine must know. Half the memory regions: a device has other users. */
struct link_limits verbs_limits_of(const struct ibv_device_attr *attr);
/* verbs_depth_for: work requests of a lane, wanted ones (0: the default) as far as the device goes. */
uint32_t verbs_depth_for(const struct ibv_device_attr *attr, uint32_t wanted);
/* verbs_ring_bytes_for: a lane's ring. A quarter of what may be locked is for rings, a power of two for each lane;
 * 0: that is too little for one. memlock_bytes UINT64_MAX: no limit. */
uint32_t verbs_ring_bytes_for(uint64_t memlock_bytes, uint32_t n_lanes);
/* verbs_memlock_bytes: what this process may lock; UINT64_MAX: no limit holds for it. */
uint64_t verbs_memlock_bytes(void);

/* ---- operation.c ---- */

/* verbs_operation_check: may these options go together? -EINVAL */
int verbs_operation_check(const struct link_options *options, struct tern_error *error);
bool verbs_wants_ring(enum link_operation operation, enum link_register how);
/* Rights to the source's memory, and to exposed memory: what the operation takes, and no more. */
int verbs_near_access(enum link_operation operation);
int verbs_far_access(enum link_operation operation);
/* For rdma_cm: the source's initiator depth, the destination's responder resources. */
uint8_t verbs_reads_begun(enum link_operation operation);
uint8_t verbs_reads_answered(enum link_operation operation);

/* ---- ring.c ---- */

/* Bytes of a registered buffer, taken and given back in the same order. In whole pages. */
struct verbs_ring {
    uint8_t *base;
    uint64_t bytes; /* 0: there is none */
    uint64_t taken, given;
};

/* verbs_ring_room: of `wanted` bytes, how many can be taken now, in one piece of a quarter of the ring at most. */
uint64_t verbs_ring_room(const struct verbs_ring *ring, uint64_t wanted);
/* verbs_ring_take: length is not over verbs_ring_room. */
uint8_t *verbs_ring_take(struct verbs_ring *ring, uint64_t length);
void verbs_ring_give(struct verbs_ring *ring, uint64_t length);

/* ---- mr.c ---- */

struct verbs_region {
    uint8_t *base;
    uint64_t length_bytes;
    uint64_t n_chunks;
    struct ibv_mr **mrs;   /* one a chunk and rail (verbs_mr), NULL until registered */
    bool *through_ring;    /* one a chunk: it will not be */
    struct link_key *keys; /* source: the destination's */
};

int verbs_region_init(struct verbs_region *region, void *base, uint64_t length_bytes, uint64_t chunk_bytes,
                      struct tern_error *error);
/* Deregisters. Takes a zeroed one. */
void verbs_region_free(struct verbs_region *region);
/* verbs_region_register: as link.h's register_chunk, on every rail that has a domain, or on none.
 * has_ring: what may not be pinned can go through one */
int verbs_region_register(struct verbs_region *region, struct ibv_pd *const pds[LINK_RAILS_MAX], uint64_t chunk,
                          uint64_t chunk_bytes, int access, enum link_register how, bool has_ring,
                          struct tern_error *error);
struct ibv_mr **verbs_mr(const struct verbs_region *region, uint64_t chunk, uint32_t rail);
/* verbs_cannot_register: *error for what an errno of ibv_reg_mr means here. returns -code */
int verbs_cannot_register(uint64_t bytes, int code, struct tern_error *error);

/* ---- slots.c ---- */

/* Before the payload of a slot. Little-endian. */
struct verbs_header {
    uint32_t region;
    uint32_t length_bytes;
    uint64_t offset_bytes;
};

/* verbs_slot_place: where a slot of `received` bytes goes, checked: all of it within a region. NULL: nowhere. */
uint8_t *verbs_slot_place(const struct verbs_region *regions, uint32_t n_regions, const struct verbs_header *header,
                          uint32_t received);

/* ---- source.c, post.c, complete.c ---- */

struct verbs_posted { /* what a work request wrote or read, to name it if it fails; length 0: a fence */
    uint32_t region;
    bool from_ring;
    uint64_t offset_bytes;
    uint64_t length_bytes;
};

struct verbs_lane {
    struct link_source *source;
    uint32_t index, rail;
    bool out;   /* it failed in a way that may be its rail's: no answer, a disconnect, a device that is gone */
    bool ended; /* that was heard: whoever is at the other end gives nothing back any more */
    struct rdma_event_channel *channel;
    struct rdma_cm_id *id;
    struct ibv_comp_channel *completions;
    struct ibv_cq *cq;
    uint32_t depth;  /* of the queue */
    uint32_t window; /* work requests under way at most; not over depth */
    uint32_t signal_every;
    uint64_t posted, completed; /* work requests, ever */
    uint64_t signalled;         /* the last one posted that was */
    uint64_t progress;          /* completions seen, of whatever kind */
    struct link_run rest;       /* of the run that is being posted; length 0: none */
    struct verbs_posted *sent;  /* depth entries, by number of the work request */
    uint32_t slot_bytes;        /* payload of the destination's slots; 0: it has none */
    uint32_t credits, credits_max;
    uint64_t starved_ns;          /* since when there are none, and nothing is under way; 0: that is not so */
    struct verbs_header *headers; /* depth of them, by number of the work request; registered, like the ring */
    struct verbs_ring ring;
    void *memory; /* of headers and ring */
    uint64_t memory_bytes;
    struct ibv_mr *mr;       /* of memory */
    struct verbs_lane *next; /* connected again, not in use yet; owned, but for memory and mr */
};

struct link_source {
    uint32_t n_lanes, n_regions;
    uint64_t chunk_bytes;
    uint32_t write_bytes_max;
    enum link_operation operation;
    enum link_register registration;
    struct link_options options;                   /* its strings are borrowed */
    struct sockaddr_storage rails[LINK_RAILS_MAX]; /* the destination's; the first is where the lanes were asked for */
    uint8_t token[LINK_TOKEN_BYTES];
    uint64_t ring_bytes; /* of each lane */
    struct verbs_lane *lanes;
    struct verbs_region regions[LINK_REGIONS_MAX];
    struct ibv_pd *pds[LINK_RAILS_MAX]; /* by number of the destination's rail; NULL: it is not used */
    int abort_fd;
    _Atomic bool aborted;
    _Atomic uint64_t lanes_lost;       /* a bit each */
    char device[2 * VERBS_NAME_BYTES]; /* "rxe0,rxe1" */
};

uint32_t verbs_source_rails(const struct link_options *options, const struct sockaddr *peer,
                            char device[LINK_RAILS_MAX][LINK_DEVICE_BYTES]);
int verbs_source_open(const struct link_options *options, const struct sockaddr *peer,
                      const uint8_t token[LINK_TOKEN_BYTES], struct link_source **out, struct tern_error *error);
void verbs_source_close(struct link_source *source);
/* verbs_check_reads: a connected lane of a link that reads: can it? In operation.c */
int verbs_check_reads(struct verbs_lane *lane, struct tern_error *error);
/* verbs_lane_open: connect a lane of which source, index, rail and depth are set; what it has already of memory stays.
 */
int verbs_lane_open(struct verbs_lane *lane, int abort_fd, uint64_t deadline_ns, struct tern_error *error);
/* verbs_lane_close: all but mr, which needs the domain. Takes a zeroed one. */
void verbs_lane_close(struct verbs_lane *lane);
/* verbs_drop_next: close what rejoin has connected and nothing uses yet, if there is any. */
void verbs_drop_next(struct verbs_lane *lane);
int verbs_rejoin(struct link_source *source, uint32_t lane, int stop_fd, int timeout_ms, struct tern_error *error);
void verbs_readmit(struct link_source *source, uint32_t lane);
const char *verbs_source_rail(struct link_source *source, uint32_t lane);
/* verbs_reap: take what has completed. 0, or the failure's code */
int verbs_reap(struct verbs_lane *lane, struct tern_error *error);
/* verbs_ended: the error of a lane whose end was heard of. returns -ENOTCONN */
int verbs_ended(const struct verbs_lane *lane, struct tern_error *error);
/* verbs_await_completion: arm, reap, and sleep if nothing had come. 0, -ETIMEDOUT, -ECANCELED, the lane's error */
int verbs_await_completion(struct verbs_lane *lane, int timeout_ms, struct tern_error *error);
/* verbs_post_credit_receives: n receives, each for a message that gives credits back. 0 or -errno */
int verbs_post_credit_receives(struct verbs_lane *lane, uint32_t n);
int verbs_source_add(struct link_source *source, uint32_t region, void *base, uint64_t length_bytes,
                     struct tern_error *error);
int verbs_source_register_chunk(struct link_source *source, uint32_t region, uint64_t chunk, struct tern_error *error);
void verbs_source_set_key(struct link_source *source, uint32_t region, uint64_t chunk, struct link_key key);
int verbs_post(struct link_source *source, uint32_t lane, const struct link_run *runs, size_t n_runs,
               struct tern_error *error);
int verbs_fence(struct link_source *source, uint32_t lane, uint32_t round, struct tern_error *error);
int verbs_wait(struct link_source *source, uint32_t lane, enum link_wait what, int timeout_ms,
               struct tern_error *error);
bool verbs_lost(struct link_source *source, uint32_t lane, void (*each)(void *opaque, const struct link_run *run),
                void *opaque);
void verbs_source_abort(struct link_source *source);
const char *verbs_source_device(struct link_source *source);

/* ---- destination.c, accept.c ---- */

int verbs_destination_open(const struct link_options *options, const struct sockaddr *local,
                           const uint8_t token[LINK_TOKEN_BYTES], uint16_t *port_out, struct link_destination **out,
                           struct tern_error *error);
uint32_t verbs_destination_rails(struct link_destination *destination, struct sockaddr_storage out[LINK_RAILS_MAX]);
int verbs_destination_drop_lane(struct link_destination *destination, uint32_t lane, struct tern_error *error);
void verbs_destination_look(struct link_destination *destination);
int verbs_destination_readmit_lane(struct link_destination *destination, uint32_t lane, struct tern_error *error);
const char *verbs_destination_device(struct link_destination *destination);
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
