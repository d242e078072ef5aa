/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/shares.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "migrate/bitmap.h"
#include "migrate/harvest.h"
#include "transport/error.h"

/* A line of its own, so that groups do not slow each other down. */
struct group {
    _Alignas(64) _Atomic uint64_t next;
    uint64_t first, end; /* in order, or units themselves */
};

struct shares {
    uint32_t n_groups;
    uint32_t *order; /* units sorted by group; NULL: as they are */
    struct group *groups;
    const uint64_t *dirty_units; /* borrowed; NULL: all are to be taken */
};

/* Units by group, in ascending order within each. */
static void sort(struct shares *shares, uint64_t n_units, const uint8_t *unit_group)
{
    uint64_t first = 0;

    for (uint64_t unit = 0; unit < n_units; unit++)
        shares->groups[unit_group[unit]].end++;
    for (uint32_t i = 0; i < shares->n_groups; i++) {
        shares->groups[i].first = first;
        first += shares->groups[i].end;
        shares->groups[i].end = shares->groups[i].first;
    }
    for (uint64_t unit = 0; unit < n_units; unit++)
        shares->order[shares->groups[unit_group[unit]].end++] = (uint32_t)unit;
}

int shares_create(uint64_t n_units, const uint8_t *unit_group, uint32_t n_groups, struct shares **out,
                  struct tern_error *error)
{
    struct shares *shares = calloc(1, sizeof(*shares));

    if (shares) {
        shares->n_groups = unit_group ? n_groups : 1;
        shares->groups = aligned_alloc(64, shares->n_groups * sizeof(*shares->groups));
    }
    if (shares && shares->groups && unit_group)
        shares->order = malloc((n_units ? n_units : 1) * sizeof(*shares->order));
    if (!shares || !shares->groups || (unit_group && !shares->order) || n_units > UINT32_MAX) {
        shares_destroy(shares);
        return error_set(error, -ENOMEM, NULL, "out of memory for the workers' shares");
    }
    for (uint32_t i = 0; i < shares->n_groups; i++)
        shares->groups[i] = (struct group){.end = 0};
    if (unit_group)
        sort(shares, n_units, unit_group);
    else
        shares->groups[0].end = n_units;
    shares_begin(shares, NULL);
    *out = shares;
    return 0;
}

void shares_destroy(struct shares *shares)
{
    if (!shares)
        return;
    free(shares->order);
    free(shares->groups);
    free(shares);
}

void shares_begin(struct shares *shares, const uint64_t *dirty_units)
{
    shares->dirty_units = dirty_units;
    for (uint32_t i = 0; i < shares->n_groups; i++)
        atomic_store(&shares->groups[i].next, shares->groups[i].first);
}

bool shares_next(struct shares *shares, uint32_t group, uint64_t *unit)
{
    struct group *g = &shares->groups[group];
    uint64_t at;

    if (!shares->order && shares->dirty_units) {
        *unit = harvest_claim(&g->next, shares->dirty_units, g->end);
        return *unit < g->end;
    }
    do {
        at = atomic_fetch_add(&g->next, 1);
        if (at >= g->end)
            return false;
        *unit = shares->order ? shares->order[at] : at;
    } while (shares->dirty_units && !bitmap_test(shares->dirty_units, *unit));
    return true;
}

void shares_cut_short(struct shares *shares)
{
    for (uint32_t i = 0; i < shares->n_groups; i++)
        atomic_store(&shares->groups[i].next, shares->groups[i].end);
}
