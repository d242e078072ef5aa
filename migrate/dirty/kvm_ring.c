/* SPDX-License-Identifier: BSD-2-Clause */
/* Dirty tracking by KVM's dirty rings: each vCPU has one, into which KVM puts the pages that it makes dirty. An entry
 * is taken here (the page's bit is set), marked for reset, and KVM_RESET_DIRTY_RINGS protects those pages again. A
 * thread takes entries every few milliseconds, so that rings seldom fill and stop a vCPU. Invariant: a page is
 * protected again only after its bit is set, and its bit is handed out only after that. source:
 * Documentation/virt/kvm/api.rst, 8.29 KVM_CAP_DIRTY_LOG_RING */
#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/dirty/kvm_slots.h"
#include "migrate/dirty/tracker.h"
#include "transport/error.h"

#define REAP_MS 5

struct ring {
    struct kvm_dirty_gfn *entries;
    uint32_t next;
};

struct kvm_ring {
    struct tracker_base base;
    struct kvm_slots slots;
    uint32_t n_rings, n_entries; /* entries of each */
    size_t ring_bytes;
    int end_fd;
    pthread_t reaper;
    pthread_mutex_t lock; /* guards all below */
    struct ring *rings;
    uint64_t *dirty[WIRE_REGIONS_MAX]; /* taken from the rings, not yet fetched */
    int failed;                        /* -errno of a reset: from then on pages may go unseen */
};

static void take_entry(struct kvm_ring *tracker, const struct kvm_dirty_gfn *entry)
{
    int region = kvm_slots_find(&tracker->slots, entry->slot);

    /* Slots that are not ours may be logged for others. */
    if (region < 0 || entry->offset >= tracker->slots.regions[region].length_bytes / TERN_PAGE_BYTES)
        return;
    tracker->dirty[region][entry->offset / 64] |= 1ull << entry->offset % 64;
}

/* The lock is held. */
static int reap_locked(struct kvm_ring *tracker)
{
    uint32_t taken = 0;

    for (uint32_t i = 0; i < tracker->n_rings; i++) {
        struct ring *ring = &tracker->rings[i];

        for (uint32_t n = 0; n < tracker->n_entries; n++) {
            struct kvm_dirty_gfn *entry = &ring->entries[ring->next % tracker->n_entries];

            if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
                break;
            take_entry(tracker, entry);
            __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
            ring->next++;
            taken++;
        }
    }
    if (taken && ioctl(tracker->slots.vm_fd, KVM_RESET_DIRTY_RINGS, 0) < 0 && !tracker->failed)
        tracker->failed = -errno;
    return tracker->failed;
}

static int reap(struct kvm_ring *tracker, struct tern_error *error)
{
    int r;

    pthread_mutex_lock(&tracker->lock);
    r = reap_locked(tracker);
    pthread_mutex_unlock(&tracker->lock);
    return r ? error_set(error, r, NULL, "cannot reset KVM's dirty rings: %s", strerror(-r)) : 0;
}

static void *reaper_main(void *argument)
{
    struct kvm_ring *tracker = argument;
    struct pollfd end = {.fd = tracker->end_fd, .events = POLLIN};

    while (!poll(&end, 1, REAP_MS))
        if (reap(tracker, NULL))
            break; /* the next fetch says so */
    return NULL;
}

static int start(void *self, struct tern_error *error)
{
    struct kvm_ring *tracker = self;
    int r = kvm_slots_log(&tracker->slots, true, error);

    if (r)
        return r;
    tracker->end_fd = eventfd(0, EFD_CLOEXEC);
    r = tracker->end_fd < 0 ? -errno : -pthread_create(&tracker->reaper, NULL, reaper_main, tracker);
    if (r) {
        if (tracker->end_fd >= 0)
            close(tracker->end_fd);
        kvm_slots_log(&tracker->slots, false, NULL);
        return error_set(error, r, NULL, "cannot start the dirty ring's thread: %s", strerror(-r));
    }
    tracker->base.running = true;
    return 0;
}

