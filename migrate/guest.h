/* SPDX-License-Identifier: BSD-2-Clause */
/* What the source knows of each page of the guest. The memory itself is the VMM's.
 * A unit is the work that one worker takes at a time: 512 pages, the same as a digest group and never across a
 * chunk's edge, so that no two workers touch the same word of a bitmap or the same group of digests.
 */
#ifndef MIGRATE_GUEST_H
#define MIGRATE_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/digest_table.h"
#include "migrate/harvest.h"
#include "migrate/tern.h"
#include "migrate/wire.h"

#define UNIT_PAGES HARVEST_UNIT_PAGES
#define UNIT_WORDS HARVEST_UNIT_WORDS

_Static_assert(UNIT_PAGES == DIGEST_GROUP_PAGES, "workers would share a group of digests");

struct guest_region {
    const struct tern_region *region;
    uint64_t n_pages, n_units;
    uint64_t first_unit;         /* among all units of the guest */
    uint64_t *dirty;             /* to be sent in this round; whole units of words; a worker clears what it takes */
    uint64_t *sent;              /* pages whose copy at the destination is not zero */
    struct digest_table digests; /* with verify */
};

struct guest {
    uint32_t n_regions;
    uint64_t n_units, n_pages;
    bool verify;
    uint64_t *dirty_units; /* a bit a unit of the guest: clear only where no page is dirty */
    struct guest_region regions[WIRE_REGIONS_MAX];
};

/* guest_init: regions are borrowed until guest_free. errors -ENOMEM */
int guest_init(struct guest *guest, const struct tern_region *regions, uint32_t n_regions, bool verify,
               struct tern_error *error);
void guest_free(struct guest *guest);

/* guest_mark_touched: for round one, mark dirty all pages that were ever written; the others read as zero. The tracker
 * has started; one that reports every page until it is cleared has the others cleared here, so that they are dirty
 * only once they are written. */
int guest_mark_touched(struct guest *guest, const struct tern_tracker *tracker, struct tern_error *error);

/* guest_fetch: add what the tracker has seen to the dirty bitmaps, and make the summary of them anew. */
int guest_fetch(struct guest *guest, const struct tern_tracker *tracker, struct tern_error *error);

/* By the summary: cheap where little is dirty. */
uint64_t guest_count_dirty(const struct guest *guest);

/* The region and the unit within it of the guest's unit `unit`. */
struct guest_region *guest_unit(struct guest *guest, uint64_t unit, uint32_t *region, uint64_t *region_unit);

#endif
