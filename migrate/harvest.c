/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/harvest.h"

#include <string.h>

#include "migrate/bitmap.h"

static bool is_clean(const uint64_t *words)
{
    uint64_t any = 0;

    for (uint32_t i = 0; i < HARVEST_UNIT_WORDS; i++)
        any |= words[i];
    return !any;
}

uint64_t harvest_survey(const uint64_t *dirty, uint64_t n_pages, uint64_t *summary, uint64_t first_unit)
{
    uint64_t n_units = (n_pages + HARVEST_UNIT_PAGES - 1) / HARVEST_UNIT_PAGES, count = 0;

    bitmap_clear_range(summary, first_unit, n_units);
    for (uint64_t unit = 0; unit < n_units; unit++) {
        uint64_t first = unit * HARVEST_UNIT_PAGES, left = n_pages - first;
        uint64_t n;

        if (is_clean(dirty + first / 64))
            continue;
        n = bitmap_count(dirty + first / 64, 0, left < HARVEST_UNIT_PAGES ? left : HARVEST_UNIT_PAGES);
        if (n)
            summary[(first_unit + unit) / 64] |= 1ull << (first_unit + unit) % 64;
        count += n;
    }
    return count;
}

uint64_t harvest_claim(_Atomic uint64_t *next, const uint64_t *summary, uint64_t n_units)
{
    uint64_t at = atomic_load_explicit(next, memory_order_relaxed), unit;

    do {
        unit = bitmap_next(summary, at, n_units);
        if (unit == n_units)
            return n_units;
    } while (!atomic_compare_exchange_weak(next, &at, unit + 1));
    return unit;
}

uint64_t harvest_unit(uint64_t *dirty, uint64_t n_pages, uint64_t mask[HARVEST_UNIT_WORDS])
{
    if (is_clean(dirty))
        return 0;
    memcpy(mask, dirty, HARVEST_UNIT_WORDS * sizeof(*mask));
    memset(dirty, 0, HARVEST_UNIT_WORDS * sizeof(*dirty));
    if (n_pages < HARVEST_UNIT_PAGES)
        bitmap_clear_range(mask, n_pages, HARVEST_UNIT_PAGES - n_pages);
    return bitmap_count(mask, 0, HARVEST_UNIT_PAGES);
}

uint64_t harvest_join(uint64_t mask[HARVEST_UNIT_WORDS], const uint64_t *sent, uint64_t n_pages, uint64_t gap_pages)
{
    uint64_t added = 0, first, n, end = n_pages; /* n_pages: no run yet */

    for (uint64_t from = 0; gap_pages && bitmap_next_run(mask, from, n_pages, &first, &n); from = first + n) {
        uint64_t gap = end < first ? first - end : 0;

        if (gap && gap <= gap_pages && bitmap_count(sent, end, first) == gap) {
            bitmap_set_range(mask, end, gap);
            added += gap;
        }
        end = first + n;
    }
    return added;
}
