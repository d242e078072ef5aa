/* SPDX-License-Identifier: BSD-2-Clause */
/* Which lane rides which rail. Pure. */
#include <stdio.h>
#include <string.h>

#include "transport/verbs/verbs.h"

uint32_t verbs_rail_of(uint32_t lane, const uint32_t *order, uint32_t n_rails)
{
    return order[lane % n_rails];
}

void verbs_append_name(char *list, size_t capacity, const char *name)
{
    size_t used = strlen(list), length = strlen(name);

    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == length && !strncmp(at, name, length))
            return;
    snprintf(list + used, capacity - used, "%s%s", used ? "," : "", name);
}

bool verbs_rail_goes_on(const uint32_t *rail_of_lane, uint32_t n_lanes, uint64_t lanes_lost, uint32_t rail)
{
    for (uint32_t i = 0; i < n_lanes; i++)
        if (rail_of_lane[i] != rail && !(lanes_lost >> i & 1))
            return true;
    return false;
}
