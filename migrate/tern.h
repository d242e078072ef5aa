/* SPDX-License-Identifier: BSD-2-Clause */
/* libtern: live migration of a running virtual machine by one-sided writes.
 *
 * A VMM describes its guest with a struct tern_vm (regions of guest memory, callbacks, a dirty tracker),
 * then makes a tern_source and runs it, or a tern_destination and runs it. Both calls block until the
 * migration has ended; call them from a thread of your own. libtern starts its own workers, prints
 * nothing, never exits, and holds no global state.
 *
 * Structs that a caller fills begin with struct_bytes = sizeof of that struct, so that later versions
 * can add members at the end; zero means the default for every member not said otherwise.
 *
 * Functions return 0 or a negative errno; struct tern_error (may be NULL) says what failed and what to do.
 */
#ifndef TERN_H
#define TERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/tern_error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_API     __attribute__((visibility("default")))
#define TERN_VERSION "0.1.0"

/* Unit of dirty tracking, whatever the size of the pages behind a region. */
#define TERN_PAGE_BYTES    4096u
#define TERN_DEFAULT_PORT  7471
#define TERN_NAME_BYTES    32
#define TERN_PROFILE_BYTES 16384u
#define TERN_NODES_MAX     64u /* NUMA nodes */
#define TERN_LANES_MAX     64u

/* ---- the guest ---- */

/* A contiguous range of guest memory, mapped here.
 * base             page_bytes-aligned address in this process
 * guest_address    guest-physical address; regions are sorted by it and do not overlap
 * length_bytes     a multiple of page_bytes
 * page_bytes       size of the pages behind it: 4 KiB, 2 MiB or 1 GiB
 * name             shown in messages; the same on both sides
 * file_fd          optional, destination: the file of which base is a shared mapping, in memory (tmpfs, memfd) and of
 *                  pages of 4 KiB, from file_offset_bytes on; borrowed. Over tcp, pages that are not there yet are then
 *                  written through it, which spares the kernel clearing them. 0: none
 * At the destination the memory must read as zero when the migration starts. */
struct tern_region {
    void *base;
    uint64_t guest_address;
    uint64_t length_bytes;
    uint64_t page_bytes;
    char name[TERN_NAME_BYTES];
    int file_fd;
    uint64_t file_offset_bytes;
};

/* A dirty tracker: which pages were written since they were last cleared. A bitmap has one bit for each
 * TERN_PAGE_BYTES of the region, bit p % 64 of word p / 64.
 * start    begin tracking every region; pages written before need not be reported
 * fetch    OR into bitmap the pages written since they were cleared (since start); a tracker
 *          without clear re-arms them in the same step, one with clear leaves them armed as they are
 * clear    re-arm the pages of [first_page, first_page + n_pages) whose bit is set in mask (bit 0 of mask is
 *          first_page), and no others: one that was written since the fetch is not in mask and must stay dirty.
 *          first_page and n_pages are multiples of 64, but for the end of the region. Called just before those
 *          pages are read, by several workers at once for different pages. May be NULL
 * stop     end tracking; called once after a successful start
 * All but clear are called by one thread. Each returns 0 or -errno. */
struct tern_tracker_ops {
    const char *name;
    int (*start)(void *tracker, struct tern_error *error);
    int (*fetch)(void *tracker, uint32_t region, uint64_t *bitmap, struct tern_error *error);
    int (*clear)(void *tracker, uint32_t region, uint64_t first_page, uint64_t n_pages, const uint64_t *mask,
                 struct tern_error *error);
    void (*stop)(void *tracker);
};

struct tern_tracker {
    const struct tern_tracker_ops *ops;
    void *self;
};

#define TERN_IMAGE_REGIONS_MAX 32u

/* Guest memory that another process has, lent by it for a lazy resume (tern_vm.lend_memory).
 * image_fd     given: the image, open for reading, for whoever is to read on if this process ends. Borrowed
 * notes_fd     given: a file in memory in which libtern notes what it begins to put there, for the same. Borrowed. A
 *              VMM that reads on gives the one that its predecessor was given
 * uffd         a userfaultfd of that process, not blocking, which sees the kernel's faults too; every region is
 *              registered with it for missing pages, and every page is missing. The VMM's
 * addresses    where each region begins in that process
 * begun        a part of it has been read already, by a process that has ended: what that one put there, by its notes,
 *              is left as it is; anything else that is there was put there by nobody who may, and is damage */
