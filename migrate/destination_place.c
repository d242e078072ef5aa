/* SPDX-License-Identifier: BSD-2-Clause */
/* On which NUMA node the guest's memory lands here: that which matches the source's, decided before the first page of
 * it is registered or written. Whatever fails here is a warning: the guest arrives all the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/destination.h"
#include "migrate/locality.h"
#include "numa/binding.h"
#include "numa/node_map.h"
#include "numa/workers.h"
#include "transport/error.h"

struct placement {
    struct topology topology;
    struct node_map map;
    struct binding *binding;
    uint64_t wanted_bytes[TOPOLOGY_NODES_MAX]; /* by position */
    bool has_policy[WIRE_REGIONS_MAX];         /* said so already */
    bool is_missing[TOPOLOGY_NODES_MAX];       /* likewise, by the source's number */
    bool has_failed;
};

int placement_check(const char *numa_map, struct tern_error *error)
{
    struct topology *topology;
    struct node_map map;
    int r, missing;

    if (!numa_map)
        return 0;
    if (node_map_parse(numa_map, &map))
        return error_set(error, -EINVAL, "write SOURCE:HERE pairs, each source node once: 0:1,1:0",
                         "'%s' is not a map of NUMA nodes", numa_map);
    topology = calloc(1, sizeof(*topology));
    if (!topology)
        return error_set(error, -ENOMEM, NULL, "out of memory for this host's topology");
    r = topology_read(topology);
    missing = r ? -1 : node_map_missing(&map, topology);
    free(topology);
    if (r)
        return error_set(error, r, NULL, "cannot read this host's NUMA nodes: %s", strerror(-r));
    if (missing >= 0)
        return error_set(error, -EINVAL, "'tern doctor' lists the nodes of this host",
                         "the map of NUMA nodes names node %d, which has no memory for tern here", missing);
    return 0;
}

static int create(const char *numa_map, struct placement **out)
{
    struct placement *placement = calloc(1, sizeof(*placement));
    uint64_t interleave = 0;
    int r = placement ? topology_read(&placement->topology) : -ENOMEM;

    for (uint32_t i = 0; !r && i < placement->topology.n_nodes; i++) {
        const struct topology_node *node = &placement->topology.nodes[i];

        interleave |= node->memory_bytes && node->may_allocate ? 1ull << node->number : 0;
    }
    if (!r)
        r = node_map_parse(numa_map, &placement->map);
    if (!r)
        r = binding_create(interleave, &placement->binding);
    if (r)
        placement_destroy(placement);
    else
        *out = placement;
    return r;
}

void placement_destroy(struct placement *placement)
{
    if (!placement)
        return;
    binding_destroy(placement->binding);
    free(placement);
}

/* A run's bytes in its region, from huge page to huge page. */
static void run_bytes(const struct tern_region *region, const struct wire_residence *run, uint64_t *from, uint64_t *to)
{
    *from = run->first_unit * WIRE_UNIT_BYTES;
    *to = *from + run->n_units * WIRE_UNIT_BYTES;
    if (*to > region->length_bytes)
        *to = region->length_bytes;
    *from -= *from % region->page_bytes;
    *to -= *to % region->page_bytes;
}

static void place_run(struct tern_destination *destination, const struct wire_residence *run)
{
    struct placement *placement = destination->placement;
    const struct tern_region *region = &destination->vm->regions[run->region];
    int32_t node = node_map_target(&placement->map, &placement->topology, run->node);
    uint64_t from, to;
    int r;

    run_bytes(region, run, &from, &to);
    if (from == to)
        return;
    r = binding_prefer(placement->binding, (uint8_t *)region->base + from, to - from, node);
    if (r < 0 && !placement->has_failed) {
        placement->has_failed = true;
        events_warning(&destination->events, "guest memory is not placed by NUMA node: mbind: %s", strerror(-r));
    } else if (r == 0 && !placement->has_policy[run->region]) {
        placement->has_policy[run->region] = true;
        events_warning(&destination->events,
                       "memory region '%s' has a NUMA policy of its owner's, or of this process: it is left alone",
                       region->name);
    } else if (r == 1 && node == NODE_MAP_INTERLEAVE && !placement->is_missing[run->node]) {
        placement->is_missing[run->node] = true;
        events_warning(&destination->events,
                       "the source's NUMA node %u has no counterpart here: its memory is interleaved (--numa-map)",
                       run->node);
    }
    if (r == 1 && node >= 0 && region->page_bytes == TERN_PAGE_BYTES)
        placement->wanted_bytes[topology_find(&placement->topology, (uint32_t)node)] += to - from;
}

static void warn_of_full_nodes(struct tern_destination *destination)
{
    const struct placement *placement = destination->placement;

    for (uint32_t i = 0; i < placement->topology.n_nodes; i++) {
        const struct topology_node *node = &placement->topology.nodes[i];

        if (placement->wanted_bytes[i] > node->memory_bytes)
            events_warning(&destination->events,
                           "NUMA node %u has %llu MiB in all for %llu MiB of the guest: the rest goes to other nodes",
                           node->number, (unsigned long long)(node->memory_bytes >> 20),
                           (unsigned long long)(placement->wanted_bytes[i] >> 20));
    }
}

void destination_place(struct tern_destination *destination)
{
    const struct wire_hello *hello = &destination->hello;
    int r;

    if (!topology_has_nodes())
        return;
    r = create(destination->options.numa_map, &destination->placement);
    if (r) {
        events_warning(&destination->events, "guest memory is not placed by NUMA node: %s", strerror(-r));
        return;
    }
    for (uint32_t i = 0; i < hello->n_residence; i++)
        place_run(destination, &hello->residence[i]);
    warn_of_full_nodes(destination);
}

/* The runs are in order: the last that begins before the chunk, or the first within it. */
void destination_enter_node(const struct tern_destination *destination, uint32_t region, uint64_t chunk)
{
    const struct placement *placement = destination->placement;
    const struct wire_hello *hello = &destination->hello;
    uint64_t unit = chunk * hello->chunk_bytes / WIRE_UNIT_BYTES;
    int at = -1;

    for (uint32_t i = 0; placement && i < hello->n_residence; i++) {
        const struct wire_residence *run = &hello->residence[i];
        int32_t node;

        if (run->region != region || run->first_unit + run->n_units <= unit)
            continue;
        node = node_map_target(&placement->map, &placement->topology, run->node);
        at = node < 0 ? -1 : topology_find(&placement->topology, (uint32_t)node);
        break;
    }
    if (at >= 0 && placement->topology.nodes[at].n_cpus)
        worker_pin(&placement->topology.nodes[at].cpus);
}

void destination_report_nodes(struct tern_destination *destination)
{
    struct residence found = {0};

    if (!destination->placement)
        return;
    for (uint32_t i = 0; i < destination->vm->n_regions; i++) {
        const struct tern_region *region = &destination->vm->regions[i];

        residence_read(region->base, region->length_bytes, region->page_bytes,
                       RESIDENCE_BUDGET_PAGES / destination->vm->n_regions, NULL, &found);
    }
    locality_report(&found, &destination->result);
}
