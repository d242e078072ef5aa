/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/node_map.h"

#include <errno.h>
#include <string.h>

static bool number(const char **at, uint8_t *out)
{
    unsigned value = 0;
    const char *from = *at;

    for (; **at >= '0' && **at <= '9' && value < TOPOLOGY_NODES_MAX; (*at)++)
        value = value * 10 + (unsigned)(**at - '0');
    *out = (uint8_t)value;
    return *at > from && value < TOPOLOGY_NODES_MAX;
}

static bool has(const struct node_map *map, uint8_t from)
{
    return memchr(map->from, from, map->n) != NULL;
}

int node_map_parse(const char *text, struct node_map *out)
{
    struct node_map map = {0};

    while (text) {
        if (map.n == TOPOLOGY_NODES_MAX || !number(&text, &map.from[map.n]) || *text++ != ':' ||
            !number(&text, &map.to[map.n]) || has(&map, map.from[map.n]))
            return -EINVAL;
        map.n++;
        if (!*text)
            break;
        if (*text++ != ',')
            return -EINVAL;
    }
    *out = map;
    return 0;
}

static bool is_usable(const struct topology *here, uint32_t node)
{
    int at = topology_find(here, node);

    return at >= 0 && here->nodes[at].memory_bytes && here->nodes[at].may_allocate;
}

int node_map_missing(const struct node_map *map, const struct topology *here)
{
    for (uint32_t i = 0; i < map->n; i++)
        if (!is_usable(here, map->to[i]))
            return map->to[i];
    return -1;
}

int32_t node_map_target(const struct node_map *map, const struct topology *here, uint32_t from)
{
    for (uint32_t i = 0; i < map->n; i++)
        if (map->from[i] == from)
            return map->to[i];
    return is_usable(here, from) ? (int32_t)from : NODE_MAP_INTERLEAVE;
}
