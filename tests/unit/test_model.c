/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf's model: what is known without it must come out of it. */
#include <criterion/criterion.h>
#include <math.h>

#include "perf/model.h"

#define GIB (1ull << 30)

static struct model guest(void)
{
    return (struct model){.memory_bytes = 4 * GIB,
                          .working_set_bytes = GIB,
                          .bytes_ps = GIB,
                          .limits = {.downtime_limit_ns = 50000000, .can_throttle = true}};
}

static void near(double a, double b, double share)
{
    cr_assert_leq(fabs(a - b), fabs(b) * share, "%g is not near %g", a, b);
}

Test(model, an_idle_guest_is_sent_once, .timeout = 10)
{
    struct model model = guest();
    struct model_result result;

    model_run(&model, &result);
    cr_assert_eq(result.kind, CONVERGE_SWITCH_OVER);
    cr_assert_eq(result.n_rounds, 1);
    cr_assert_eq(result.rounds, 3); /* and two while it stands still */
    cr_assert_eq(result.bytes_sent, 4 * GIB);
    near((double)result.total_ns, 4e9, .001);
    cr_assert_lt(result.downtime_ns, 2000000);
}

/* 4 s at 10,000 pages a second of 262,144: 1 - exp(-40000/262144) of them. */
Test(model, a_page_counts_once_a_round, .timeout = 10)
{
    struct model model = guest();
    struct model_result result;

    model.dirty_pages_ps = 10000;
    model_run(&model, &result);
    near((double)result.round[0].left_bytes, 262144 * (1 - exp(-40000. / 262144)) * 4096, .0001);
    cr_assert_eq(result.round[1].bytes, result.round[0].left_bytes);
    near((double)result.round[1].ns, (double)result.round[1].bytes / (double)GIB * 1e9, .0001);
    cr_assert_eq(result.kind, CONVERGE_SWITCH_OVER);
    cr_assert_leq(result.downtime_ns, 50000000);
}

Test(model, patterns, .timeout = 10)
{
    struct model model = guest();
    double uniform, hot;

    model.dirty_pages_ps = 100000;
    uniform = model_dirtied_pages(&model, 1e9, 0);
    model.pattern = PROCESS_GUEST_SEQUENTIAL;
    cr_assert_eq(model_dirtied_pages(&model, 1e9, 0), 100000);
    cr_assert_eq(model_dirtied_pages(&model, 1e9, 50), 50000);
    cr_assert_eq(model_dirtied_pages(&model, 1e10, 0), 262144);
    model.pattern = PROCESS_GUEST_HOT_COLD;
    hot = model_dirtied_pages(&model, 1e9, 0);
    cr_assert_lt(hot, uniform); /* the hot tenth is written again and again */
    cr_assert_gt(hot, 26214);
    near(model_dirtied_pages(&model, 1e12, 0), 262144, .01);
}

/* More is dirtied than carried: without a throttle it gives up, with it it goes through within the limit. */
Test(model, a_guest_faster_than_the_network, .timeout = 10)
{
    struct model model = guest();
    struct model_result result;

    model.working_set_bytes = 3 * GIB;
    model.dirty_pages_ps = 2 * GIB / 4096;
    model.limits.on_no_converge = TERN_NO_CONVERGE_ABORT;
    model_run(&model, &result);
    cr_assert_eq(result.kind, CONVERGE_ABORT);
    cr_assert(result.text[0]);
    model.limits.on_no_converge = TERN_NO_CONVERGE_THROTTLE;
    model_run(&model, &result);
    cr_assert_eq(result.kind, CONVERGE_SWITCH_OVER);
    cr_assert_gt(result.throttle_percent, 50);
    cr_assert_leq(result.downtime_ns, 50000000);
    cr_assert_not(result.limit_missed);
}

Test(model, a_working_set_that_fits_the_limit_needs_no_rounds, .timeout = 10)
{
    struct model model = guest();
    struct model_result result;

    model.working_set_bytes = 8 << 20; /* 8 ms */
    model.dirty_pages_ps = 10000000;
    model_run(&model, &result);
    cr_assert_eq(result.kind, CONVERGE_SWITCH_OVER);
    cr_assert_leq(result.n_rounds, 3);
    cr_assert_geq(result.downtime_ns, 7800000);
    cr_assert_leq(result.downtime_ns, 10000000);
}

Test(model, measured_costs_count, .timeout = 10)
{
    struct model model = guest();
    struct model_result result, plain;

    model_run(&model, &plain);
    model.setup_ns = 1000000000;
    model.fixed_ns = 20000000;
    model.turn_ns = 10000000;
    model_run(&model, &result);
    near((double)result.downtime_ns, 20e6, .01);
    near((double)(result.total_ns - plain.total_ns), 1e9 + 20e6 + 10e6, .01);
}

Test(model, the_deadline_is_the_engines, .timeout = 10)
{
    struct model model = guest();
    struct model_result result;

    model.working_set_bytes = 3 * GIB;
    model.dirty_pages_ps = 2 * GIB / 4096;
    model.limits.deadline_ns = 25000000000;
    model_run(&model, &result);
    cr_assert_eq(result.kind, CONVERGE_SWITCH_OVER);
    cr_assert(result.limit_missed);
    cr_assert_gt(result.downtime_ns, 50000000);
    cr_assert_leq(result.total_ns, 25001000000);
}
