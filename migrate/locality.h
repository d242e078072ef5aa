/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's guest on a host with several NUMA nodes: where each unit lies, and the plan that follows. On a host with
 * one node, or where the kernel does not tell, there is none (NULL), and everything goes as without NUMA.
 * Read once, before anything is sent: pages that move to another node meanwhile are sent by the old one's workers.
 */
#ifndef MIGRATE_LOCALITY_H
#define MIGRATE_LOCALITY_H

#include "migrate/guest.h"
#include "migrate/wire.h"
#include "numa/plan.h"
#include "numa/residence.h"

struct locality {
    struct topology topology;
    struct residence found;
    uint8_t
        *unit_node; /* the kernel's number; a unit that is not in memory has its neighbour's. Owned, as unit_group */
    uint8_t *unit_group; /* position of the node whose workers send it; set by locality_plan */
    uint64_t n_units;
    uint64_t node_bytes[TOPOLOGY_NODES_MAX]; /* by position */
    struct plan plan;
};

/* locality_create: look at the guest's memory; *out is NULL where there is nothing to plan.
 * errors   -ENOMEM */
int locality_create(const struct guest *guest, struct locality **out, struct tern_error *error);
void locality_destroy(struct locality *locality);

/* locality_lanes: how many there should be where `lanes` would do on one node (plan_lanes). Takes NULL. */
uint32_t locality_lanes(const struct locality *locality, uint32_t lanes);

/* locality_plan: for n_lanes workers and the rails that are on these RDMA devices of this host, of which there may be
 * none; from then on the plan and unit_group hold. */
void locality_plan(struct locality *locality, uint32_t n_lanes, const char *const *rails, uint32_t n_rails);

/* locality_runs: what the destination is told. runs has WIRE_RESIDENCE_MAX entries; returns how many. Takes NULL. */
uint32_t locality_runs(const struct locality *locality, const struct guest *guest, struct wire_residence *runs);

/* locality_enter_node: let the calling thread run on the CPUs of the node on which unit lies, if we may use any. */
void locality_enter_node(const struct locality *locality, uint64_t unit);
/* locality_enter_worker: the same for worker i of the plan. */
void locality_enter_worker(const struct locality *locality, uint32_t worker);
/* Position of a unit's node, or -1. */
int locality_position(const struct locality *locality, uint64_t unit);

/* locality_report: pages per node, for the result. */
void locality_report(const struct residence *found, struct tern_result *result);

#endif
