/* SPDX-License-Identifier: BSD-2-Clause */
/* The allowance over a clock of the test's own: no sleeping, no real time. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "migrate/pacer.h"

#define SECOND   1000000000ull
#define MIB      (1ull << 20)
#define GIGABIT  1000000000ull
#define START_NS (100 * SECOND)

Test(pacer, no_limit_never_waits)
{
    struct pacer pacer = {0};

    for (int i = 0; i < 1000; i++)
        cr_assert_eq(pacer_take(&pacer, 1ull << 40, START_NS), 0);
}

Test(pacer, the_first_is_free)
{
    struct pacer pacer = {.bandwidth_bps = GIGABIT};

    cr_assert_eq(pacer_take(&pacer, MIB, START_NS), 0);
}

/* 125 MB at 1 Gb/s are one second, and whoever comes next pays for it. */
Test(pacer, what_was_taken_delays_the_next)
{
    struct pacer pacer = {.bandwidth_bps = GIGABIT};

    cr_assert_eq(pacer_take(&pacer, 125000000, START_NS), 0);
    cr_assert_eq(pacer_take(&pacer, 125000000, START_NS), SECOND - PACER_BURST_NS);
    cr_assert_eq(pacer_take(&pacer, 0, START_NS), 2 * SECOND - PACER_BURST_NS);
    cr_assert_eq(pacer_take(&pacer, 0, START_NS + SECOND), SECOND - PACER_BURST_NS);
}

/* One who obeys sends exactly the rate, whatever the size of the pieces. */
Test(pacer, the_rate_is_kept, .timeout = 30)
{
    static const uint64_t pieces[] = {4096, 65536, MIB, 7 * MIB + 4096};

    for (int i = 0; i < 4; i++) {
        struct pacer pacer = {.bandwidth_bps = 10 * GIGABIT};
        uint64_t now_ns = START_NS, sent = 0;

        while (now_ns < START_NS + 2 * SECOND) {
            now_ns += pacer_take(&pacer, pieces[i], now_ns);
            sent += pieces[i];
        }
        cr_assert_float_eq((double)sent * 8 / 2, 10e9, 10e9 * 0.01, "pieces of %lu: %lu bytes", pieces[i], sent);
    }
}

Test(pacer, a_pause_makes_no_flood)
{
    struct pacer pacer = {.bandwidth_bps = GIGABIT};
    uint64_t burst_bytes = PACER_BURST_NS / 8;

    cr_assert_eq(pacer_take(&pacer, MIB, START_NS), 0);
    for (uint64_t sent = 0; sent < burst_bytes; sent += burst_bytes / 10)
        cr_assert_eq(pacer_take(&pacer, burst_bytes / 10, START_NS + 60 * SECOND), 0);
    cr_assert_eq(pacer_take(&pacer, 125000, START_NS + 60 * SECOND), 0);
    cr_assert_eq(pacer_take(&pacer, 0, START_NS + 60 * SECOND), SECOND / 1000, "the minute's rest is forgotten");
}

Test(pacer, a_clock_near_zero)
{
    struct pacer pacer = {.bandwidth_bps = GIGABIT};

    cr_assert_eq(pacer_take(&pacer, 125000, 0), 0);
    cr_assert_eq(pacer_take(&pacer, 0, 0), SECOND / 1000);
}

Test(pacer, a_gibibyte_at_a_kilobit_does_not_overflow)
{
    struct pacer pacer = {.bandwidth_bps = 1000};
    uint64_t wait_ns;

    pacer_take(&pacer, 1ull << 30, START_NS);
    wait_ns = pacer_take(&pacer, 0, START_NS);
    cr_assert_float_eq((double)wait_ns, (double)(1ull << 30) * 8e9 / 1000, 1e12);
}

/* ---- several workers share one allowance ---- */

#define THREADS 4
#define TAKES   20000u
#define PIECE   4096u

static void *worker(void *pacer)
{
    for (uint32_t i = 0; i < TAKES; i++)
        pacer_take(pacer, PIECE, START_NS);
    return NULL;
}

Test(pacer, no_take_of_several_threads_is_lost, .timeout = 60)
{
    struct pacer pacer = {.bandwidth_bps = GIGABIT};
    pthread_t threads[THREADS];
    uint64_t cost_ns = PIECE * 8;

    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, worker, &pacer), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(pacer_take(&pacer, 0, START_NS), THREADS * TAKES * cost_ns - PACER_BURST_NS);
}
