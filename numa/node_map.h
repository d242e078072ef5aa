/* SPDX-License-Identifier: BSD-2-Clause */
/* From a node of the source to one of the destination: "0:1,1:0". Pure. */
#ifndef NUMA_NODE_MAP_H
#define NUMA_NODE_MAP_H

#include "numa/topology.h"

#define NODE_MAP_INTERLEAVE (-1)

struct node_map {
    uint32_t n;
    uint8_t from[TOPOLOGY_NODES_MAX], to[TOPOLOGY_NODES_MAX];
};

/* node_map_parse: FROM:TO[,FROM:TO...], each FROM once. NULL: an empty map.
 * errors   -EINVAL malformed, or a number of TOPOLOGY_NODES_MAX or more */
int node_map_parse(const char *text, struct node_map *out);

/* node_map_missing: the first TO of the map that is no node with memory for us here, or -1. */
int node_map_missing(const struct node_map *map, const struct topology *here);

/* node_map_target: where memory of the source's node `from` goes: as the map says; without a word there, to the same
 * number if that node has memory for us, else NODE_MAP_INTERLEAVE. */
int32_t node_map_target(const struct node_map *map, const struct topology *here, uint32_t from);

#endif
