/* SPDX-License-Identifier: BSD-2-Clause */
/* What KVM's two trackers share: the memory slots whose logging they switch on and off. */
#ifndef MIGRATE_DIRTY_KVM_SLOTS_H
#define MIGRATE_DIRTY_KVM_SLOTS_H

#include "migrate/bitmap.h"
#include "migrate/tern.h"
#include "migrate/wire.h"

/* slot_of[i] is region i's slot. */
struct kvm_slots {
    int vm_fd;
    uint32_t n_regions;
    const struct tern_region *regions; /* borrowed */
    uint32_t slot_of[WIRE_REGIONS_MAX];
};

/* kvm_slots_init: errors -EINVAL a slot's region does not exist, or a region has no slot or two */
int kvm_slots_init(struct kvm_slots *slots, int vm_fd, const struct tern_kvm_slot *given, uint32_t n_given,
                   const struct tern_region *regions, struct tern_error *error);

/* kvm_slots_log: switch dirty logging of every slot on or off; on failure those switched on are off again. */
int kvm_slots_log(const struct kvm_slots *slots, bool on, struct tern_error *error);

/* Words of a region's bitmap. */
static inline uint64_t kvm_slots_words(const struct tern_region *region)
{
    return bitmap_words(region->length_bytes / TERN_PAGE_BYTES);
}

/* kvm_slots_find: the region of this slot, or -1. */
int kvm_slots_find(const struct kvm_slots *slots, uint32_t slot);

#endif