struct tern_lent_memory {
    int image_fd;
    int notes_fd;
    int uffd;
    uint64_t addresses[TERN_IMAGE_REGIONS_MAX];
    bool begun;
};

/* What a VMM hands over. Borrowed until the session is destroyed. Callbacks are called from the thread
 * that runs the session, never two at once.
 * kind             the VMM's name and state format ("tern-vmm 1"); both sides must have the same
 * regions          the guest's memory
 * tracker          source only
 * prepare          optional: do what of the switchover can be done while the guest still runs, so that it costs no
 *                  downtime. Source: just before pause. Destination: when a source was accepted, and again for the
 *                  next, if that one ended before it sent anything. Undoing it is the VMM's matter
 * pause            stop every vCPU; on return guest memory and device state change no more. -ESRCH: the guest has ended
 * paused_since     optional, source, after pause: from when on the guest stood still (CLOCK_MONOTONIC, ns), where pause
 *                  lets it run for a part of its time. Without it the downtime counts from the call of pause
 * resume           run the guest: at the source after a failure, at the destination to activate it
 * throttle         optional, source: take away percent (0..99) of the guest's time; 0 ends it
 * save_state       source, guest paused: write the device state into buffer, its length into *length_bytes;
 *                  -ENOSPC if capacity is too small
 * load_state       destination: take the device state; the guest does not run yet
 * save_profile     optional, source: what the destination must know to judge whether it can run this guest (CPU
 *                  features, machine type), in the VMM's own format, into buffer; at most TERN_PROFILE_BYTES
 * check_profile    optional, destination: can this side run such a guest? Called before anything is reserved;
 *                  -errno with the reason refuses the migration. Length 0: the source gave none
 * inhibit_discards optional: while on, the VMM must not discard guest pages (balloon, free page reporting,
 *                  virtio-mem); returns -errno if it cannot promise that. Called at the source only where its pages
 *                  may be pinned (verbs, registration auto or pin), before the first one is; at the destination, and in
 *                  a suspend, always
 * state_capacity_bytes   upper bound of the device state; 0: 1 MiB
 * commit           optional, source, guest paused: the destination is ready, and on success the commit is sent at
 *                  once: from then on only libtern's resume, or the operator's word, may run the guest here. On return
 *                  whoever else would have run it (a watchdog of this process) no longer does. Part of the downtime.
 *                  -errno: the migration is given up and the guest runs on here
 * lend_memory      optional, resume (and then pause is needed): the regions are mappings of another process's memory.
 * On: lend it for reading it lazily; nobody touches the regions' mappings in this process from then on, and they may be
 * taken away: only their addresses are used. -errno with the reason: all of it is to be read before the guest runs,
 * through mappings that are there. Off: all of it is there, or none was put there: it is as other memory again. Not
 * called if a part of it is missing for good: to touch that must never read as zeros */
struct tern_vm {
    size_t struct_bytes;
    void *opaque;
    char kind[TERN_NAME_BYTES];
    const struct tern_region *regions;
    uint32_t n_regions;
    struct tern_tracker tracker;
    int (*prepare)(void *opaque, struct tern_error *error);
    int (*pause)(void *opaque, struct tern_error *error);
    uint64_t (*paused_since)(void *opaque);
    int (*resume)(void *opaque, struct tern_error *error);
    int (*throttle)(void *opaque, uint32_t percent, struct tern_error *error);
    int (*save_state)(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                      struct tern_error *error);
    int (*load_state)(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error);
    int (*save_profile)(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                        struct tern_error *error);
    int (*check_profile)(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error);
    int (*inhibit_discards)(void *opaque, bool on, struct tern_error *error);
    uint64_t state_capacity_bytes;
    int (*commit)(void *opaque, struct tern_error *error);
    int (*lend_memory)(void *opaque, bool on, struct tern_lent_memory *lent, struct tern_error *error);
};

/* ---- options ---- */

enum tern_transport {
    TERN_TRANSPORT_AUTO = 0, /* verbs where both ends have a device that reaches the other, else tcp */
    TERN_TRANSPORT_VERBS = 1,
    TERN_TRANSPORT_TCP = 2,
};

enum tern_no_converge {
    TERN_NO_CONVERGE_THROTTLE = 0,
    TERN_NO_CONVERGE_ABORT = 1,
};

