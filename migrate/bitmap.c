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

uint64_t bitmap_count(const uint64_t *words, uint64_t first, uint64_t end)
{
    uint64_t count = 0;

    for (uint64_t word = first / 64; word * 64 < end; word++)
        count += (uint64_t)__builtin_popcountll(words[word] & word_mask(word, first, end));
    return count;
}

/* The first page of [from, end) whose bit, xored with flip, is set; end if there is none. */
static uint64_t find(const uint64_t *words, uint64_t from, uint64_t end, uint64_t flip)
{
    for (uint64_t word = from / 64; word * 64 < end; word++) {
        uint64_t bits = (words[word] ^ flip) & word_mask(word, from, end);

        if (bits)
            return word * 64 + (uint64_t)__builtin_ctzll(bits);
    }
    return end;
}

bool bitmap_next_run(const uint64_t *words, uint64_t from, uint64_t end, uint64_t *first, uint64_t *n)
{
    *first = find(words, from, end, 0);
    if (*first >= end)
        return false;
    *n = find(words, *first, end, ~0ull) - *first;
    return true;
}
