/* SPDX-License-Identifier: BSD-2-Clause */
#include <criterion/criterion.h>

#include "migrate/estimate.h"

#define MS  1000000ull
#define S   1000000000ull
#define MIB 1048576ull

static void add(struct estimate *estimate, uint64_t bytes, uint64_t ns, uint64_t dirtied, uint64_t dirty_ns)
{
    struct estimate_round round = {.sent_bytes = bytes, .send_ns = ns, .dirtied_pages = dirtied, .dirty_ns = dirty_ns};

    estimate_add_round(estimate, &round);
}

static void near(uint64_t value, uint64_t expected)
{
    cr_assert(value >= expected * 99 / 100 && value <= expected * 101 / 100 + 1, "%lu is not about %lu", value,
              expected);
}

Test(estimate, nothing_measured_promises_nothing)
{
    struct estimate estimate;

    estimate_init(&estimate, 4096);
    cr_assert_eq(estimate_bytes_ps(&estimate), 0);
    cr_assert_eq(estimate_downtime_ns(&estimate, 1), ESTIMATE_NEVER);
    cr_assert_eq(estimate_round_ns(&estimate, 1), ESTIMATE_NEVER);
    cr_assert_eq(estimate_round_ns(&estimate, 0), 0);
    cr_assert_eq(estimate_downtime_ns(&estimate, 0), estimate_fixed_ns(&estimate));
    cr_assert_lt(estimate_fixed_ns(&estimate), 1 * MS, "an assumption alone must not refuse a limit of 1 ms");
}

Test(estimate, the_first_round_counts_half)
{
    struct estimate estimate;

    estimate_init(&estimate, 4096);
    add(&estimate, 1000 * MIB, S, 1000, S);
    near(estimate_bytes_ps(&estimate), 500 * MIB);
    add(&estimate, 100 * MIB, S / 10, 1000, S);
    near(estimate_bytes_ps(&estimate), 1000 * MIB);
}

Test(estimate, a_tiny_round_shows_no_slow_network)
{
    struct estimate estimate;

    estimate_init(&estimate, 4096);
    add(&estimate, 1000 * MIB, S, 0, S);
    add(&estimate, 1000 * MIB, S, 0, S);
    add(&estimate, 4096, MS, 1, MS);
    add(&estimate, 4096, 5 * MS, 1, MS);
    add(&estimate, 0, 5 * MS, 1, MS);
    near(estimate_bytes_ps(&estimate), 1000 * MIB);
}

Test(estimate, a_network_that_became_slow_counts_at_once)
{
    struct estimate estimate;

    estimate_init(&estimate, 4096);
    add(&estimate, 1000 * MIB, S, 0, S);
    add(&estimate, 1000 * MIB, S, 0, S);
    add(&estimate, 100 * MIB, S, 0, S);
    near(estimate_bytes_ps(&estimate), 100 * MIB);
}

/* Three seconds were spent in zero pages; the rounds after it are too short to count but for being fast. */
Test(estimate, a_first_round_of_zero_pages_does_not_stay)
{
    struct estimate estimate;

    estimate_init(&estimate, 4096);
    add(&estimate, 30 * MIB, 3 * S, 0, 3 * S);
    for (int i = 0; i < 4; i++)
        add(&estimate, MIB, MS / 2, 100, MS);
    cr_assert_gt(estimate_bytes_ps(&estimate), 1500 * MIB);
}

Test(estimate, a_guest_of_zero_pages_is_not_stuck)
{
    struct estimate estimate;

    estimate_init(&estimate, 4096);
    add(&estimate, 0, S, 10, S);
    cr_assert_eq(estimate_downtime_ns(&estimate, 40960), ESTIMATE_NEVER);
    add(&estimate, 0, MS, 10, MS);
    cr_assert_lt(estimate_downtime_ns(&estimate, 40960), 5 * MS);
}

Test(estimate, every_cost_is_in_the_downtime)
{
    struct estimate estimate;
    uint64_t before, after;

    estimate_init(&estimate, 4096);
    add(&estimate, 1000 * MIB, S, 0, S);
    add(&estimate, 1000 * MIB, S, 0, S);
    before = estimate_downtime_ns(&estimate, 0);
    near(estimate_downtime_ns(&estimate, 100 * MIB) - before, 100 * MS);

    estimate.costs.pause_ns += 2 * MS;
    after = estimate_downtime_ns(&estimate, 0);
    near(after - before, 2 * MS);
    before = after;
    estimate.costs.state_ns += 3 * MS;
    estimate.costs.state_bytes += 10 * MIB;
    after = estimate_downtime_ns(&estimate, 0);
    near(after - before, 13 * MS);
    before = after;
    estimate.costs.activate_ns += 4 * MS;
    after = estimate_downtime_ns(&estimate, 0);
    near(after - before, 4 * MS);
    before = after;
    estimate_add_round_trip(&estimate, 5 * MS);
    after = estimate_downtime_ns(&estimate, 0);
    cr_assert_gt(after - before, ESTIMATE_ROUND_TRIPS * 4 * MS);
}

