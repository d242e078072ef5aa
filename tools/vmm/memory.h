/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory: mapped here, given to KVM as one slot a region. */
#ifndef TOOLS_VMM_MEMORY_H
#define TOOLS_VMM_MEMORY_H

#include "migrate/tern.h"
#include "tools/vmm/vmm.h"

#define MEMORY_REGIONS      2u
#define MEMORY_HIGH_ADDRESS (4ull << 30)

struct memory {
    struct tern_region regions[MEMORY_REGIONS];
    uint32_t n_regions;
};

/* memory_create: map; nothing is populated. On failure nothing stays mapped. */
int memory_create(const struct vmm_config *config, struct memory *memory, struct tern_error *error);
void memory_destroy(struct memory *memory);

/* memory_give: slot i of the VM is region i. */
int memory_give(const struct memory *memory, int vm_fd, struct tern_error *error);

/* memory_at: where guest-physical [address, address + length_bytes) lies here, or NULL if a part of it is no memory. */
void *memory_at(const struct memory *memory, uint64_t address, uint64_t length_bytes);

#endif
