/* SPDX-License-Identifier: BSD-2-Clause */
/* Dirty bits to runs, against one bit at a time: over random bitmaps of all densities, sizes that end within a unit and
 * a word, and gaps of every length. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/bitmap.h"
#include "migrate/harvest.h"

#define UNITS 70u /* more than a word of the summary */
#define PAGES (UNITS * HARVEST_UNIT_PAGES)
#define WORDS (PAGES / 64)
#define FIRST 61u /* of the region's units among the guest's: across a word's edge */

static uint64_t dirty[WORDS], before[WORDS], sent[WORDS], summary[(FIRST + UNITS + 63) / 64 + 1];

/* One page in `one_in` is set, in runs of up to `longest`. */
static void fill(uint64_t *words, uint64_t one_in, uint64_t longest)
{
    memset(words, 0, WORDS * sizeof(*words));
    for (uint64_t n = 0; n < PAGES / one_in; n++) {
        uint64_t first = (uint64_t)rand() % PAGES, length = 1 + (uint64_t)rand() % longest;

        bitmap_set_range(words, first, first + length < PAGES ? length : PAGES - first);
    }
}

static const struct {
    uint64_t one_in, longest;
} densities[] = {{PAGES, 1}, {5000, 1}, {1000, 100}, {100, 3}, {5, 1}, {3, 40}, {1, 2}};
#define DENSITIES (sizeof(densities) / sizeof(densities[0]))

static const uint64_t ends[] = {1, 63, 64, 65, 511, 512, 513, 5000, PAGES - 1, PAGES};
#define ENDS (sizeof(ends) / sizeof(ends[0]))

Test(harvest, survey_counts_and_sums_up, .timeout = 60)
{
    srand(1);
    for (size_t i = 0; i < DENSITIES; i++)
        for (size_t e = 0; e < ENDS; e++) {
            uint64_t count = 0, n_units = (ends[e] + HARVEST_UNIT_PAGES - 1) / HARVEST_UNIT_PAGES;

            fill(dirty, densities[i].one_in, densities[i].longest);
            memset(summary, rand() % 2 ? 0xff : 0, sizeof(summary));
            summary[0] |= 1;
            summary[(FIRST + n_units) / 64] |= 1ull << (FIRST + n_units) % 64;
            for (uint64_t page = 0; page < ends[e]; page++)
                count += bitmap_test(dirty, page);
            cr_assert_eq(harvest_survey(dirty, ends[e], summary, FIRST), count);
            for (uint64_t unit = 0; unit < n_units; unit++) {
                bool expected = false;

                for (uint64_t page = unit * 512; page < (unit + 1) * 512 && page < ends[e]; page++)
                    expected |= bitmap_test(dirty, page);
                cr_assert_eq(bitmap_test(summary, FIRST + unit), expected, "unit %lu", unit);
            }
            cr_assert(bitmap_test(summary, 0) && bitmap_test(summary, FIRST + n_units), "another region's unit");
        }
}

/* All units by claims, each by unit, and runs of what was taken: exactly the dirty pages, once, in order. */
static void harvest_all(uint64_t n_pages, uint64_t gap_pages, uint64_t *got, uint64_t *n_runs)
{
    uint64_t n_units = (n_pages + HARVEST_UNIT_PAGES - 1) / HARVEST_UNIT_PAGES, unit, mask[HARVEST_UNIT_WORDS];
    _Atomic uint64_t next = 0;

    harvest_survey(dirty, n_pages, summary, 0);
    memset(got, 0, WORDS * sizeof(*got));
    for (*n_runs = 0; (unit = harvest_claim(&next, summary, n_units)) < n_units;) {
        uint64_t base = unit * HARVEST_UNIT_PAGES, left = n_pages - base, from = 0, first, n;

        left = left < HARVEST_UNIT_PAGES ? left : HARVEST_UNIT_PAGES;
        cr_assert_neq(harvest_unit(dirty + base / 64, left, mask), 0, "unit %lu is clean", unit);
        harvest_join(mask, sent + base / 64, left, gap_pages);
        for (; bitmap_next_run(mask, from, left, &first, &n); from = first + n, ++*n_runs)
            bitmap_set_range(got, base + first, n);
    }
    cr_assert_eq(harvest_claim(&next, summary, n_units), n_units, "and again");
}

