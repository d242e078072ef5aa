/* SPDX-License-Identifier: BSD-2-Clause */
/* Every unit is given once a round, to its own group, in order. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "migrate/shares.h"

#define UNITS 1000u

static struct shares *make(const uint8_t *unit_group, uint32_t n_groups)
{
    struct shares *shares = NULL;

    cr_assert_eq(shares_create(UNITS, unit_group, n_groups, &shares, NULL), 0);
    return shares;
}

Test(shares, one_group_takes_all_in_order, .timeout = 10)
{
    struct shares *shares = make(NULL, 0);
    uint64_t unit;

    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < UNITS; i++)
            cr_assert(shares_next(shares, 0, &unit) && unit == i);
        cr_assert_not(shares_next(shares, 0, &unit));
        cr_assert_not(shares_next(shares, 0, &unit));
        shares_begin(shares, NULL);
    }
    shares_destroy(shares);
}

Test(shares, a_group_takes_its_own_units_only, .timeout = 10)
{
    static uint8_t unit_group[UNITS], seen[UNITS];
    struct shares *shares;

    for (uint32_t i = 0; i < UNITS; i++)
        unit_group[i] = i % 7 == 3 ? 5 : i < 500 ? 0 : 63;
    shares = make(unit_group, 64);
    for (uint32_t group = 0; group < 64; group++) {
        uint64_t unit, before = 0;

        while (shares_next(shares, group, &unit)) {
            cr_assert_eq(unit_group[unit], group);
            cr_assert(unit > before || (!before && !unit), "not in order");
            before = unit;
            seen[unit]++;
        }
    }
    for (uint32_t i = 0; i < UNITS; i++)
        cr_assert_eq(seen[i], 1, "unit %u was given %u times", i, seen[i]);
    shares_destroy(shares);
    shares_destroy(NULL);
}

Test(shares, cut_short_ends_every_group, .timeout = 10)
{
    static uint8_t unit_group[UNITS];
    struct shares *shares;
    uint64_t unit;

    for (uint32_t i = 0; i < UNITS; i++)
        unit_group[i] = i % 2;
    shares = make(unit_group, 2);
    cr_assert(shares_next(shares, 1, &unit) && unit == 1);
    shares_cut_short(shares);
    cr_assert_not(shares_next(shares, 0, &unit));
    cr_assert_not(shares_next(shares, 1, &unit));
    shares_begin(shares, NULL);
    cr_assert(shares_next(shares, 0, &unit) && unit == 0);
    shares_destroy(shares);
}

/* Whether units are in order or sorted by group, clean ones are passed over. */
Test(shares, clean_units_are_not_given, .timeout = 10)
{
    static uint8_t unit_group[UNITS];
    uint64_t dirty[UNITS / 64 + 1] = {0}, unit;

    for (uint32_t i = 0; i < UNITS; i++)
        unit_group[i] = i % 2;
    for (uint32_t i = 0; i < UNITS; i += 96)
        dirty[i / 64] |= 1ull << i % 64;
    for (int sorted = 0; sorted < 2; sorted++) {
        struct shares *shares = make(sorted ? unit_group : NULL, 2);

        shares_begin(shares, dirty);
        for (uint32_t i = 0; i < UNITS; i += 96)
            cr_assert(shares_next(shares, 0, &unit) && unit == i);
        cr_assert_not(shares_next(shares, 0, &unit));
        if (sorted)
            cr_assert_not(shares_next(shares, 1, &unit));
        shares_begin(shares, dirty);
        shares_cut_short(shares);
        cr_assert_not(shares_next(shares, 0, &unit));
        shares_destroy(shares);
    }
}