/* How memory is made ready for an RDMA device. Each side chooses for itself. */
enum tern_register {
    TERN_REGISTER_AUTO = 0, /* pin; what may not be pinned goes through the ring, with a warning */
    TERN_REGISTER_PIN = 1,
    TERN_REGISTER_ODP = 2,  /* on-demand paging: refused where the device has none */
    TERN_REGISTER_RING = 3, /* a small registered ring and one copy on this side: nothing of the guest is pinned */
};

enum tern_phase {
    TERN_PHASE_INITIATE = 0,
    TERN_PHASE_PRE_COPY = 2,
    TERN_PHASE_STOP_AND_COPY = 3,
    TERN_PHASE_COMMIT = 4,
    TERN_PHASE_ACTIVATE = 5,
};

enum tern_event_kind {
    TERN_EVENT_PHASE,    /* phase is now current */
    TERN_EVENT_ROUND,    /* source: a round has ended. destination: all of it is in memory, not yet digested */
    TERN_EVENT_PROGRESS, /* about five a second, source */
    TERN_EVENT_WARNING,  /* text says what the user should know */
    TERN_EVENT_STOPPING, /* resume: the guest runs and is paused next, for good: do not run it from here on */
};

/* One event. Members that do not apply are 0. text is valid during the call only. */
struct tern_event {
    enum tern_event_kind kind;
    enum tern_side side;
    enum tern_phase phase;
    uint32_t round;
    uint64_t elapsed_ns;
    uint64_t bytes_sent;  /* in all, over the lanes */
    uint64_t pages_sent;  /* in all */
    uint64_t zero_pages;  /* in all */
    uint64_t bytes_left;  /* known dirty and not yet sent */
    uint64_t round_bytes; /* of this round */
    uint64_t round_ns;
    uint64_t rate_bps;       /* payload bits a second, of this round */
    uint64_t dirty_pages_ps; /* pages dirtied a second */
    uint64_t predicted_downtime_ns;
    uint32_t throttle_percent;
    const char *transport; /* "tcp", "verbs", once known */
    const char *device;
    const char *text;
};

typedef void tern_event_fn(void *opaque, const struct tern_event *event);

/* Options of a session. The source's choose; a destination uses what its own side needs.
 * host             source: the destination's name or address. destination: where to listen, NULL: anywhere
 * port             0: TERN_DEFAULT_PORT. The tcp control channel and lanes, and rdma_cm, use this number
 * device           RDMA devices by name, comma-separated, or NULL
 * gid_index        0 is an index: set -1 for automatic
 * lanes            0: automatic
 * downtime_limit_ns      0: 50 ms. Stop the guest when the predicted downtime fits
 * bandwidth_bps    payload bits a second, over all lanes; 0: no limit
 * deadline_ns      the whole migration; 0: none. When pre-copy would miss it: on_no_converge abort gives up,
 *                  throttle switches over although the downtime limit is missed
 * verify           compare digests of every page before commit (the source decides)
 * peer_timeout_ms  a silent peer is dead after this; 0: 4000
 * reconnect_ms     after the commit was sent: how long to seek the peer before the outcome is in doubt; 0: 15000
 * numa_map         destination: on which NUMA node here memory of the source's node goes, "0:1,1:0". For nodes that it
 *                  does not name, and with NULL: the same number, else interleaved. Memory that has a policy keeps it
 * on_event         may be NULL; called from libtern's threads, one at a time; must not block
 * registration     of guest memory with the RDMA device, on this side
 * write_bytes, queue_depth, signal_every   of writes over RDMA (source); 0: chosen by a short probe */
struct tern_options {
    size_t struct_bytes;
    const char *host;
    uint16_t port;
    enum tern_transport transport;
    const char *device;
    int gid_index;
    uint32_t lanes;
    uint64_t downtime_limit_ns;
    uint64_t bandwidth_bps;
    uint64_t deadline_ns;
    enum tern_no_converge on_no_converge;
    bool verify;
    uint32_t peer_timeout_ms;
    uint32_t reconnect_ms;
    const char *numa_map;
    tern_event_fn *on_event;
    void *event_opaque;
    enum tern_register registration;
    uint32_t write_bytes;
    uint32_t queue_depth;
    uint32_t signal_every;
    bool eager; /* tern_resume: read and check all memory before the guest runs */
};