/* What a gap is, page by page: clean pages between two dirty ones of one unit. */
static void expect(uint64_t n_pages, uint64_t gap_pages, uint64_t *expected)
{
    memset(expected, 0, WORDS * sizeof(*expected));
    for (uint64_t page = 0; page < n_pages; page++) {
        uint64_t end = page, unit_end = (page / 512 + 1) * 512;

        if (bitmap_test(before, page)) {
            bitmap_set_range(expected, page, 1);
            continue;
        }
        if (page % 512 == 0 || !bitmap_test(before, page - 1))
            continue;
        while (end < unit_end && end < n_pages && !bitmap_test(before, end) && bitmap_test(sent, end))
            end++;
        if (end < unit_end && end < n_pages && bitmap_test(before, end) && end - page <= gap_pages)
            bitmap_set_range(expected, page, end - page);
    }
}

Test(harvest, runs_are_the_dirty_pages_and_gaps_worth_filling, .timeout = 100)
{
    static uint64_t got[WORDS], expected[WORDS];
    static const uint64_t gaps[] = {0, 1, 2, 7, 64, 600};

    srand(2);
    for (size_t i = 0; i < DENSITIES; i++)
        for (size_t e = 0; e < ENDS; e++)
            for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
                uint64_t n_runs, runs = 0;

                fill(before, densities[i].one_in, densities[i].longest);
                fill(sent, 1, 1 + (uint64_t)rand() % 8);
                memcpy(dirty, before, sizeof(dirty));
                harvest_all(ends[e], gaps[g], got, &n_runs);
                expect(ends[e], gaps[g], expected);
                for (uint64_t page = 0; page < PAGES; page++) {
                    cr_assert_eq(bitmap_test(got, page), bitmap_test(expected, page), "page %lu of %lu, gap %lu", page,
                                 ends[e], gaps[g]);
                    runs += bitmap_test(expected, page) && (page % 512 == 0 || !bitmap_test(expected, page - 1));
                }
                cr_assert_eq(n_runs, runs);
                for (uint64_t page = 0; page < ends[e]; page++)
                    cr_assert_not(bitmap_test(dirty, page), "page %lu is still dirty", page);
            }
}

Test(harvest, a_unit_that_is_clean_gives_nothing)
{
    uint64_t mask[HARVEST_UNIT_WORDS] = {1}, clean[HARVEST_UNIT_WORDS] = {0};

    cr_assert_eq(harvest_unit(clean, HARVEST_UNIT_PAGES, mask), 0);
    clean[1] = 1; /* page 64, behind the region's end */
    cr_assert_eq(harvest_unit(clean, 64, mask), 0);
}

Test(harvest, join_says_how_many)
{
    uint64_t mask[HARVEST_UNIT_WORDS] = {0x11}, all[HARVEST_UNIT_WORDS];

    memset(all, 0xff, sizeof(all));
    cr_assert_eq(harvest_join(mask, all, HARVEST_UNIT_PAGES, 2), 0);
    cr_assert_eq(mask[0], 0x11);
    cr_assert_eq(harvest_join(mask, all, HARVEST_UNIT_PAGES, 3), 3);
    cr_assert_eq(mask[0], 0x1f, "neither what comes before the first page nor what follows the last");
}

Test(harvest, gap_that_is_worth_a_run)
{
    cr_assert_eq(harvest_gap_pages(0, 4096), 0);
    cr_assert_eq(harvest_gap_pages(4095, 4096), 0);
    cr_assert_eq(harvest_gap_pages(4096, 4096), 1);
    cr_assert_eq(harvest_gap_pages(3 * 4096 + 1, 4096), 3);
}

/* ---- several workers ---- */

#define CLAIMERS 4

static struct {
    _Atomic uint64_t next;
    _Atomic uint32_t taken[UNITS];
} shared;

static void *claimer(void *argument)
{
    uint64_t unit;

    (void)argument;
    while ((unit = harvest_claim(&shared.next, summary, UNITS)) < UNITS)
        atomic_fetch_add(&shared.taken[unit], 1);
    return NULL;
}

Test(harvest, each_unit_is_claimed_once, .timeout = 60)
{
    pthread_t threads[CLAIMERS];

    for (int round = 0; round < 200; round++) {
        memset(&shared, 0, sizeof(shared));
        srand((unsigned)round);
        for (size_t i = 0; i < sizeof(summary) / sizeof(summary[0]); i++)
            summary[i] = (uint64_t)rand() << 32 | (uint64_t)rand();
        for (int i = 0; i < CLAIMERS; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, claimer, NULL), 0);
        for (int i = 0; i < CLAIMERS; i++)
            pthread_join(threads[i], NULL);
        for (uint64_t unit = 0; unit < UNITS; unit++)
            cr_assert_eq(shared.taken[unit], bitmap_test(summary, unit), "unit %lu", unit);
    }
}
