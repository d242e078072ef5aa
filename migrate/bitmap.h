/* SPDX-License-Identifier: BSD-2-Clause */
/* Dirty bitmaps: bit p % 64 of word p / 64 is page p. Pure.
 * Threads: ranges that share no word may be handled by different threads. */
#ifndef MIGRATE_BITMAP_H
#define MIGRATE_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t bitmap_words(uint64_t n_pages)
{
    return (n_pages + 63) / 64;
}

static inline bool bitmap_test(const uint64_t *words, uint64_t page)
{
    return words[page / 64] >> (page % 64) & 1;
}

void bitmap_set_range(uint64_t *words, uint64_t first, uint64_t n);
void bitmap_clear_range(uint64_t *words, uint64_t first, uint64_t n);

/* Set bits of pages [first, end). */
uint64_t bitmap_count(const uint64_t *words, uint64_t first, uint64_t end);

/* bitmap_next: the first set bit of [from, end); end if there is none. Cost: a word at a time. */
uint64_t bitmap_next(const uint64_t *words, uint64_t from, uint64_t end);

/* bitmap_next_run: the next run of set bits within [from, end). false: there is none. Cost: a word at a time. */
bool bitmap_next_run(const uint64_t *words, uint64_t from, uint64_t end, uint64_t *first, uint64_t *n);

#endif
