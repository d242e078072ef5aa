/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/pacer.h"

uint64_t pacer_take(struct pacer *pacer, uint64_t bytes, uint64_t now_ns)
{
    uint64_t cost_ns, earliest, start, end;

    if (!pacer->bandwidth_bps)
        return 0;
    cost_ns = (uint64_t)((double)bytes * 8e9 / (double)pacer->bandwidth_bps);
    earliest = now_ns > PACER_BURST_NS ? now_ns - PACER_BURST_NS : 0;
    start = atomic_load(&pacer->free_at_ns);
    do {
        end = (start > earliest ? start : earliest) + cost_ns;
    } while (!atomic_compare_exchange_weak(&pacer->free_at_ns, &start, end));
    start = end - cost_ns;
    return start > now_ns ? start - now_ns : 0;
}
