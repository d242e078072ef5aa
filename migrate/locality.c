/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/locality.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numa/workers.h"
#include "transport/error.h"

_Static_assert(UNIT_PAGES == RESIDENCE_UNIT_PAGES, "a unit of work is a unit of residence");
_Static_assert(TERN_NODES_MAX == TOPOLOGY_NODES_MAX, "a result has room for every node");
_Static_assert(TERN_LANES_MAX == PLAN_WORKERS_MAX && PLAN_WORKERS_MAX == LINK_LANES_MAX, "a worker for every lane");

static int look(struct locality *locality, const struct guest *guest)
{
    int r = 0;

    for (uint32_t i = 0; i < guest->n_regions && !r; i++) {
        const struct guest_region *g = &guest->regions[i];
        uint64_t budget = RESIDENCE_BUDGET_PAGES * g->n_pages / guest->n_pages;

        r = residence_read(g->region->base, g->region->length_bytes, g->region->page_bytes, budget ? budget : 1,
                           locality->unit_node + g->first_unit, &locality->found);
    }
    residence_fill(locality->unit_node, locality->n_units);
    return r;
}

/* Returns whether anything is known. */
static bool weigh(struct locality *locality)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < locality->topology.n_nodes; i++)
        sum += locality->node_bytes[i] =
            locality->found.pages[locality->topology.nodes[i].number] * RESIDENCE_PAGE_BYTES;
    return sum > 0;
}

int locality_create(const struct guest *guest, struct locality **out, struct tern_error *error)
{
    struct locality *locality;

    *out = NULL;
    if (!topology_has_nodes())
        return 0;
    locality = calloc(1, sizeof(*locality));
    if (locality) {
        locality->n_units = guest->n_units;
        locality->unit_node = malloc(guest->n_units);
        locality->unit_group = calloc(guest->n_units, 1);
    }
    if (!locality || !locality->unit_node || !locality->unit_group) {
        locality_destroy(locality);
        return error_set(error, -ENOMEM, NULL, "out of memory for where the guest's memory lies");
    }
    if (topology_read(&locality->topology) || look(locality, guest) || !weigh(locality)) {
        locality_destroy(locality); /* the kernel, or a sandbox, does not tell: it goes without */
        return 0;
    }
    *out = locality;
    return 0;
}

void locality_destroy(struct locality *locality)
{
    if (!locality)
        return;
    free(locality->unit_node);
    free(locality->unit_group);
    free(locality);
}

uint32_t locality_lanes(const struct locality *locality, uint32_t lanes)
{
    return locality ? plan_lanes(&locality->topology, locality->node_bytes, lanes) : lanes;
}

int locality_position(const struct locality *locality, uint64_t unit)
{
    return topology_find(&locality->topology, locality->unit_node[unit]);
}

static int32_t node_of_device(const struct topology *topology, const char *name)
{
    for (uint32_t i = 0; i < topology->n_devices; i++)
        if (topology->devices[i].is_rdma && !strcmp(topology->devices[i].name, name))
            return topology->devices[i].node;
    return TOPOLOGY_UNKNOWN;
}

void locality_plan(struct locality *locality, uint32_t n_lanes, const char *const *rails, uint32_t n_rails)
{
    struct plan_rail planned[PLAN_RAILS_MAX];
    struct plan_input input = {.topology = &locality->topology,
                               .node_bytes = locality->node_bytes,
                               .n_lanes = n_lanes,
                               .rails = planned,
                               .n_rails = n_rails < PLAN_RAILS_MAX ? n_rails : PLAN_RAILS_MAX};

    for (uint32_t i = 0; i < input.n_rails; i++) {
        planned[i].node = node_of_device(&locality->topology, rails[i]);
        snprintf(planned[i].name, sizeof(planned[i].name), "%.31s", rails[i]);
    }
    plan_make(&input, &locality->plan);
    for (uint64_t unit = 0; unit < locality->n_units; unit++) {
        int at = locality_position(locality, unit);

        locality->unit_group[unit] = (uint8_t)locality->plan.server[at < 0 ? 0 : at];
    }
}

uint32_t locality_runs(const struct locality *locality, const struct guest *guest, struct wire_residence *out)
{
    uint32_t max = WIRE_RESIDENCE_MAX / guest->n_regions, n = 0;
    struct residence_run runs[WIRE_RESIDENCE_MAX];

    for (uint32_t i = 0; locality && i < guest->n_regions; i++) {
        const struct guest_region *g = &guest->regions[i];
        uint32_t n_runs = residence_runs(locality->unit_node + g->first_unit, g->n_units, max, runs);

        for (uint32_t k = 0; k < n_runs; k++)
            out[n++] = (struct wire_residence){i, runs[k].first_unit, runs[k].n_units, runs[k].node};
    }
    return n;
}

void locality_enter_node(const struct locality *locality, uint64_t unit)
{
    int at = locality_position(locality, unit);

    if (at >= 0 && locality->topology.nodes[at].n_cpus)
        worker_pin(&locality->topology.nodes[at].cpus);
}

void locality_enter_worker(const struct locality *locality, uint32_t worker)
{
    int at = locality->plan.workers[worker].cpu_node;

    if (at >= 0)
        worker_pin(&locality->topology.nodes[at].cpus);
}

void locality_report(const struct residence *found, struct tern_result *result)
{
    result->n_nodes = 0;
    for (uint32_t node = 0; node < TOPOLOGY_NODES_MAX; node++)
        if (found->pages[node])
            result->nodes[result->n_nodes++] = (struct tern_node_pages){node, found->pages[node]};
    result->nodes_sampled = found->sampled;
}
