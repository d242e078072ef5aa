/* SPDX-License-Identifier: BSD-2-Clause */
/* Dirty tracking by KVM's log. With MANUAL_DIRTY_LOG_PROTECT2 fetching leaves the pages writable, and each is protected
 * again just before it is sent: what the guest writes in between is sent once, not twice. With INITIALLY_SET nothing is
 * protected at the start either: every page counts as dirty until it is cleared.
 * source: Documentation/virt/kvm/api.rst, 4.8, 4.117, 7.13 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "migrate/dirty/kvm_slots.h"
#include "migrate/dirty/tracker.h"
#include "transport/error.h"

struct kvm_log {
    struct tracker_base base;
    struct kvm_slots slots;
    uint64_t *scratch; /* as large as the largest region's bitmap */
};

static int start(void *self, struct tern_error *error)
{
    struct kvm_log *log = self;
    int r = kvm_slots_log(&log->slots, true, error);

    log->base.running = !r;
    return r;
}

static int fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct kvm_log *log = self;
    struct kvm_dirty_log get = {.slot = log->slots.slot_of[region], .dirty_bitmap = log->scratch};

    if (ioctl(log->slots.vm_fd, KVM_GET_DIRTY_LOG, &get))
        return error_set(error, -errno, NULL, "cannot get the dirty log of KVM slot %u: %s", get.slot, strerror(errno));
    for (uint64_t i = 0, n = kvm_slots_words(&log->slots.regions[region]); i < n; i++)
        bitmap[i] |= log->scratch[i];
    return 0;
}

static int clear(void *self, uint32_t region, uint64_t first_page, uint64_t n_pages, const uint64_t *mask,
                 struct tern_error *error)
{
    struct kvm_log *log = self;
    struct kvm_clear_dirty_log set = {.slot = log->slots.slot_of[region], .first_page = first_page};

    /* the count has 32 bits, and regions may be larger */
    for (; n_pages; n_pages -= set.num_pages, set.first_page += set.num_pages) {
        set.num_pages = n_pages > 1u << 30 ? 1u << 30 : (uint32_t)n_pages;
        set.dirty_bitmap = (void *)(uintptr_t)(mask + (set.first_page - first_page) / 64);
        if (ioctl(log->slots.vm_fd, KVM_CLEAR_DIRTY_LOG, &set))
            return error_set(error, -errno, NULL, "cannot clear the dirty log of KVM slot %u: %s", set.slot,
                             strerror(errno));
    }
    return 0;
}

static void stop(void *self)
{
    struct kvm_log *log = self;

    kvm_slots_log(&log->slots, false, NULL);
    log->base.running = false;
}

static void destroy(void *self)
{
    struct kvm_log *log = self;

    free(log->scratch);
    free(log);
}

static const struct tern_tracker_ops manual_ops = {"KVM dirty log", start, fetch, clear, stop};
static const struct tern_tracker_ops plain_ops = {"KVM dirty log (cleared when fetched)", start, fetch, NULL, stop};

/* Does KVM leave the protecting to us? It keeps to what it was told first. */
static bool enable_manual(int vm_fd)
{
    int offered = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
    struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2};

    if (offered <= 0)
        return false;
    cap.args[0] = (uint64_t)offered & (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    return !ioctl(vm_fd, KVM_ENABLE_CAP, &cap);
}

int tern_tracker_kvm_log_create(int vm_fd, const struct tern_kvm_slot *slots, uint32_t n_slots,
                                const struct tern_region *regions, struct tern_tracker *out, struct tern_error *error)
{
    struct kvm_log *log = calloc(1, sizeof(*log));
    uint64_t words = 0;
    int r;

    if (!log)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    log->base.destroy = destroy;
    r = kvm_slots_init(&log->slots, vm_fd, slots, n_slots, regions, error);
    for (uint32_t i = 0; !r && i < n_slots; i++)
        if (kvm_slots_words(&regions[i]) > words)
            words = kvm_slots_words(&regions[i]);
    if (!r) {
        log->scratch = calloc(words, sizeof(*log->scratch));
        if (!log->scratch)
            r = error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    }
    if (r) {
        destroy(log);
        return r;
    }
    *out = (struct tern_tracker){enable_manual(vm_fd) ? &manual_ops : &plain_ops, log};
    return 0;
}
