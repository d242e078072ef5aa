/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf's latency histogram: where values go, and what comes back. */
#include <criterion/criterion.h>
#include <math.h>

#include "perf/histogram.h"

Test(histogram, small_values_are_exact, .timeout = 10)
{
    for (uint64_t value = 0; value < 128; value++) {
        cr_assert_eq(histogram_bucket(value), value);
        cr_assert_eq(histogram_middle(value), value);
    }
}

/* Every bucket holds its own middle, neighbours follow one another without a gap, and none is wider than it says. */
Test(histogram, buckets_are_in_order_and_narrow, .timeout = 10)
{
    uint64_t last = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t middle = histogram_middle(i);

        cr_assert_eq(histogram_bucket(middle), i, "bucket %zu", i);
        cr_assert(!i || middle > last);
        last = middle;
    }
    for (uint64_t value = 1; value < 1ull << 62; value += value / 8 + 1) {
        double middle = (double)histogram_middle(histogram_bucket(value));

        cr_assert_leq(fabs(middle - (double)value), (double)value / 64, "%llu", (unsigned long long)value);
        cr_assert_leq(histogram_bucket(value), histogram_bucket(value + 1));
    }
    cr_assert_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

Test(histogram, quantiles, .timeout = 10)
{
    struct histogram h = {0};

    for (uint64_t i = 1; i <= 100; i++)
        histogram_add(&h, i);
    histogram_add(&h, 100000);
    cr_assert_eq(histogram_quantile(&h, 0), 1);
    cr_assert_eq(histogram_quantile(&h, .5), 51);
    cr_assert_eq(histogram_quantile(&h, .99), 100);
    cr_assert_eq(histogram_quantile(&h, 1), 100000);
    cr_assert_eq(h.max, 100000);
    cr_assert_eq(h.n, 101);
}

Test(histogram, half_of_two_is_the_lower, .timeout = 10)
{
    struct histogram h = {0};

    histogram_add(&h, 1);
    histogram_add(&h, 9);
    cr_assert_eq(histogram_quantile(&h, .5), 1);
    cr_assert_eq(histogram_quantile(&h, .51), 9);
}

Test(histogram, of_one_value_all_is_that_value, .timeout = 10)
{
    struct histogram h = {0};

    for (int i = 0; i < 3; i++)
        histogram_add(&h, 1000001);
    cr_assert_eq(histogram_quantile(&h, .5), 1000001);
    cr_assert_eq(histogram_quantile(&h, .999), 1000001);
    cr_assert_eq(histogram_typical(&h), 1000001);
}

Test(histogram, typical_is_what_most_took, .timeout = 10)
{
    struct histogram h = {0};

    for (uint64_t i = 0; i < 10; i++)
        histogram_add(&h, 50);
    for (uint64_t i = 0; i < 30; i++)
        histogram_add(&h, 200 + 10 * i);
    cr_assert_eq(histogram_typical(&h), 50);
    cr_assert_gt(histogram_quantile(&h, .5), 200);
}

Test(histogram, empty, .timeout = 10)
{
    struct histogram h = {0};

    cr_assert_eq(histogram_quantile(&h, .5), 0);
    cr_assert_eq(histogram_typical(&h), 0);
}
