/* SPDX-License-Identifier: BSD-2-Clause */
/* The interface to lanes: one-sided writes into another host's memory, or reads from it.
 *
 * A link is a control channel (control.h) plus n lanes. A provider (tcp/, verbs/) makes the lanes; this
 * table is all that the engine knows of it. The contract:
 *   - guest memory is cut into regions, regions into chunks of chunk_bytes (the last one shorter);
 *     a chunk is what is registered, on both sides, before a run in it may be posted;
 *   - a link has one operation. LINK_WRITE: a run is written from the source's region into the same place of the
 *     destination's region. LINK_READ: it is read from there into that place of the source's region;
 *   - lanes have no order between them; on one lane a fence comes after all that was posted before it: when the
 *     destination has seen a lane's fence, all those writes are in its memory, all those reads have been answered;
 *   - whatever the peer sends, no byte outside an exposed region is written or given away, and exposed
 *     memory is open to the link's operation alone. The source's memory is open to nobody.
 *
 * Reads go by the same calls. post takes runs as long as there is room in the lane's queue (queue_depth);
 * of those the devices of both ends have as many on the wire as they agree on. wait DRAINED: all of them
 * are in the source's memory. Until then a run's place holds anything, and what its owner changes meanwhile
 * may come torn. Who posts waits, too: over tcp the destination ends a lane whose answers nobody takes for
 * peer_timeout_ms. There is no ring for reads: memory that may not be pinned is an error.
 *
 * In post-copy it is the guest's destination that reads: it will be the source of a link of its own, to the
 * guest's source, which exposes the guest's memory on it. What is missing for that is outside of this
 * interface: an address where the guest's source listens for lanes. A page is known to be there when its
 * lane is drained, so faults want a lane that the sweep does not use.
 *
 * A lane is used by one thread at a time (its worker). abort may be called by any thread, at any time
 * between open and close. Nothing here knows what a migration is.
 */
#ifndef TRANSPORT_LINK_H
#define TRANSPORT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "transport/tern_error.h"

#define LINK_TOKEN_BYTES         16
#define LINK_LANES_MAX           64
#define LINK_REGIONS_MAX         64
#define LINK_RAILS_MAX           4
#define LINK_DEVICE_BYTES        64 /* a name of a device, and of several */
#define LINK_CHUNK_BYTES_DEFAULT (64ull << 20)

/* A contiguous piece of a region. offset and length are multiples of nothing in particular. */
struct link_run {
    uint32_t region;
    uint64_t offset_bytes;
    uint64_t length_bytes;
};

/* What the source needs to write into one chunk of the destination (verbs: address, and a rkey for each of its rails).
 * address 0: the chunk is not registered there, and goes through the destination's ring. */
struct link_key {
    uint64_t address;
    uint32_t rkey[LINK_RAILS_MAX];
};

/* How memory is made ready for the device. Through a ring: a small registered buffer and one copy, at the side that
 * asks for it; the other side may do it in another way. */
enum link_register {
    LINK_REGISTER_AUTO =
        0, /* pinned; a chunk that may not be pinned (RLIMIT_MEMLOCK, a cgroup) goes through the ring */
    LINK_REGISTER_PIN = 1,
    LINK_REGISTER_ODP = 2, /* on-demand paging: registered, not pinned */
    LINK_REGISTER_RING = 3,
};

/* What a source does with exposed memory. */
enum link_operation {
    LINK_WRITE = 0,
    LINK_READ = 1,
};

/* What a device allows, for the size of chunks. 0: no bound. */
struct link_limits {
    uint64_t chunk_bytes_max;
    uint64_t chunks_max;
};

struct link_options {
    const char *device;            /* comma-separated RDMA device names, or NULL for automatic; borrowed */
    int gid_index;                 /* -1: chosen automatically (RoCE v2, family of the address) */
    uint32_t n_lanes;              /* 1..LINK_LANES_MAX */
    uint64_t chunk_bytes;          /* a power of two, at least 2 MiB; both sides use the same */
    enum link_operation operation; /* both sides use the same */
    uint32_t write_bytes_max;      /* longest single write or read; 0: the provider's choice */
    uint32_t queue_depth;          /* of those in flight a lane; 0: the provider's choice */
    uint32_t peer_timeout_ms;      /* a lane bears a silent peer for at least this long; 0: the provider's choice */
    int connect_timeout_ms;        /* bound for the whole of open, or of wait_lanes */
    enum link_register registration;
    const struct sockaddr_storage *rails; /* source: the destination's other rails, and their ports; borrowed */
    uint32_t n_rails;                     /* of those, 0..LINK_RAILS_MAX - 1 */
    const uint8_t *lane_rail; /* source: the rail that each lane rides, as source_rails counts them; NULL: the lanes
                                 take turns; borrowed during source_open */
};

enum link_wait {
    LINK_WAIT_ROOM,    /* post would accept at least one run */
    LINK_WAIT_DRAINED, /* all that was posted, fences too, has completed: source memory may change unseen, or, of reads,
                          holds what was read */
};

