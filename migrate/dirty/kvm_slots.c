/* SPDX-License-Identifier: BSD-2-Clause */
/* source: Documentation/virt/kvm/api.rst, 4.35 KVM_SET_USER_MEMORY_REGION (only the flags of a live slot may change) */
#include "migrate/dirty/kvm_slots.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "transport/error.h"

int kvm_slots_init(struct kvm_slots *slots, int vm_fd, const struct tern_kvm_slot *given, uint32_t n_given,
                   const struct tern_region *regions, struct tern_error *error)
{
    bool seen[WIRE_REGIONS_MAX] = {false};

    if (!n_given || n_given > WIRE_REGIONS_MAX)
        return error_set(error, -EINVAL, NULL, "%u KVM slots to track, not 1 to %u", n_given, WIRE_REGIONS_MAX);
    *slots = (struct kvm_slots){.vm_fd = vm_fd, .n_regions = n_given, .regions = regions};
    for (uint32_t i = 0; i < n_given; i++) {
        if (given[i].region >= n_given || seen[given[i].region])
            return error_set(error, -EINVAL, NULL, "KVM slot %u is for region %u, which is none or has a slot already",
                             given[i].slot, given[i].region);
        seen[given[i].region] = true;
        slots->slot_of[given[i].region] = given[i].slot;
    }
    return 0;
}

static int set_flags(const struct kvm_slots *slots, uint32_t i, uint32_t flags)
{
    const struct tern_region *region = &slots->regions[i];
    struct kvm_userspace_memory_region slot = {.slot = slots->slot_of[i],
                                               .flags = flags,
                                               .guest_phys_addr = region->guest_address,
                                               .memory_size = region->length_bytes,
                                               .userspace_addr = (uintptr_t)region->base};

    return ioctl(slots->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

int kvm_slots_log(const struct kvm_slots *slots, bool on, struct tern_error *error)
{
    int r = 0;

    for (uint32_t i = 0; i < slots->n_regions; i++) {
        int code = set_flags(slots, i, on ? KVM_MEM_LOG_DIRTY_PAGES : 0);

        if (!code)
            continue;
        if (!r)
            r = error_set(error, code, "a slot must cover its region, whole and at the same address",
                          "cannot switch dirty logging of KVM slot %u (region '%s') %s: %s", slots->slot_of[i],
                          slots->regions[i].name, on ? "on" : "off", strerror(-code));
        if (!on)
            continue; /* the others go off all the same */
        while (i-- > 0)
            set_flags(slots, i, 0);
        return r;
    }
    return r;
}

int kvm_slots_find(const struct kvm_slots *slots, uint32_t slot)
{
    for (uint32_t i = 0; i < slots->n_regions; i++)
        if (slots->slot_of[i] == slot)
            return (int)i;
    return -1;
}
