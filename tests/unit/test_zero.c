/* SPDX-License-Identifier: BSD-2-Clause */
/* Every single bit of a page makes it not zero; what lies beside the page does not. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migrate/tern.h"
#include "migrate/zero.h"

Test(zero, every_bit_counts, .timeout = 60)
{
    uint8_t *page = aligned_alloc(TERN_PAGE_BYTES, TERN_PAGE_BYTES);

    memset(page, 0, TERN_PAGE_BYTES);
    cr_assert(page_is_zero(page));
    for (uint32_t bit = 0; bit < TERN_PAGE_BYTES * 8; bit++) {
        page[bit / 8] = (uint8_t)(1u << bit % 8);
        cr_assert_not(page_is_zero(page), "bit %u was not seen", bit);
        page[bit / 8] = 0;
    }
    cr_assert(page_is_zero(page));
    memset(page, 0xff, TERN_PAGE_BYTES);
    cr_assert_not(page_is_zero(page));
    free(page);
}

Test(zero, neighbours_do_not_count)
{
    uint8_t *pages = aligned_alloc(TERN_PAGE_BYTES, 3 * TERN_PAGE_BYTES);

    memset(pages, 0xff, 3 * TERN_PAGE_BYTES);
    memset(pages + TERN_PAGE_BYTES, 0, TERN_PAGE_BYTES);
    cr_assert(page_is_zero(pages + TERN_PAGE_BYTES));
    cr_assert_not(page_is_zero(pages));
    free(pages);
}

Test(zero, any_8_byte_alignment)
{
    uint8_t *bytes = aligned_alloc(TERN_PAGE_BYTES, 2 * TERN_PAGE_BYTES);

    for (uint32_t shift = 0; shift <= 128; shift += 8) {
        memset(bytes, 1, 2 * TERN_PAGE_BYTES);
        memset(bytes + shift, 0, TERN_PAGE_BYTES);
        cr_assert(page_is_zero(bytes + shift), "shifted by %u", shift);
        bytes[shift + TERN_PAGE_BYTES - 1] = 1;
        cr_assert_not(page_is_zero(bytes + shift), "shifted by %u", shift);
    }
    free(bytes);
}

/* No byte beyond the page is read: it would be a fault. */
Test(zero, at_the_end_of_a_mapping)
{
    uint8_t *pages = mmap(NULL, 2 * TERN_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(pages, MAP_FAILED);
    cr_assert_eq(mprotect(pages + TERN_PAGE_BYTES, TERN_PAGE_BYTES, PROT_NONE), 0);
    cr_assert(page_is_zero(pages));
    pages[TERN_PAGE_BYTES - 1] = 1;
    cr_assert_not(page_is_zero(pages));
    munmap(pages, 2 * TERN_PAGE_BYTES);
}
