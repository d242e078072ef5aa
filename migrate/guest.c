/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/guest.h"

#include <errno.h>
#include <stdlib.h>

#include "migrate/bitmap.h"
#include "migrate/untouched.h"
#include "migrate/vm.h"
#include "transport/error.h"

int guest_init(struct guest *guest, const struct tern_region *regions, uint32_t n_regions, bool verify,
               struct tern_error *error)
{
    int r = 0;

    *guest = (struct guest){.n_regions = n_regions, .verify = verify};
    for (uint32_t i = 0; i < n_regions && !r; i++) {
        struct guest_region *g = &guest->regions[i];

        g->region = &regions[i];
        g->n_pages = regions[i].length_bytes / TERN_PAGE_BYTES;
        g->n_units = (g->n_pages + UNIT_PAGES - 1) / UNIT_PAGES;
        g->first_unit = guest->n_units;
        guest->n_units += g->n_units;
        guest->n_pages += g->n_pages;
        g->dirty = calloc(g->n_units * UNIT_WORDS, sizeof(*g->dirty));
        g->sent = calloc(g->n_units * UNIT_WORDS, sizeof(*g->sent));
        if (!g->dirty || !g->sent)
            r = error_set(error, -ENOMEM, NULL, "out of memory for the dirty bitmap of region '%s'", regions[i].name);
        if (!r && verify)
            r = digest_table_init(&g->digests, g->n_pages, error);
    }
    if (!r && guest->n_units) {
        guest->dirty_units = calloc(bitmap_words(guest->n_units), sizeof(*guest->dirty_units));
        if (!guest->dirty_units)
            r = error_set(error, -ENOMEM, NULL, "out of memory for the summary of the dirty bitmaps");
    }
    if (r)
        guest_free(guest);
    return r;
}

void guest_free(struct guest *guest)
{
    for (uint32_t i = 0; i < guest->n_regions; i++) {
        free(guest->regions[i].dirty);
        free(guest->regions[i].sent);
        digest_table_free(&guest->regions[i].digests);
    }
    free(guest->dirty_units);
    *guest = (struct guest){0};
}

static void survey(struct guest *guest)
{
    for (uint32_t i = 0; i < guest->n_regions; i++) {
        const struct guest_region *g = &guest->regions[i];

        harvest_survey(g->dirty, g->n_pages, guest->dirty_units, g->first_unit);
    }
}

/* Clear the pages that were never written, then look again: one written in between shows in the second look, one
 * written later is the tracker's. */
static int clear_untouched(struct guest_region *g, uint32_t region, const struct tern_tracker *tracker,
                           struct tern_error *error)
{
    uint64_t n_words = bitmap_words(g->n_pages);
    uint64_t *mask = malloc(n_words * sizeof(*mask));
    int r;

    if (!mask)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty bitmap of region '%s'", g->region->name);
    for (uint64_t word = 0; word < n_words; word++)
        mask[word] = ~g->dirty[word];
    if (g->n_pages % 64)
        mask[n_words - 1] &= (1ull << g->n_pages % 64) - 1;
    r = VM_ASK(tracker->ops->clear(tracker->self, region, 0, g->n_pages, mask, error), "tracker.clear",
               TERN_SIDE_SOURCE, error);
    free(mask);
    return r ? r : untouched_pages(g->region->base, g->region->length_bytes, g->dirty, error);
}

int guest_mark_touched(struct guest *guest, const struct tern_tracker *tracker, struct tern_error *error)
{
    int r = 0;

    for (uint32_t i = 0; i < guest->n_regions && !r; i++) {
        struct guest_region *g = &guest->regions[i];

        r = untouched_pages(g->region->base, g->region->length_bytes, g->dirty, error);
        if (!r && tracker->ops->clear)
            r = clear_untouched(g, i, tracker, error);
    }
    survey(guest);
    return r;
}

int guest_fetch(struct guest *guest, const struct tern_tracker *tracker, struct tern_error *error)
{
    int r = 0;

    for (uint32_t i = 0; i < guest->n_regions && !r; i++)
        r = VM_ASK(tracker->ops->fetch(tracker->self, i, guest->regions[i].dirty, error), "tracker.fetch",
                   TERN_SIDE_SOURCE, error);
    survey(guest);
    return r;
}

uint64_t guest_count_dirty(const struct guest *guest)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < guest->n_regions; i++) {
        const struct guest_region *g = &guest->regions[i];
        uint64_t end = g->first_unit + g->n_units, unit = g->first_unit;

        for (; (unit = bitmap_next(guest->dirty_units, unit, end)) < end; unit++) {
            uint64_t first = (unit - g->first_unit) * UNIT_PAGES, left = g->n_pages - first;

            count += bitmap_count(g->dirty, first, first + (left < UNIT_PAGES ? left : UNIT_PAGES));
        }
    }
    return count;
}

struct guest_region *guest_unit(struct guest *guest, uint64_t unit, uint32_t *region, uint64_t *region_unit)
{
    uint32_t i = 0;

    while (i + 1 < guest->n_regions && unit >= guest->regions[i + 1].first_unit)
        i++;
    *region = i;
    *region_unit = unit - guest->regions[i].first_unit;
    return &guest->regions[i];
}
