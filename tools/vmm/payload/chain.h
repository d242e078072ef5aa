/* SPDX-License-Identifier: BSD-2-Clause */
/* What the payload guest does with its memory, as pure functions: the guest runs them, the host computes the same to
 * check it. No I/O, no library: it is compiled into the guest too.
 *
 * Memory: data page p starts out with words 0 and 1 zero; in the filled pages the other words are fill_word(),
 * elsewhere zero. Step n (1, 2, ...) advances the chain to c(n), lets it pick a page p of the working set, and writes
 * there page_seal(c(n), p) as word 0 and n as word 1.
 *
 * The chain is a linear congruence, so that the host knows c(n) for any n at once, a register lost once breaks it for
 * good, and its upper half is random enough to choose by. The sum of page_mark(p, word 1) over the working set is kept
 * in a register: a page that fell back to an older copy of itself breaks it, although it looks whole.
 * A step is few instructions: some KVMs emulate each.
 *
 * source: Knuth, TAOCP vol. 2, 3.3.4 (multiplier); Steele et al. 2014 (splitmix64's finalizer, for the filling) */
#ifndef TOOLS_VMM_PAYLOAD_CHAIN_H
#define TOOLS_VMM_PAYLOAD_CHAIN_H

#include <stdint.h>

#define PAYLOAD_PAGE_BYTES 4096u
#define PAYLOAD_PAGE_WORDS 512u
#define CHAIN_MULTIPLIER   6364136223846793005ull
#define CHAIN_INCREMENT    1442695040888963407ull

enum payload_pattern {
    PAYLOAD_UNIFORM = 0,
    PAYLOAD_SEQUENTIAL = 1,
    PAYLOAD_HOT_COLD = 2, /* nine writes of ten go to a tenth of the working set */
};

static inline uint64_t chain_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static inline uint64_t chain_next(uint64_t chain)
{
    return chain * CHAIN_MULTIPLIER + CHAIN_INCREMENT;
}

/* c(step) from c(0) = seed, in log2(step) turns: the congruence composed with itself, again and again. */
static inline uint64_t chain_at(uint64_t seed, uint64_t step)
{
    uint64_t multiplier = CHAIN_MULTIPLIER, increment = CHAIN_INCREMENT, chain = seed;

    for (; step; step >>= 1) {
        if (step & 1)
            chain = chain * multiplier + increment;
        increment = increment * multiplier + increment;
        multiplier *= multiplier;
    }
    return chain;
}

/* x in [0, 2^32) scaled to [0, n). */
static inline uint64_t chain_scale(uint64_t x, uint64_t n)
{
    return (uint64_t)((unsigned __int128)x * n >> 32);
}

static inline uint64_t pick_page(enum payload_pattern pattern, uint64_t working_pages, uint64_t step, uint64_t chain)
{
    if (pattern == PAYLOAD_SEQUENTIAL)
        return (step - 1) % working_pages;
    if (pattern == PAYLOAD_HOT_COLD && working_pages >= 10 && (chain >> 16 & 0xffff) % 10)
        return chain_scale(chain >> 32, working_pages / 10);
    return chain_scale(chain >> 32, working_pages);
}

static inline uint64_t page_seal(uint64_t chain, uint64_t page)
{
    return (chain ^ page << 32) * CHAIN_MULTIPLIER;
}

static inline uint64_t page_mark(uint64_t page, uint64_t step)
{
    return step * (2 * page + 1);
}

static inline uint64_t fill_word(uint64_t seed, uint64_t page, uint32_t word)
{
    return chain_mix(seed + (page * PAYLOAD_PAGE_WORDS + word + 1) * 0x9e3779b97f4a7c15ull);
}

#endif
