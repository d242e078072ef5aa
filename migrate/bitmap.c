/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/bitmap.h"

/* The bits of word `word` that lie in pages [first, end). */
static uint64_t word_mask(uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t mask = ~0ull;

    if (word == first / 64)
        mask &= ~0ull << first % 64;
    if (word == end / 64)
        mask &= (1ull << end % 64) - 1;
    return mask;
}

void bitmap_set_range(uint64_t *words, uint64_t first, uint64_t n)
{
    for (uint64_t word = first / 64; word * 64 < first + n; word++)
        words[word] |= word_mask(word, first, first + n);
}

void bitmap_clear_range(uint64_t *words, uint64_t first, uint64_t n)
{
    for (uint64_t word = first / 64; word * 64 < first + n; word++)
        words[word] &= ~word_mask(word, first, first + n);
}

/* ---- counting ---- */

static inline __attribute__((always_inline)) uint64_t count(const uint64_t *words, uint64_t first, uint64_t end)
{
    uint64_t last = (end - 1) / 64, sum = 0;

    for (uint64_t word = first / 64; word <= last; word++)
        sum += (uint64_t)__builtin_popcountll(words[word]);
    sum -= (uint64_t)__builtin_popcountll(words[first / 64] & ~(~0ull << first % 64));
    return sum - (uint64_t)(end % 64 ? __builtin_popcountll(words[last] & ~0ull << end % 64) : 0);
}

__attribute__((target("popcnt"))) static uint64_t count_by_popcnt(const uint64_t *words, uint64_t first, uint64_t end)
{
    return count(words, first, end);
}

uint64_t bitmap_count(const uint64_t *words, uint64_t first, uint64_t end)
{
    if (first >= end)
        return 0;
    return __builtin_cpu_supports("popcnt") ? count_by_popcnt(words, first, end) : count(words, first, end);
}

/* ---- searching ---- */

/* The first page of [from, end) whose bit, xored with flip, is set; end if there is none. */
static inline uint64_t find(const uint64_t *words, uint64_t from, uint64_t end, uint64_t flip)
{
    uint64_t word = from / 64, last = (end - 1) / 64, bits, page;

    if (from >= end)
        return end;
    bits = (words[word] ^ flip) & ~0ull << from % 64;
    while (!bits && word < last)
        bits = words[++word] ^ flip;
    page = bits ? word * 64 + (uint64_t)__builtin_ctzll(bits) : end;
    return page < end ? page : end;
}

uint64_t bitmap_next(const uint64_t *words, uint64_t from, uint64_t end)
{
    return find(words, from, end, 0);
}

bool bitmap_next_run(const uint64_t *words, uint64_t from, uint64_t end, uint64_t *first, uint64_t *n)
{
    *first = find(words, from, end, 0);
    if (*first >= end)
        return false;
    *n = find(words, *first, end, ~0ull) - *first;
    return true;
}
