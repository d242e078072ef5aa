/* SPDX-License-Identifier: BSD-2-Clause */
/* Every range operation against one bit at a time, over all alignments near the edges of words. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/bitmap.h"

#define PAGES 200u /* not a multiple of 64 */
#define WORDS 4u
#define GUARD 0xa5a5a5a5a5a5a5a5ull

static uint64_t guarded[WORDS + 2];
static uint64_t *const words = guarded + 1;

static void fill(uint64_t value)
{
    for (uint32_t i = 0; i < WORDS; i++)
        words[i] = value;
    guarded[0] = guarded[WORDS + 1] = GUARD;
}

static void guards_stand(void)
{
    cr_assert_eq(guarded[0], GUARD);
    cr_assert_eq(guarded[WORDS + 1], GUARD);
}

/* Ends that lie on, before and after a word's edge. */
static const uint64_t edges[] = {0, 1, 31, 62, 63, 64, 65, 127, 128, 129, 190, 191, 192, 193, 199, 200, 255, 256};
#define EDGES (sizeof(edges) / sizeof(*edges))

Test(bitmap, words)
{
    cr_assert_eq(bitmap_words(0), 0);
    cr_assert_eq(bitmap_words(1), 1);
    cr_assert_eq(bitmap_words(64), 1);
    cr_assert_eq(bitmap_words(65), 2);
    cr_assert_eq(bitmap_words(1ull << 40), 1ull << 34);
}

Test(bitmap, set_and_clear_touch_their_range_only, .timeout = 30)
{
    for (size_t a = 0; a < EDGES; a++)
        for (size_t b = a; b < EDGES; b++) {
            fill(0);
            bitmap_set_range(words, edges[a], edges[b] - edges[a]);
            for (uint64_t page = 0; page < WORDS * 64; page++)
                cr_assert_eq(bitmap_test(words, page), page >= edges[a] && page < edges[b], "set [%lu, %lu): page %lu",
                             edges[a], edges[b], page);
            guards_stand();
            fill(~0ull);
            bitmap_clear_range(words, edges[a], edges[b] - edges[a]);
            for (uint64_t page = 0; page < WORDS * 64; page++)
                cr_assert_eq(bitmap_test(words, page), page < edges[a] || page >= edges[b],
                             "clear [%lu, %lu): page %lu", edges[a], edges[b], page);
            guards_stand();
        }
}

Test(bitmap, set_keeps_what_was_set)
{
    fill(0);
    bitmap_set_range(words, 10, 5);
    bitmap_set_range(words, 12, 100);
    cr_assert_eq(bitmap_count(words, 0, WORDS * 64), 102);
    bitmap_clear_range(words, 14, 1);
    cr_assert_eq(bitmap_count(words, 0, WORDS * 64), 101);
    cr_assert_not(bitmap_test(words, 14));
}

static void randomize(void)
{
    fill(0);
    for (uint64_t page = 0; page < WORDS * 64; page++)
        if (rand() % 3)
            bitmap_set_range(words, page, 1);
    if (rand() % 2)
        words[rand() % WORDS] = rand() % 2 ? ~0ull : 0; /* runs and gaps longer than a word */
}

Test(bitmap, count_in_any_range, .timeout = 30)
{
    srand(1);
    for (int i = 0; i < 50; i++) {
        randomize();
        for (size_t a = 0; a < EDGES; a++)
            for (size_t b = a; b < EDGES; b++) {
                uint64_t expected = 0;

                for (uint64_t page = edges[a]; page < edges[b]; page++)
                    expected += bitmap_test(words, page);
                cr_assert_eq(bitmap_count(words, edges[a], edges[b]), expected);
            }
    }
}

Test(bitmap, next_set_page, .timeout = 30)
{
    srand(3);
    for (int i = 0; i < 50; i++) {
        randomize();
        for (size_t a = 0; a < EDGES; a++)
            for (size_t b = a; b < EDGES; b++) {
                uint64_t expected = edges[a];

                while (expected < edges[b] && !bitmap_test(words, expected))
                    expected++;
                cr_assert_eq(bitmap_next(words, edges[a], edges[b]), expected, "[%lu, %lu)", edges[a], edges[b]);
            }
    }
    cr_assert_eq(bitmap_next(words, 0, 0), 0);
    cr_assert_eq(bitmap_next(words, 9, 3), 3, "behind the end there is none");
}

/* The runs cover exactly the set bits, in order, each as long as it can be. */
static void runs_are_the_bits(uint64_t from, uint64_t end)
{
    uint64_t at = from, first, n;

    while (bitmap_next_run(words, at, end, &first, &n)) {
        cr_assert_geq(first, at);
        cr_assert_gt(n, 0);
        cr_assert_leq(first + n, end);
        for (uint64_t page = at; page < first; page++)
            cr_assert_not(bitmap_test(words, page), "page %lu was left out", page);
        for (uint64_t page = first; page < first + n; page++)
            cr_assert(bitmap_test(words, page), "page %lu is not set", page);
        cr_assert(first + n == end || !bitmap_test(words, first + n), "the run at %lu could be longer", first);
        at = first + n;
    }
    for (uint64_t page = at; page < end; page++)
        cr_assert_not(bitmap_test(words, page), "page %lu was left out", page);
}

Test(bitmap, runs, .timeout = 30)
{
    srand(2);
    for (int i = 0; i < 50; i++) {
        randomize();
        for (size_t a = 0; a < EDGES; a++)
            for (size_t b = a; b < EDGES; b++)
                runs_are_the_bits(edges[a], edges[b]);
    }
}

Test(bitmap, runs_of_nothing_and_of_all)
{
    uint64_t first = 77, n = 77;

    fill(0);
    cr_assert_not(bitmap_next_run(words, 0, PAGES, &first, &n));
    fill(~0ull);
    cr_assert_not(bitmap_next_run(words, PAGES, PAGES, &first, &n), "an empty range has no run");
    cr_assert(bitmap_next_run(words, 3, PAGES, &first, &n));
    cr_assert_eq(first, 3);
    cr_assert_eq(n, PAGES - 3, "bits behind the end are not looked at");
}