/* How a source writes. 0 in what is given: to be chosen. */
struct link_tuning {
    uint32_t write_bytes;  /* longest single write */
    uint32_t queue_depth;  /* writes under way a lane */
    uint32_t signal_every; /* completions asked for: one in so many writes, and the last of what is posted at once */
    uint32_t n_samples;    /* measured for the choice; 0: it was given, or could not be measured */
    uint64_t ns;
};

struct link_source;
struct link_destination;

struct link_provider {
    const char *name; /* "tcp", "verbs" */
    /* false: chunks need no registration and no key; register_chunk and set_key are never called. */
    bool needs_registration;
    /* What one more run costs, as the bytes that a lane carries in that time: a gap between two runs that is shorter is
     * better sent than left out. 0: no gap is. */
    uint64_t run_cost_bytes;

    /* usable: can this host use the provider towards (source) or at (destination) this address?
     * address      the peer's (source) or the local one on which the control channel arrived
     * device_out   name of what would be used, device_bytes long; written only on success
     * returns      0, or -errno with the reason in error (-ENODEV no device, -ENETDOWN no active port,
     *              -ENETUNREACH no rail reaches the address)
     * thread       any; blocks at most 2 s */
    int (*usable)(const struct link_options *options, const struct sockaddr *address, enum tern_side side,
                  char *device_out, size_t device_bytes, struct tern_error *error);

    /* limits: of the device of that name (from usable). NULL: none. errors -ENODEV */
    int (*limits)(const char *device, struct link_limits *out, struct tern_error *error);

    /* ---- source ---- */

    /* source_rails: which device here reaches each of the destination's rails: peer's own, then options->rails. "":
     * none does, or it is not allowed. returns how many entries it wrote. NULL: there are no rails */
    uint32_t (*source_rails)(const struct link_options *options, const struct sockaddr *peer,
                             char device[LINK_RAILS_MAX][LINK_DEVICE_BYTES]);
    /* source_open: connect options->n_lanes lanes to peer, each showing token and its index.
     * peer         address and port of the destination's listener for this provider; borrowed
     * returns      0 and *out, or -errno; bounded by options->connect_timeout_ms */
    int (*source_open)(const struct link_options *options, const struct sockaddr *peer,
                       const uint8_t token[LINK_TOKEN_BYTES], struct link_source **out, struct tern_error *error);
    /* source_close: disconnect, deregister, free. Takes NULL. The workers have ended. */
    void (*source_close)(struct link_source *source);
    /* source_add: make a region known. Memory is borrowed until source_close. Before any other use. */
    int (*source_add)(struct link_source *source, uint32_t region, void *base, uint64_t length_bytes,
                      struct tern_error *error);
    /* source_register_chunk: register local memory of one chunk, for the NIC of this side. Any thread, once a chunk.
     * returns      0; 1: it is not registered and goes through the ring, error says why; -errno */
    int (*source_register_chunk)(struct link_source *source, uint32_t region, uint64_t chunk, struct tern_error *error);
    /* source_set_key: the destination's key of a chunk. Any thread; the caller orders it before posts. */
    void (*source_set_key)(struct link_source *source, uint32_t region, uint64_t chunk, struct link_key key);
    /* tune: choose what is not given by writing into chunk 0 of `region`, for budget_ms at most, over lane 0. That
     * chunk is ready at both ends, and its bytes at the destination are anybody's. NULL: there is nothing to choose.
     * Not of a link that reads.
     * returns      0, or the lane's error; *out is what holds from now on in any case
     * thread       any one, before the first post */
    int (*tune)(struct link_source *source, uint32_t region, const struct link_tuning *given, uint32_t budget_ms,
                struct link_tuning *out);
    /* post: queue runs for writing, or reading. Both chunk ends are registered and keyed by then.
     * runs         n_runs entries, borrowed until return
     * returns      how many were taken (0..n_runs), or -errno (-ENOTCONN lane down, -ECANCELED aborted,
     *              -EINVAL a run lies outside its region)
     * thread       the lane's worker; never blocks */
    int (*post)(struct link_source *source, uint32_t lane, const struct link_run *runs, size_t n_runs,
                struct tern_error *error);
    /* fence: queue the end of round `round` (write-with-immediate). May block for room, bounded by abort. */
    int (*fence)(struct link_source *source, uint32_t lane, uint32_t round, struct tern_error *error);
    /* wait: block until `what` holds. returns 0, -ETIMEDOUT, or the lane's error. */
    int (*wait)(struct link_source *source, uint32_t lane, enum link_wait what, int timeout_ms,
                struct tern_error *error);
    /* lost: has this lane failed for its rail's sake, while another rail goes on? Then `each` is called for every run
     * that was taken by post and is not known to have been written, or read, and the lane is not used before readmit.
     * NULL: a lane that fails is an error. The lane's worker only. */
    bool (*lost)(struct link_source *source, uint32_t lane, void (*each)(void *opaque, const struct link_run *run),
                 void *opaque);
    /* rejoin: connect a lane again that lost has named and that the destination has dropped. Nothing uses it before
     * readmit. NULL: a lost lane stays lost
     * stop_fd      a descriptor that ends the try when it is readable
     * returns      0, -ECANCELED, or why its rail does not carry it (yet)
     * thread       any one, beside the workers; blocks for timeout_ms at most */
    int (*rejoin)(struct link_source *source, uint32_t lane, int stop_fd, int timeout_ms, struct tern_error *error);
    /* readmit: a lane for which rejoin has returned 0 is used from now on, as if it were new. No worker is at any lane,
     * and what was posted on the old one is dead: the destination has no queue pair for it any more. */
    void (*readmit)(struct link_source *source, uint32_t lane);
    /* source_rail: the device that a lane rides. Valid until close. NULL: lanes have none */
    const char *(*source_rail)(struct link_source *source, uint32_t lane);
    /* source_abort: every call now blocked, and all later ones, return -ECANCELED soon. Any thread. */
    void (*source_abort)(struct link_source *source);
    /* source_device: what the lanes ride ("rxe0", "tcp 10.0.0.2"). Valid until close. */
    const char *(*source_device)(struct link_source *source);

