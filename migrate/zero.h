/* SPDX-License-Identifier: BSD-2-Clause */
/* Is a page of TERN_PAGE_BYTES all zero? Leaves at the first data, which most pages show in their first cache line.
 *
 * Beyond that line a page is read from its beginning to its end, 256 bytes between one look and the next. Looking at
 * words of the middle and the end first costs a tenth and more of the rate on pages that are zero (it disturbs the
 * prefetcher), which are the many; so does taking two halves at once. ISA-L's isal_zero_detect is not faster on zeros
 * and slower on data. tern-perf scan measures all variants.
 */
#ifndef MIGRATE_ZERO_H
#define MIGRATE_ZERO_H

#include <stdbool.h>

#define ZERO_VARIANTS 3

/* One for each set of instructions, the richest first; the last one runs on every CPU.
 * supported      by this CPU
 * page_is_zero   only where supported */
struct zero_variant {
    const char *name;
    bool (*supported)(void);
    bool (*page_is_zero)(const void *page);
};

extern const struct zero_variant zero_variants[ZERO_VARIANTS];

/* page_is_zero: by the first variant that this CPU has.
 * page    8-byte aligned, 4096 bytes
 * thread  any */
bool page_is_zero(const void *page);

#endif