/* Fill with the defaults, struct_bytes and gid_index included. */
TERN_API void tern_options_init(struct tern_options *options);

/* ---- results ---- */

enum tern_outcome {
    TERN_OUTCOME_FAILED = 0,   /* the source has its VM as before; the destination has nothing */
    TERN_OUTCOME_MIGRATED = 1, /* the guest runs at the destination, and only there */
    TERN_OUTCOME_IN_DOUBT = 2, /* the handover was cut: the guest is paused here, and must not be run
                                  before the operator has named the owner */
    TERN_OUTCOME_SUSPENDED =
        3,                    /* the guest is in its image and nowhere else; this side's is paused and to be dropped */
    TERN_OUTCOME_RESUMED = 4, /* the guest runs here, and all of it has been read */
};

/* Where the downtime went, on the source's clock; the members add up to the downtime. */
struct tern_ledger {
    uint64_t stop_ns;       /* pause() */
    uint64_t last_scan_ns;  /* last dirty bitmap */
    uint64_t last_write_ns; /* last round's pages handed to the lanes and completed */
    uint64_t fence_ns;      /* until the destination has seen every lane's fence (and, with verify, agreed) */
    uint64_t state_ns;      /* save_state() and its transfer */
    uint64_t commit_ns;     /* load_state() at the destination, READY heard, COMMIT sent */
    uint64_t activate_ns;   /* lanes torn down, resume() at the destination, ACTIVE heard */
};

/* Guest memory on one NUMA node of this side's host, in pages of TERN_PAGE_BYTES. */
struct tern_node_pages {
    uint32_t node;
    uint64_t pages;
};

/* What a worker of the source did.
 * rail         the device that its lane rode; "" over tcp
 * away_pages   of those that it sent, on another node than its own */
struct tern_worker {
    uint32_t lane;
    uint32_t node;
    char rail[TERN_NAME_BYTES];
    uint64_t pages_sent, away_pages;
};

/* At the end of a migration.
 * nodes    on a host with several NUMA nodes, where guest memory lay: at the source before the migration, at the
 *          destination after it; estimated from samples where nodes_sampled says so. Else n_nodes is 0
 * workers  likewise, at the source */
struct tern_result {
    size_t struct_bytes;
    enum tern_outcome outcome;
    char transport[TERN_NAME_BYTES];
    char transport_reason[128]; /* why this transport */
    char device[TERN_NAME_BYTES];
    char tracker[TERN_NAME_BYTES];
    char peer[64];
    uint32_t lanes;
    uint32_t rounds;
    uint64_t total_ns;
    uint64_t setup_ns; /* until the first page could be sent */
    uint64_t downtime_ns;
    uint64_t bytes_sent; /* payload over the lanes */
    uint64_t pages_sent;
    uint64_t zero_pages; /* found zero and not sent */
    uint64_t memory_bytes;
    uint64_t mean_bps; /* bytes_sent over the time from the first page to switchover's end */
    uint64_t first_round_bps;
    uint64_t registered_bytes;
    bool verified;
    struct tern_ledger ledger;
    bool nodes_sampled;
    uint32_t n_nodes, n_workers;
    struct tern_node_pages nodes[TERN_NODES_MAX];
    struct tern_worker workers[TERN_LANES_MAX];
    uint64_t register_ns;     /* in registration, of all threads together; most of it while pages travel */
    uint64_t ring_bytes;      /* not registered: it went through the ring of this side */
    uint64_t peer_ring_bytes; /* source: of the other side */
    uint32_t write_bytes;     /* source, verbs: longest write, writes under way a lane, one completion in so many */
    uint32_t queue_depth;
    uint32_t signal_every;
    uint32_t tune_samples; /* that the probe measured for that; 0: they were given, or it could not measure */
    uint64_t tune_ns;      /* what the probe took, while the tracker started and memory was registered */
};

/* ---- source ---- */

struct tern_source;

/* tern_source_create: check vm and options, which are borrowed until destroy. Connects nothing yet.
 * errors   -EINVAL names the member that is wrong */
TERN_API int tern_source_create(const struct tern_vm *vm, const struct tern_options *options, struct tern_source **out,
                                struct tern_error *error);

