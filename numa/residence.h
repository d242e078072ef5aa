/* SPDX-License-Identifier: BSD-2-Clause */
/* On which NUMA node each part of guest memory lies. A unit is 2 MiB; its node is the one that has most of its pages.
 * Invariant: looking populates nothing. A page that is not in memory stays unknown; one that another process of the
 * same shared file has brought into memory is mapped here too, since the kernel tells only of pages that are.
 */
#ifndef NUMA_RESIDENCE_H
#define NUMA_RESIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numa/topology.h"

#define RESIDENCE_PAGE_BYTES 4096u
#define RESIDENCE_UNIT_PAGES 512u
#define RESIDENCE_UNKNOWN    255u /* a unit's node */

/* Pages asked for in one memory: all of them up to 128 MiB, samples beyond. Each costs up to some microseconds. */
#define RESIDENCE_BUDGET_PAGES 32768u

/* Estimated by proportion where sampled. */
struct residence {
    uint64_t pages[TOPOLOGY_NODES_MAX]; /* by the kernel's node number */
    uint64_t unknown_pages;             /* not in memory, or on no node that counts */
    bool sampled;
};

/* How a memory of n_units units is looked at: every stride-th unit, samples pages of each, evenly spread. */
struct residence_sampling {
    uint64_t stride;
    uint32_t samples;
};

/* residence_sampling: within budget_pages where that is possible with one page a unit or less. Pure.
 * page_bytes   of the pages behind the memory: of a huge page one sample tells all */
struct residence_sampling residence_sampling(uint64_t n_units, uint64_t page_bytes, uint64_t budget_pages);

/* residence_read: look at [base, base + length_bytes) of this process.
 * base         4 KiB-aligned; length_bytes a multiple of 4 KiB
 * unit_node    out, one a unit: the kernel's node number or RESIDENCE_UNKNOWN; may be NULL
 * counts       added to
 * errors       -ENOMEM; -EPERM, -ENOSYS where move_pages is forbidden: then all is unknown
 * source       move_pages(2) with nodes NULL, mincore(2) */
int residence_read(void *base, uint64_t length_bytes, uint64_t page_bytes, uint64_t budget_pages, uint8_t *unit_node,
                   struct residence *counts);

/* residence_fill: give each unknown unit the node of the nearest known one before it, else after it. Pure. */
void residence_fill(uint8_t *unit_node, uint64_t n_units);

/* Contiguous units on one node. */
struct residence_run {
    uint64_t first_unit, n_units;
    uint8_t node;
};

/* residence_runs: the known units as runs in order, at most max of them: where memory changes its node more often than
 * that, neighbours are taken together (2, 4, 8 ... units, by majority) until it fits. Pure.
 * returns      how many; 0: nothing is known */
uint32_t residence_runs(const uint8_t *unit_node, uint64_t n_units, uint32_t max, struct residence_run *out);

#endif
