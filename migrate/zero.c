/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/zero.h"

#include <stddef.h>
#include <stdint.h>

#include "migrate/tern.h"

#define LINE_WORDS  8u
#define BLOCK_WORDS 32u

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define BEST_OF_CPU __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define BEST_OF_CPU
#endif

/* A block is joined without a branch, so that the compiler can use the widest vectors there are. */
BEST_OF_CPU static bool blocks_are_zero(const uint64_t *words)
{
    for (uint32_t at = 0; at < TERN_PAGE_BYTES / 8; at += BLOCK_WORDS) {
        uint64_t any = 0;

        for (uint32_t i = 0; i < BLOCK_WORDS; i++)
            any |= words[at + i];
        if (any)
            return false;
    }
    return true;
}

bool page_is_zero(const void *page)
{
    const uint64_t *words = page;
    uint64_t any = 0;

    for (uint32_t i = 0; i < LINE_WORDS; i++)
        any |= words[i];
    return !any && blocks_are_zero(words);
}