/* tern_source_run: migrate. Blocks until the end; once per source.
 * returns  0 with outcome MIGRATED: the guest runs at the destination; this side's is paused and to be dropped.
 *          -errno with outcome FAILED: the guest runs here again, as if nothing had been (or stays as it
 *          was, if it was paused). -EINPROGRESS with outcome IN_DOUBT: see tern_outcome.
 * result   written always; set result->struct_bytes first */
TERN_API int tern_source_run(struct tern_source *source, struct tern_result *result, struct tern_error *error);

/* tern_source_cancel: make run give up with -ECANCELED, if the commit has not been sent.
 * thread   any; async; returns at once */
TERN_API void tern_source_cancel(struct tern_source *source);
TERN_API void tern_source_destroy(struct tern_source *source);

/* ---- destination ---- */

struct tern_destination;

/* tern_destination_create: check vm and options, listen. */
TERN_API int tern_destination_create(const struct tern_vm *vm, const struct tern_options *options,
                                     struct tern_destination **out, struct tern_error *error);
/* The port listened on (useful with port 0 in tests: give options.port = UINT16_MAX for any free port). */
TERN_API uint16_t tern_destination_port(const struct tern_destination *destination);

/* tern_destination_run: wait for a source, receive, run the guest. Once per destination.
 * Connections that are not a source of the right version are turned away and waiting goes on.
 * returns  0 MIGRATED: resume() was called and the source knows. -errno FAILED: nothing may be run.
 *          -EINPROGRESS IN_DOUBT: the guest is whole and paused here */
TERN_API int tern_destination_run(struct tern_destination *destination, struct tern_result *result,
                                  struct tern_error *error);
TERN_API void tern_destination_cancel(struct tern_destination *destination);
TERN_API void tern_destination_destroy(struct tern_destination *destination);

/* ---- suspend and resume ---- */

#define TERN_IMAGE_SECTIONS_MAX 35u

struct tern_suspend;

/* tern_suspend_create: check vm and options (lanes, downtime_limit_ns, bandwidth_bps, deadline_ns, on_no_converge,
 * on_event are used). All are borrowed until destroy. Touches no file yet.
 * vm       as of a source; its regions have names
 * path     the image. It is written beside it, as PATH.partial, and renamed when it is whole and on the disk; an older
 *          image of that name is replaced then, any other file of either name is refused
 *          Ignore SIGXFSZ where a limit of file sizes may be set: the signal ends a process that writes beyond it
 * errors   -EINVAL names the member that is wrong */
TERN_API int tern_suspend_create(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                                 struct tern_suspend **out, struct tern_error *error);

/* tern_suspend_run: write memory while the guest runs, then the rest and the device state while it is paused. Blocks
 * until the end; once.
 * returns  0 with outcome SUSPENDED: the image is whole and on the disk; this side's guest is paused and to be dropped.
 *          -errno with outcome FAILED: there is no new image, and the guest runs on
 * result   written always; set result->struct_bytes first. The downtime counts to the image's completion */
TERN_API int tern_suspend_run(struct tern_suspend *suspend, struct tern_result *result, struct tern_error *error);

/* tern_suspend_cancel: make run give up with -ECANCELED, if the image is not about to be completed.
 * thread   any; async; returns at once */
TERN_API void tern_suspend_cancel(struct tern_suspend *suspend);
TERN_API void tern_suspend_destroy(struct tern_suspend *suspend);

struct tern_resume;

/* tern_resume_create: open the image and check it (but for its memory) and whether it is of such a VM. vm, path and
 * options (eager and on_event are used) are borrowed until destroy; the file must not change until run has ended.
 * vm       as of a destination, with the regions of the image, which read as zero
 * errors   naming the section: -EINVAL foreign, unfinished, or of another VM; -EPROTONOSUPPORT another version;
 *          -ENODATA truncated; -EILSEQ damaged; what check_profile returns; what open(2) says */
TERN_API int tern_resume_create(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                                struct tern_resume **out, struct tern_error *error);

/* tern_resume_run: run the guest, and return when all of its memory has been read; once. Unless options.eager is set,
 * the guest runs before (the event of phase activate tells when): memory that it touches is read as it does, by
 * userfaultfd; where that cannot be had, a warning says so and all is read first. The regions must then be mappings of
 * this process, and be left mapped until run has ended; or lent by the process that has them (tern_vm.lend_memory).
 * returns  0 with outcome RESUMED. -errno with outcome FAILED: the guest does not run here; it may have run if a part
 *          of its memory was found damaged after phase activate: none of the damaged part was seen by it
 * result   written always; setup_ns is the time until the guest ran */
