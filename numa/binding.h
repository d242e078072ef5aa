/* SPDX-License-Identifier: BSD-2-Clause */
/* Where pages of guest memory shall land that are not there yet: a memory policy on ranges of it, for as long as the
 * object lives.
 * The policy is a preference, not a command: a node that is full gives way to the next nearest, and the migration goes
 * on. (MPOL_BIND would end it by SIGBUS, or worse by the kernel's choice of a process.) What the memory's owner has
 * decided by a policy of its own, for the range or for the process, is left alone. Destroying puts the default back, so
 * that the kernel may balance the running guest as before.
 */
#ifndef NUMA_BINDING_H
#define NUMA_BINDING_H

#include "numa/topology.h"

struct binding;

/* binding_create: nodes, by the kernel's number, over which memory without a node of its own is interleaved.
 * errors -ENOMEM */
int binding_create(uint64_t interleave_nodes, struct binding **out);

/* binding_prefer: pages of [base, base + length_bytes) that come from now on go to node, or are interleaved (negative).
 * base     aligned to the pages behind it, length_bytes too
 * returns  1 done; 0 left alone: the owner has a policy; -errno as mbind(2), or -ENOMEM
 * source   mbind(2), get_mempolicy(2) with MPOL_F_ADDR: of shared memory it sees what another process set */
int binding_prefer(struct binding *binding, void *base, uint64_t length_bytes, int32_t node);

/* binding_destroy: the default policy for every range that was bound. Takes NULL. */
void binding_destroy(struct binding *binding);

#endif
