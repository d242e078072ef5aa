/* SPDX-License-Identifier: BSD-2-Clause */
/* Digests of pages and the table of them: any change shows, and only a change does. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/digest.h"
#include "migrate/digest_table.h"
#include "migrate/tern.h"

static _Alignas(4096) uint8_t page[TERN_PAGE_BYTES];

static void randomize(unsigned int seed)
{
    srand(seed);
    for (uint32_t i = 0; i < TERN_PAGE_BYTES; i++)
        page[i] = (uint8_t)rand();
}

Test(digest, a_page_of_zeros_has_the_digest_of_none)
{
    cr_assert_eq(digest_page(page), DIGEST_ZERO);
    page[TERN_PAGE_BYTES - 1] = 1;
    cr_assert_neq(digest_page(page), DIGEST_ZERO);
}

Test(digest, every_bit_changes_it, .timeout = 60)
{
    uint64_t before;

    randomize(1);
    before = digest_page(page);
    for (uint32_t bit = 0; bit < TERN_PAGE_BYTES * 8; bit++) {
        page[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(digest_page(page), before, "bit %u does not show", bit);
        page[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(digest_page(page), before);
}

/* Both ends must agree, also when they are different builds: the values are part of the protocol. */
Test(digest, values_are_those_of_xxh3)
{
    for (uint32_t i = 0; i < TERN_PAGE_BYTES; i++)
        page[i] = (uint8_t)i;
    cr_assert_eq(digest_bytes("", 0), 0x2d06800538d394c2ull);
    cr_assert_eq(digest_page(page), digest_bytes(page, TERN_PAGE_BYTES));
    cr_assert_eq(digest_chunk((uint64_t *)(void *)page, TERN_PAGE_BYTES / 8), digest_bytes(page, TERN_PAGE_BYTES));
}

Test(digest, order_of_a_table_matters)
{
    uint64_t one[2] = {1, 2}, other[2] = {2, 1};

    cr_assert_neq(digest_chunk(one, 2), digest_chunk(other, 2));
    cr_assert_neq(digest_chunk(one, 1), digest_chunk(one, 2));
}

/* ---- the table ---- */

/* Three groups, the last one shorter. */
#define PAGES (2 * DIGEST_GROUP_PAGES + 7)

static void table_with(struct digest_table *table, uint64_t n_pages)
{
    struct tern_error error = {0};

    memset(table, 0xee, sizeof(*table));
    cr_assert_eq(digest_table_init(table, n_pages, &error), 0, "%s", error.message);
}

Test(digest_table, starts_as_zero)
{
    struct digest_table table;

    table_with(&table, PAGES);
    cr_assert_eq(table.n_pages, PAGES);
    cr_assert_eq(table.n_groups, 3);
    for (uint64_t i = 0; i < PAGES; i++)
        cr_assert_eq(table.pages[i], DIGEST_ZERO);
    digest_table_free(&table);
}

Test(digest_table, number_of_groups)
{
    static const uint64_t pages[] = {1, DIGEST_GROUP_PAGES - 1, DIGEST_GROUP_PAGES, DIGEST_GROUP_PAGES + 1};
    static const uint64_t groups[] = {1, 1, 1, 2};

    for (size_t i = 0; i < 4; i++) {
        struct digest_table table;

        table_with(&table, pages[i]);
        cr_assert_eq(table.n_groups, groups[i]);
        digest_table_set(&table, pages[i] - 1, 9);
        digest_table_root(&table);
        digest_table_free(&table);
    }
}

/* A root that was kept up to date equals one that was made at once. */
Test(digest_table, the_root_follows_every_change, .timeout = 60)
{
    struct digest_table kept, fresh;

    table_with(&kept, PAGES);
    srand(3);
    for (int step = 0; step < 300; step++) {
        uint64_t before = digest_table_root(&kept);
        uint64_t at = (uint64_t)rand() % PAGES, value = (uint64_t)rand() + 1;

        digest_table_set(&kept, at, value);
        cr_assert_neq(digest_table_root(&kept), before, "page %lu does not show", at);
        table_with(&fresh, PAGES);
        for (uint64_t i = 0; i < PAGES; i++)
            digest_table_set(&fresh, i, kept.pages[i]);
        cr_assert_eq(digest_table_root(&kept), digest_table_root(&fresh));
        digest_table_free(&fresh);
    }
    digest_table_free(&kept);
}

Test(digest_table, only_stale_groups_are_made_again)
{
    struct digest_table table;
    uint64_t root;

    table_with(&table, PAGES);
    digest_table_set(&table, 3, 77);
    root = digest_table_root(&table);
    for (uint64_t i = 0; i < table.n_groups; i++)
        cr_assert_eq(table.stale[i], 0);
    digest_table_set(&table, DIGEST_GROUP_PAGES, 5);
    cr_assert_eq(table.stale[0], 0);
    cr_assert_eq(table.stale[1], 1);
    cr_assert_eq(table.stale[2], 0);
    table.groups[0] = 12345; /* would be mended if group 0 were made again */
    cr_assert_neq(digest_table_root(&table), root);
    cr_assert_eq(table.groups[0], 12345);
    digest_table_free(&table);
}

Test(digest_table, setting_back_gives_the_root_back)
{
    struct digest_table table;
    uint64_t root;

    table_with(&table, PAGES);
    root = digest_table_root(&table);
    digest_table_set(&table, PAGES - 1, 4);
    cr_assert_neq(digest_table_root(&table), root);
    digest_table_set(&table, PAGES - 1, DIGEST_ZERO);
    cr_assert_eq(digest_table_root(&table), root);
    digest_table_free(&table);
}

#ifndef __SANITIZE_ADDRESS__ /* its calloc aborts instead of failing */
Test(digest_table, too_large_is_an_error_in_words)
{
    struct digest_table table = {0};
    struct tern_error error = {0};

    cr_assert_eq(digest_table_init(&table, 1ull << 60, &error), -ENOMEM);
    cr_assert_not_null(strstr(error.message, "1152921504606846976 pages"), "%s", error.message);
    digest_table_free(&table); /* takes what failed, and one that is free */
    digest_table_free(&table);
}
#endif
