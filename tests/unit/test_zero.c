/* SPDX-License-Identifier: BSD-2-Clause */
/* Every single bit of a page makes it not zero; what lies beside the page does not: by each variant that this CPU has,
 * and by the one that is chosen. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migrate/tern.h"
#include "migrate/zero.h"

typedef bool (*is_zero_function)(const void *page);

/* Number i of what is to be tested; NULL where this CPU has no such variant. */
static is_zero_function tested(int i)
{
    if (i == ZERO_VARIANTS)
        return page_is_zero;
    return zero_variants[i].supported() ? zero_variants[i].page_is_zero : NULL;
}

static const char *name_of(int i)
{
    return i == ZERO_VARIANTS ? "the chosen one" : zero_variants[i].name;
}

#define FOR_EACH_TESTED(i, is_zero)                                                                                    \
    for (int i = 0; i <= ZERO_VARIANTS; i++)                                                                           \
        for (is_zero_function is_zero = tested(i); is_zero; is_zero = NULL)

Test(zero, the_last_variant_runs_everywhere)
{
    cr_assert(zero_variants[ZERO_VARIANTS - 1].supported());
}

Test(zero, every_bit_counts, .timeout = 60)
{
    uint8_t *page = aligned_alloc(TERN_PAGE_BYTES, TERN_PAGE_BYTES);

    FOR_EACH_TESTED(i, is_zero)
    {
        memset(page, 0, TERN_PAGE_BYTES);
        cr_assert(is_zero(page), "%s", name_of(i));
        for (uint32_t bit = 0; bit < TERN_PAGE_BYTES * 8; bit++) {
            page[bit / 8] = (uint8_t)(1u << bit % 8);
            cr_assert_not(is_zero(page), "bit %u was not seen by %s", bit, name_of(i));
            page[bit / 8] = 0;
        }
        cr_assert(is_zero(page), "%s", name_of(i));
        memset(page, 0xff, TERN_PAGE_BYTES);
        cr_assert_not(is_zero(page), "%s", name_of(i));
    }
    free(page);
}

Test(zero, neighbours_do_not_count)
{
    uint8_t *pages = aligned_alloc(TERN_PAGE_BYTES, 3 * TERN_PAGE_BYTES);

    memset(pages, 0xff, 3 * TERN_PAGE_BYTES);
    memset(pages + TERN_PAGE_BYTES, 0, TERN_PAGE_BYTES);
    FOR_EACH_TESTED(i, is_zero)
    {
        cr_assert(is_zero(pages + TERN_PAGE_BYTES), "%s", name_of(i));
        cr_assert_not(is_zero(pages), "%s", name_of(i));
    }
    free(pages);
}

Test(zero, any_8_byte_alignment)
{
    uint8_t *bytes = aligned_alloc(TERN_PAGE_BYTES, 2 * TERN_PAGE_BYTES);

    FOR_EACH_TESTED(i, is_zero)
    for (uint32_t shift = 0; shift <= 128; shift += 8) {
        memset(bytes, 1, 2 * TERN_PAGE_BYTES);
        memset(bytes + shift, 0, TERN_PAGE_BYTES);
        cr_assert(is_zero(bytes + shift), "shifted by %u: %s", shift, name_of(i));
        bytes[shift + TERN_PAGE_BYTES - 1] = 1;
        cr_assert_not(is_zero(bytes + shift), "shifted by %u: %s", shift, name_of(i));
    }
    free(bytes);
}

/* No byte beyond the page is read, before or behind: it would be a fault. */
Test(zero, at_both_ends_of_a_mapping)
{
    uint8_t *pages = mmap(NULL, 3 * TERN_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *page = pages + TERN_PAGE_BYTES;

    cr_assert_neq(pages, MAP_FAILED);
    cr_assert_eq(mprotect(page, TERN_PAGE_BYTES, PROT_READ | PROT_WRITE), 0);
    FOR_EACH_TESTED(i, is_zero)
    {
        cr_assert(is_zero(page), "%s", name_of(i));
        page[TERN_PAGE_BYTES - 1] = 1;
        cr_assert_not(is_zero(page), "%s", name_of(i));
        page[TERN_PAGE_BYTES - 1] = 0;
    }
    munmap(pages, 3 * TERN_PAGE_BYTES);
}
