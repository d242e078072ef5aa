/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/lost_lanes.h"

#define LANES 64u

void lost_lanes_lose(struct lost_lanes *lanes, uint64_t lost)
{
    lanes->lost |= lost;
}

bool lost_lanes_gone(struct lost_lanes *lanes, uint32_t lane)
{
    uint64_t bit = 1ull << lane;

    if (!(lanes->lost & ~lanes->gone & bit))
        return false;
    lanes->gone |= bit;
    return true;
}

bool lost_lanes_settled(const struct lost_lanes *lanes)
{
    return lanes->lost == lanes->gone;
}

int lost_lanes_due(const struct lost_lanes *lanes, uint64_t now_ns)
{
    uint64_t away = lanes->gone & ~lanes->joined;

    if (!away || now_ns < lanes->rest_until_ns)
        return -1;
    for (uint32_t i = 0; i < LANES; i++)
        if (away >> (lanes->next + i) % LANES & 1)
            return (int)((lanes->next + i) % LANES);
    return -1;
}

void lost_lanes_tried(struct lost_lanes *lanes, uint32_t lane, bool joined, uint64_t now_ns)
{
    lanes->next = (lane + 1) % LANES;
    if (joined)
        lanes->joined |= 1ull << lane;
    else
        lanes->rest_until_ns = now_ns + LOST_LANES_REST_NS;
}

uint64_t lost_lanes_take(struct lost_lanes *lanes)
{
    uint64_t back = lanes->joined;

    lanes->lost &= ~back;
    lanes->gone &= ~back;
    lanes->joined = 0;
    return back;
}

bool lost_lanes_in_use(const struct lost_lanes *lanes, uint32_t lane)
{
    return !(lanes->lost >> lane & 1);
}
