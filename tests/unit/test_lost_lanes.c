/* SPDX-License-Identifier: BSD-2-Clause */
/* When a lane that was lost is tried again, and from when on its fences count. */
#include <criterion/criterion.h>

#include "migrate/lost_lanes.h"

#define REST LOST_LANES_REST_NS

/* Lanes that are lost, and gone at the destination. */
static struct lost_lanes without(uint64_t lost)
{
    struct lost_lanes lanes = {0};

    lost_lanes_lose(&lanes, lost);
    for (uint32_t i = 0; i < 64; i++)
        if (lost >> i & 1)
            cr_assert(lost_lanes_gone(&lanes, i));
    return lanes;
}

Test(lost_lanes, one_is_not_tried_before_the_destination_tore_it_down, .timeout = 10)
{
    struct lost_lanes lanes = {0};

    cr_assert(lost_lanes_settled(&lanes) && lost_lanes_due(&lanes, 5) == -1);
    lost_lanes_lose(&lanes, 1u << 3);
    cr_assert_not(lost_lanes_settled(&lanes));
    cr_assert_eq(lost_lanes_due(&lanes, 5), -1);
    cr_assert_not(lost_lanes_gone(&lanes, 2), "a word on a lane that was not lost");
    cr_assert(lost_lanes_gone(&lanes, 3));
    cr_assert_not(lost_lanes_gone(&lanes, 3), "the same word twice");
    cr_assert(lost_lanes_settled(&lanes));
    cr_assert_eq(lost_lanes_due(&lanes, 5), 3);
}

Test(lost_lanes, a_failed_try_is_followed_by_a_rest, .timeout = 10)
{
    struct lost_lanes lanes = without(1u << 1);

    lost_lanes_tried(&lanes, 1, false, 1000);
    cr_assert_eq(lost_lanes_due(&lanes, 1000 + REST - 1), -1);
    cr_assert_eq(lost_lanes_due(&lanes, 1000 + REST), 1);
}

Test(lost_lanes, a_rail_that_stays_down_keeps_no_other_away, .timeout = 10)
{
    struct lost_lanes lanes = without(1ull << 0 | 1ull << 1 | 1ull << 63);
    uint64_t now = 0;

    cr_assert_eq(lost_lanes_due(&lanes, now), 0);
    lost_lanes_tried(&lanes, 0, false, now);
    cr_assert_eq(lost_lanes_due(&lanes, now += REST), 1);
    lost_lanes_tried(&lanes, 1, true, now);
    cr_assert_eq(lost_lanes_due(&lanes, now), 63, "after a success the next one follows at once");
    lost_lanes_tried(&lanes, 63, true, now);
    cr_assert_eq(lost_lanes_due(&lanes, now), 0);
    lost_lanes_tried(&lanes, 0, true, now);
    cr_assert_eq(lost_lanes_due(&lanes, now + 2 * REST), -1, "none is tried that is connected");
}

/* A lane that has joined waits for the border; until then no fence of it is sent or waited for. */
Test(lost_lanes, it_counts_from_the_border_on, .timeout = 10)
{
    struct lost_lanes lanes = without(1u << 0 | 1u << 2);

    lost_lanes_tried(&lanes, 2, true, 7);
    cr_assert(!lost_lanes_in_use(&lanes, 0) && lost_lanes_in_use(&lanes, 1) && !lost_lanes_in_use(&lanes, 2));
    cr_assert_eq(lost_lanes_take(&lanes), 1u << 2);
    cr_assert(!lost_lanes_in_use(&lanes, 0) && lost_lanes_in_use(&lanes, 2));
    cr_assert(lost_lanes_settled(&lanes));
    cr_assert_eq(lost_lanes_take(&lanes), 0, "once");
}

Test(lost_lanes, one_that_came_back_can_be_lost_again, .timeout = 10)
{
    struct lost_lanes lanes = without(1u << 2);

    lost_lanes_tried(&lanes, 2, true, 7);
    lost_lanes_take(&lanes);
    lost_lanes_lose(&lanes, 1u << 2);
    cr_assert_not(lost_lanes_settled(&lanes), "the destination has to tear it down anew");
    cr_assert_eq(lost_lanes_due(&lanes, 100 * REST), -1);
    cr_assert(lost_lanes_gone(&lanes, 2));
    cr_assert_eq(lost_lanes_due(&lanes, 100 * REST), 2);
}