    /* ---- destination ---- */

    /* destination_open: prepare to take options->n_lanes lanes that show token.
     * local        where the control channel arrived; borrowed. verbs listens there.
     * port_out     port that the source shall connect its lanes to; 0: the one it used for control */
    int (*destination_open)(const struct link_options *options, const struct sockaddr *local,
                            const uint8_t token[LINK_TOKEN_BYTES], uint16_t *port_out, struct link_destination **out,
                            struct tern_error *error);
    /* destination_rails: the addresses, with ports, of rails beside the one of `local`. returns how many. NULL: none */
    uint32_t (*destination_rails)(struct link_destination *destination, struct sockaddr_storage out[LINK_RAILS_MAX]);
    /* destination_drop_lane: the source has given this lane up. After return no write of it can land any more, no read
     * of it is answered, and its fences are not waited for. Not while wait_fence runs. -EINVAL no such lane, or the
     * last one */
    int (*destination_drop_lane)(struct link_destination *destination, uint32_t lane, struct tern_error *error);
    /* destination_look: let lanes that were dropped connect again, if any asks for it. Never blocks. NULL: none can */
    void (*destination_look)(struct link_destination *destination);
    /* destination_readmit_lane: the source uses a lane again that was dropped and has connected anew: from the next
     * round on its fences are waited for. Not while wait_fence runs. -EINVAL it has not */
    int (*destination_readmit_lane)(struct link_destination *destination, uint32_t lane, struct tern_error *error);
    /* destination_device: what the lanes ride. Valid until close. NULL: as usable said */
    const char *(*destination_device)(struct link_destination *destination);
    /* destination_close: teardown, deregister, free. Takes NULL. */
    void (*destination_close)(struct link_destination *destination);
    /* destination_expose: let the source write into, or read, this memory, borrowed until close. Before wait_lanes. */
    int (*destination_expose)(struct link_destination *destination, uint32_t region, void *base, uint64_t length_bytes,
                              struct tern_error *error);
    /* destination_file: an exposed region is a shared mapping of this file from offset_bytes on; what is written goes
     * through the file, which costs less where no page is yet: the kernel need not clear it first, nor take a fault.
     * The file takes write(2) (hugetlbfs does not). Before wait_lanes. NULL: of no use fd           borrowed until
     * close; over 0 */
    int (*destination_file)(struct link_destination *destination, uint32_t region, int fd, uint64_t offset_bytes,
                            struct tern_error *error);
    /* destination_register_chunk: register one chunk for this link and its operation only. Any thread,
     * several at once for different chunks. *out is written only on success.
     * returns      as source_register_chunk */
    int (*destination_register_chunk)(struct link_destination *destination, uint32_t region, uint64_t chunk,
                                      struct link_key *out, struct tern_error *error);
    /* destination_adopt: take an accepted TCP connection as lane `lane` (tcp only; NULL elsewhere).
     * fd           owned by the provider from here on, also on failure */
    int (*destination_adopt)(struct link_destination *destination, uint32_t lane, int fd, struct tern_error *error);
    /* wait_lanes: until all lanes are connected; bounded by options->connect_timeout_ms. Nothing that the source sends
     * is written or answered before this has returned 0. */
    int (*wait_lanes)(struct link_destination *destination, struct tern_error *error);
    /* wait_fence: until every lane has fenced `round`. returns 0, -ETIMEDOUT, or a lane's error. */
    int (*wait_fence)(struct link_destination *destination, uint32_t round, int timeout_ms, struct tern_error *error);
    /* destination_abort: as source_abort. */
    void (*destination_abort)(struct link_destination *destination);
    /* destination_teardown: after return no remote write can land any more, no read is answered. Cheap: deregistration
     * waits for close. May be called once, before close. */
    void (*destination_teardown)(struct link_destination *destination);
};

extern const struct link_provider link_tcp;
extern const struct link_provider link_verbs;

#endif