TERN_API int tern_resume_run(struct tern_resume *resume, struct tern_result *result, struct tern_error *error);

/* tern_resume_cancel: make run give up with -ECANCELED; a guest that runs already is paused, and cannot be continued:
 *          touching memory that was not read faults from then on (the event "stopping" comes before). Where its memory
 *          was lent, a guest that runs already runs on, and all is read.
 * thread   any; async; returns at once */
TERN_API void tern_resume_cancel(struct tern_resume *resume);
TERN_API void tern_resume_destroy(struct tern_resume *resume);

/* A section of an image. Of memory: guest_address, and the size of the pages that were behind it. */
struct tern_image_section {
    char name[TERN_NAME_BYTES];
    uint64_t offset_bytes, length_bytes, digest;
    uint64_t guest_address, page_bytes;
};

/* What is in an image. regions have no base. disk_bytes: what the file takes on the disk. */
struct tern_image {
    size_t struct_bytes;
    uint32_t version;
    char kind[TERN_NAME_BYTES];
    uint64_t created_s; /* since 1970 */
    uint64_t file_bytes, disk_bytes, memory_bytes;
    uint32_t n_regions, n_sections;
    struct tern_region regions[TERN_IMAGE_REGIONS_MAX];
    struct tern_image_section sections[TERN_IMAGE_SECTIONS_MAX];
};

/* tern_image_read: the head, checked, as are the digests. Set image->struct_bytes first. errors as tern_resume_create
 */
TERN_API int tern_image_read(const char *path, struct tern_image *image, struct tern_error *error);

/* tern_image_check: read all of it. errors as tern_resume_create; -EILSEQ names the section, and in memory the place */
TERN_API int tern_image_check(const char *path, struct tern_error *error);

/* ---- dirty trackers that libtern brings ---- */

/* A guest memory slot as KVM knows it. */
struct tern_kvm_slot {
    uint32_t slot;   /* KVM memory slot number, dirty logging switched on by the tracker */
    uint32_t region; /* index into tern_vm.regions */
};

/* tern_tracker_kvm_log: KVM_GET_DIRTY_LOG (with KVM_CLEAR_DIRTY_LOG where MANUAL_DIRTY_LOG_PROTECT2 is).
 * vm_fd    borrowed. slots: one for each region, whole. regions: borrowed until destroy
 * Switches KVM_MEM_LOG_DIRTY_PAGES on in start and off in stop. */
TERN_API int tern_tracker_kvm_log_create(int vm_fd, const struct tern_kvm_slot *slots, uint32_t n_slots,
                                         const struct tern_region *regions, struct tern_tracker *out,
                                         struct tern_error *error);

/* tern_tracker_kvm_ring: KVM dirty ring. The VMM has enabled KVM_CAP_DIRTY_LOG_RING(_ACQ_REL) with ring_bytes
 * before it made vCPUs. A thread of the tracker reaps the rings; the VMM calls tern_tracker_kvm_ring_reap when
 * a vCPU exits with KVM_EXIT_DIRTY_RING_FULL, from that vCPU's thread, and then runs on. */
TERN_API int tern_tracker_kvm_ring_create(int vm_fd, const int *vcpu_fds, uint32_t n_vcpus, uint32_t ring_bytes,
                                          const struct tern_kvm_slot *slots, uint32_t n_slots,
                                          const struct tern_region *regions, struct tern_tracker *out,
                                          struct tern_error *error);
TERN_API int tern_tracker_kvm_ring_reap(struct tern_tracker *tracker, struct tern_error *error);

/* tern_tracker_uffd: userfaultfd write-protect over this process's own mappings of the regions.
 * WP_ASYNC + PAGEMAP_SCAN (Linux 6.7), else synchronous with a handler thread; the name says which.
 * force_sync   for tests: take the synchronous mode even where the other exists */
TERN_API int tern_tracker_uffd_create(const struct tern_region *regions, uint32_t n_regions, bool force_sync,
                                      struct tern_tracker *out, struct tern_error *error);

/* Ends tracking if it runs, frees, and clears *tracker. Takes an empty one. */
TERN_API void tern_tracker_destroy(struct tern_tracker *tracker);

#ifdef __cplusplus
}
#endif
#endif