static int fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct kvm_ring *tracker = self;
    uint64_t *dirty = tracker->dirty[region];
    int r = reap(tracker, error);

    if (r)
        return r;
    pthread_mutex_lock(&tracker->lock);
    for (uint64_t i = 0, n = kvm_slots_words(&tracker->slots.regions[region]); i < n; i++) {
        bitmap[i] |= dirty[i];
        dirty[i] = 0;
    }
    pthread_mutex_unlock(&tracker->lock);
    return 0;
}

static void stop(void *self)
{
    struct kvm_ring *tracker = self;
    uint64_t one = 1;

    if (write(tracker->end_fd, &one, sizeof(one)) == sizeof(one))
        pthread_join(tracker->reaper, NULL);
    close(tracker->end_fd);
    kvm_slots_log(&tracker->slots, false, NULL);
    reap(tracker, NULL); /* what is left would be stale when tracking starts again */
    for (uint32_t i = 0; i < tracker->slots.n_regions; i++)
        memset(tracker->dirty[i], 0, kvm_slots_words(&tracker->slots.regions[i]) * sizeof(uint64_t));
    tracker->base.running = false;
}

static void destroy(void *self)
{
    struct kvm_ring *tracker = self;

    for (uint32_t i = 0; i < tracker->n_rings; i++)
        if (tracker->rings[i].entries)
            munmap(tracker->rings[i].entries, tracker->ring_bytes);
    for (uint32_t i = 0; i < tracker->slots.n_regions; i++)
        free(tracker->dirty[i]);
    free(tracker->rings);
    pthread_mutex_destroy(&tracker->lock);
    free(tracker);
}

static const struct tern_tracker_ops ops = {"KVM dirty ring", start, fetch, NULL, stop};

static int map_rings(struct kvm_ring *tracker, const int *vcpu_fds, uint32_t n_vcpus, struct tern_error *error)
{
    tracker->rings = calloc(n_vcpus, sizeof(*tracker->rings));
    if (!tracker->rings)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    for (uint32_t i = 0; i < n_vcpus; i++) {
        void *entries = mmap(NULL, tracker->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fds[i],
                             KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));

        if (entries == MAP_FAILED)
            return error_set(
                error, -errno, "KVM_CAP_DIRTY_LOG_RING must be enabled, with this size, before vCPUs are made",
                "cannot map the dirty ring (%zu bytes) of vCPU %u: %s", tracker->ring_bytes, i, strerror(errno));
        tracker->rings[i].entries = entries;
        tracker->n_rings = i + 1;
    }
    return 0;
}

int tern_tracker_kvm_ring_create(int vm_fd, const int *vcpu_fds, uint32_t n_vcpus, uint32_t ring_bytes,
                                 const struct tern_kvm_slot *slots, uint32_t n_slots, const struct tern_region *regions,
                                 struct tern_tracker *out, struct tern_error *error)
{
    struct kvm_ring *tracker;
    int r;

    if (!n_vcpus || ring_bytes < 4096 || (ring_bytes & (ring_bytes - 1)))
        return error_set(error, -EINVAL, NULL, "%u vCPUs with dirty rings of %u bytes: not a power of two", n_vcpus,
                         ring_bytes);
    tracker = calloc(1, sizeof(*tracker));
    if (!tracker)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    tracker->base.destroy = destroy;
    tracker->ring_bytes = ring_bytes;
    tracker->n_entries = ring_bytes / sizeof(struct kvm_dirty_gfn);
    pthread_mutex_init(&tracker->lock, NULL);
    r = kvm_slots_init(&tracker->slots, vm_fd, slots, n_slots, regions, error);
    for (uint32_t i = 0; !r && i < n_slots; i++) {
        tracker->dirty[i] = calloc(kvm_slots_words(&regions[i]), sizeof(uint64_t));
        if (!tracker->dirty[i])
            r = error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    }
    if (!r)
        r = map_rings(tracker, vcpu_fds, n_vcpus, error);
    if (r) {
        destroy(tracker);
        return r;
    }
    *out = (struct tern_tracker){&ops, tracker};
    return 0;
}

int tern_tracker_kvm_ring_reap(struct tern_tracker *tracker, struct tern_error *error)
{
    if (tracker->ops != &ops)
        return error_set(error, -EINVAL, NULL, "the tracker is no KVM dirty ring");
    return reap(tracker->self, error);
}
