/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/topology.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <string.h>

#define UNKNOWN_DISTANCE 15u

bool topology_has_nodes(void)
{
    FILE *f = fopen("/sys/devices/system/node/online", "re");
    char text[256] = "0";

    if (f) {
        if (!fgets(text, sizeof(text), f))
            text[0] = 0;
        fclose(f);
    }
    return strpbrk(text, ",-") != NULL;
}

int topology_find(const struct topology *topology, uint32_t number)
{
    for (uint32_t i = 0; i < topology->n_nodes; i++)
        if (topology->nodes[i].number == number)
            return (int)i;
    return -1;
}

uint32_t topology_distance(const struct topology *topology, int from, int to)
{
    return from < 0 || to < 0 ? UNKNOWN_DISTANCE : topology->distance[from][to];
}

/* ---- from hwloc ---- */

static void take_cpus(hwloc_const_cpuset_t local, hwloc_const_cpuset_t usable, struct topology_node *node)
{
    int cpu = -1;

    while ((cpu = hwloc_bitmap_next(local, cpu)) >= 0 && cpu < (int)TOPOLOGY_CPUS_MAX)
        if (hwloc_bitmap_isset(usable, (unsigned)cpu))
            cpu_bits_add(&node->cpus, (uint32_t)cpu);
    node->n_cpus = cpu_bits_count(&node->cpus);
}

static uint64_t last_level_cache(hwloc_topology_t hwloc, hwloc_const_cpuset_t cpus)
{
    static const hwloc_obj_type_t kinds[] = {HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE};
    uint64_t bytes = 0;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !bytes; i++) {
        hwloc_obj_t cache = NULL;

        while ((cache = hwloc_get_next_obj_by_type(hwloc, kinds[i], cache)))
            if (hwloc_bitmap_intersects(cache->cpuset, cpus) && cache->attr->cache.size > bytes)
                bytes = cache->attr->cache.size;
    }
    return bytes;
}

/* free_bytes moves all the time, so hwloc has none. */
static uint64_t free_bytes_of(uint32_t number)
{
    char path[64], line[128];
    unsigned long long kib = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", number);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "Node %*u MemFree: %llu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib * 1024;
}

static void take_nodes(hwloc_topology_t hwloc, hwloc_const_cpuset_t usable, struct topology *out)
{
    hwloc_const_nodeset_t allowed = hwloc_topology_get_allowed_nodeset(hwloc);
    hwloc_obj_t object = NULL;

    /* In hwloc's logical order; the bitmap gives the kernel's. */
    for (int number = -1; (number = hwloc_bitmap_next(hwloc_topology_get_topology_nodeset(hwloc), number)) >= 0;) {
        struct topology_node *node = &out->nodes[out->n_nodes];

        object = hwloc_get_numanode_obj_by_os_index(hwloc, (unsigned)number);
        if (!object || number >= (int)TOPOLOGY_NODES_MAX || out->n_nodes == TOPOLOGY_NODES_MAX)
            continue;
        node->number = (uint32_t)number;
        node->memory_bytes = object->attr->numanode.local_memory;
        node->free_bytes = free_bytes_of(node->number);
        node->may_allocate = hwloc_bitmap_isset(allowed, (unsigned)number);
        node->cache_bytes = last_level_cache(hwloc, object->cpuset);
        take_cpus(object->cpuset, usable, node);
        out->n_nodes++;
    }
}

static void take_distances(hwloc_topology_t hwloc, struct topology *out)
{
    struct hwloc_distances_s *given = NULL;
    unsigned n = 1;

    for (uint32_t i = 0; i < out->n_nodes; i++)
        for (uint32_t j = 0; j < out->n_nodes; j++)
            out->distance[i][j] = i == j ? TOPOLOGY_NEAR : TOPOLOGY_FAR;
    if (hwloc_distances_get_by_type(hwloc, HWLOC_OBJ_NUMANODE, &n, &given, HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) ||
        !n || !given)
        return;
    for (unsigned i = 0; i < given->nbobjs; i++)
        for (unsigned j = 0; j < given->nbobjs; j++) {
            int from = topology_find(out, given->objs[i]->os_index), to = topology_find(out, given->objs[j]->os_index);

            if (from >= 0 && to >= 0)
                out->distance[from][to] = (uint16_t)given->values[i * given->nbobjs + j];
        }
    hwloc_distances_release(hwloc, given);
}

static int load(hwloc_topology_t *out)
{
    hwloc_topology_t hwloc;

    if (hwloc_topology_init(&hwloc))
        return -ENOMEM;
    /* Memory may lie on nodes that this process may not allocate from: its cpuset was changed, or another bound it. */
    hwloc_topology_set_flags(hwloc, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    hwloc_topology_set_io_types_filter(hwloc, HWLOC_TYPE_FILTER_KEEP_NONE); /* it knows no place for soft-RoCE */
    if (hwloc_topology_load(hwloc)) {
        hwloc_topology_destroy(hwloc);
        return -EIO;
    }
    *out = hwloc;
    return 0;
}

int topology_read(struct topology *out)
{
    hwloc_topology_t hwloc;
    hwloc_bitmap_t usable;
    int r = load(&hwloc);

    if (r)
        return r;
    memset(out, 0, sizeof(*out));
    usable = hwloc_bitmap_alloc();
    if (!usable) {
        hwloc_topology_destroy(hwloc);
        return -ENOMEM;
    }
    if (hwloc_get_cpubind(hwloc, usable, HWLOC_CPUBIND_THREAD))
        hwloc_bitmap_fill(usable);
    hwloc_bitmap_and(usable, usable, hwloc_topology_get_allowed_cpuset(hwloc));
    take_nodes(hwloc, usable, out);
    take_distances(hwloc, out);
    hwloc_bitmap_free(usable);
    hwloc_topology_destroy(hwloc);
    topology_read_devices("/sys", out);
    return out->n_nodes ? 0 : -EIO;
}