Test(estimate, what_is_dirtied_until_the_guest_stands_is_in_the_downtime)
{
    struct estimate estimate;
    struct estimate_round round = {1000 * MIB, S, 256000, S, 10 * MS};
    uint64_t still;

    estimate_init(&estimate, 4096);
    estimate_add_round(&estimate, &round);
    estimate_add_round(&estimate, &round);
    still = estimate_fixed_ns(&estimate);
    /* 256,000 pages a second are 1000 MiB/s, for a scan of 10 ms and a pause */
    cr_assert_geq(estimate_downtime_ns(&estimate, 0), still + 10 * MS);
    cr_assert_leq(estimate_downtime_ns(&estimate, 0), still + 12 * MS);
    near(estimate_dirty_pages_ps(&estimate), 256000);
}

Test(estimate, digests_owed_are_in_the_downtime_but_not_fixed)
{
    struct estimate estimate;
    uint64_t fixed, plain;

    estimate_init(&estimate, 4096);
    add(&estimate, 1000 * MIB, S, 0, S);
    add(&estimate, 1000 * MIB, S, 0, S);
    fixed = estimate_fixed_ns(&estimate);
    plain = estimate_downtime_ns(&estimate, 0);
    estimate_set_digest(&estimate, 1000, 1000000);
    near(estimate_backlog_ns(&estimate), MS);
    near(estimate_downtime_ns(&estimate, 0) - plain, MS);
    cr_assert_eq(estimate_fixed_ns(&estimate), fixed);
    estimate_set_digest(&estimate, 2000, 0);
    near(estimate_backlog_ns(&estimate), 2 * MS);
}

/* The destination begins to digest when it acknowledges the first round: it owes much, and has measured nothing. */
Test(estimate, digests_owed_count_before_any_was_measured)
{
    struct estimate estimate;
    uint64_t plain;

    estimate_init(&estimate, 4096);
    add(&estimate, 1000 * MIB, S, 0, S);
    plain = estimate_downtime_ns(&estimate, 0);
    estimate_set_digest(&estimate, 0, 0);
    cr_assert_eq(estimate_backlog_ns(&estimate), 0);
    cr_assert_eq(estimate_downtime_ns(&estimate, 0), plain);
    estimate_set_digest(&estimate, 1000 * MIB / 4096, 0);
    cr_assert_gt(estimate_backlog_ns(&estimate), 100 * MS);
    near(estimate_downtime_ns(&estimate, 0), plain + estimate_backlog_ns(&estimate));
}

Test(estimate, no_sample_overflows)
{
    struct estimate estimate;
    struct estimate_round huge = {UINT64_MAX, 1, UINT64_MAX, 1, UINT64_MAX};
    struct estimate_round slow = {1, UINT64_MAX, 0, UINT64_MAX, 0};

    estimate_init(&estimate, 1ull << 30);
    estimate_add_round(&estimate, &huge);
    estimate_add_round_trip(&estimate, UINT64_MAX);
    estimate_set_digest(&estimate, UINT64_MAX, 1);
    cr_assert_eq(estimate_downtime_ns(&estimate, UINT64_MAX), ESTIMATE_NEVER);
    cr_assert_eq(estimate_bytes_ps(&estimate), ESTIMATE_NEVER);
    estimate_init(&estimate, 4096);
    estimate_add_round(&estimate, &slow);
    cr_assert_eq(estimate_round_ns(&estimate, UINT64_MAX), ESTIMATE_NEVER);
}

/* A short round goes out in one burst, whatever the lanes are held to; the last one may be long. */
Test(estimate, no_faster_than_the_lanes_are_held_to)
{
    struct estimate estimate;

    estimate_init(&estimate, 4096);
    estimate.limit_bytes_ps = 5000000;
    add(&estimate, 5000000, 1 * S, 100, 1 * S);
    add(&estimate, 5000000, 1 * S, 100, 1 * S);
    add(&estimate, 500000, 1 * MS, 0, 1 * MS);
    near(estimate_bytes_ps(&estimate), 5000000);
    cr_assert_geq(estimate_downtime_ns(&estimate, 5000000), 1 * S);
    estimate.limit_bytes_ps = 0;
    cr_assert_gt(estimate_bytes_ps(&estimate), 50000000);
}
