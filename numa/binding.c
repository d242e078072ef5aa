/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/binding.h"

#include <errno.h>
#include <numaif.h>
#include <stdlib.h>

#define MASK_BITS (TOPOLOGY_NODES_MAX + 1) /* the kernel takes one bit less than it is told */

struct range {
    void *base;
    uint64_t length_bytes;
};

struct binding {
    uint64_t interleave_nodes;
    struct range *ranges;
    uint32_t n_ranges, capacity;
};

int binding_create(uint64_t interleave_nodes, struct binding **out)
{
    struct binding *binding = calloc(1, sizeof(*binding));

    if (!binding)
        return -ENOMEM;
    binding->interleave_nodes = interleave_nodes;
    *out = binding;
    return 0;
}

static bool owner_has_policy(void *base)
{
    int mode = MPOL_DEFAULT;

    if (!get_mempolicy(&mode, NULL, 0, base, MPOL_F_ADDR) && mode != MPOL_DEFAULT)
        return true;
    return !get_mempolicy(&mode, NULL, 0, NULL, 0) && mode != MPOL_DEFAULT;
}

static int note(struct binding *binding, void *base, uint64_t length_bytes)
{
    if (binding->n_ranges == binding->capacity) {
        uint32_t capacity = binding->capacity ? 2 * binding->capacity : 64;
        struct range *ranges = realloc(binding->ranges, capacity * sizeof(*ranges));

        if (!ranges)
            return -ENOMEM;
        binding->ranges = ranges;
        binding->capacity = capacity;
    }
    binding->ranges[binding->n_ranges++] = (struct range){base, length_bytes};
    return 0;
}

int binding_prefer(struct binding *binding, void *base, uint64_t length_bytes, int32_t node)
{
    unsigned long mask = node < 0 ? binding->interleave_nodes : 1ul << node;
    int mode = node < 0 ? MPOL_INTERLEAVE : MPOL_PREFERRED;
    int r;

    if (owner_has_policy(base))
        return 0;
    r = note(binding, base, length_bytes);
    if (r)
        return r;
    if (mbind(base, length_bytes, mode, &mask, MASK_BITS, 0)) {
        binding->n_ranges--;
        return -errno;
    }
    return 1;
}

void binding_destroy(struct binding *binding)
{
    if (!binding)
        return;
    for (uint32_t i = 0; i < binding->n_ranges; i++)
        mbind(binding->ranges[i].base, binding->ranges[i].length_bytes, MPOL_DEFAULT, NULL, 0, 0);
    free(binding->ranges);
    free(binding);
}
