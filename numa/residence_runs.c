/* SPDX-License-Identifier: BSD-2-Clause */
/* What is known of the units, in fewer words. Pure. */
#include <string.h>

#include "numa/residence.h"

void residence_fill(uint8_t *unit_node, uint64_t n_units)
{
    uint64_t first = 0;

    while (first < n_units && unit_node[first] == RESIDENCE_UNKNOWN)
        first++;
    if (first == n_units)
        return;
    memset(unit_node, unit_node[first], first);
    for (uint64_t i = first + 1; i < n_units; i++)
        if (unit_node[i] == RESIDENCE_UNKNOWN)
            unit_node[i] = unit_node[i - 1];
}

static uint8_t majority(const uint8_t *unit_node, uint64_t n)
{
    uint64_t seen[RESIDENCE_UNKNOWN] = {0};
    uint8_t best = RESIDENCE_UNKNOWN;

    for (uint64_t i = 0; i < n; i++)
        if (unit_node[i] != RESIDENCE_UNKNOWN) {
            seen[unit_node[i]]++;
            if (best == RESIDENCE_UNKNOWN || seen[unit_node[i]] > seen[best])
                best = unit_node[i];
        }
    return best;
}

/* Where grain is 1, nodes are taken as they are. returns how many runs there are, more than max if they do not fit */
static uint32_t runs_at(const uint8_t *unit_node, uint64_t n_units, uint64_t grain, uint32_t max,
                        struct residence_run *out)
{
    uint32_t n = 0;

    for (uint64_t at = 0; at < n_units; at += grain) {
        uint64_t units = n_units - at < grain ? n_units - at : grain;
        uint8_t node = grain == 1 ? unit_node[at] : majority(unit_node + at, units);

        if (node == RESIDENCE_UNKNOWN)
            continue;
        if (n && out[n - 1].node == node && out[n - 1].first_unit + out[n - 1].n_units == at) {
            out[n - 1].n_units += units;
            continue;
        }
        if (n == max)
            return max + 1;
        out[n++] = (struct residence_run){at, units, node};
    }
    return n;
}

uint32_t residence_runs(const uint8_t *unit_node, uint64_t n_units, uint32_t max, struct residence_run *out)
{
    uint64_t grain = 1;
    uint32_t n;

    if (!max)
        return 0;
    while ((n = runs_at(unit_node, n_units, grain, max, out)) > max)
        grain *= 2;
    return n;
}
