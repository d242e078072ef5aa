/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole migrations over tcp on this machine, over verbs in the lab. Memory is compared byte for byte before the guest
 * runs at the destination. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/huge_pages.h"
#include "tests/common/pair.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static const struct process_guest_config busy = {
    .memory_bytes = 128 * MIB,
    .high_bytes = 32 * MIB,
    .random_bytes = 48 * MIB,
    .working_set_bytes = 16 * MIB,
    .dirty_pages_ps = 20000,
    .seed = 7,
};

static void moves(const struct process_guest_config *config, const char *host)
{
    struct pair pair;

    pair_init(&pair, config, NULL, host);
    pair_run(&pair);
    pair_check_moved(&pair);
    pair_free(&pair);
}

Test(migration, busy_guest_moves, .timeout = 60)
{
    moves(&busy, pair_host(false));
}

Test(migration, over_ipv6, .timeout = 60)
{
    moves(&busy, pair_host(true));
}

Test(migration, guest_that_writes_nothing, .timeout = 60)
{
    struct process_guest_config config = busy;

    config.working_set_bytes = 0;
    moves(&config, pair_host(false));
}

Test(migration, guest_that_never_touched_its_memory, .timeout = 60)
{
    struct process_guest_config config = {.memory_bytes = 64 * MIB};

    moves(&config, pair_host(false));
}

Test(migration, hot_and_cold, .timeout = 60)
{
    struct process_guest_config config = busy;

    config.pattern = PROCESS_GUEST_HOT_COLD;
    config.working_set_bytes = 96 * MIB;
    moves(&config, pair_host(false));
}

Test(migration, sequential_writer_above_4_gib, .timeout = 60)
{
    struct process_guest_config config = busy;

    config.pattern = PROCESS_GUEST_SEQUENTIAL;
    config.working_set_bytes = 128 * MIB;
    moves(&config, pair_host(false));
}

Test(migration, shared_memory, .timeout = 60)
{
    struct process_guest_config config = busy;

    config.shared = true;
    moves(&config, pair_host(false));
}

Test(migration, synchronous_tracker, .timeout = 60)
{
    struct process_guest_config config = busy;

    config.sync_tracker = true;
    moves(&config, pair_host(false));
}

static int reserved_before = -1; /* pages of 1 GiB: too much to keep */

/* False: this machine has none of that size. The lab has, so there it is a failure. */
static bool reserve(uint64_t page_bytes, int n)
{
    int before = huge_pages_count(page_bytes, "nr_hugepages");
    bool there = huge_pages_reserve(page_bytes, n);

    if (huge_pages_count(page_bytes, "nr_hugepages") != before)
        reserved_before = before;
    cr_assert(there || !getenv("TERN_LAB_HOST"), "no %d pages of %llu MiB", n, (unsigned long long)(page_bytes / MIB));
    return there;
}

static void give_back_1_gib(void)
{
    if (reserved_before >= 0)
        huge_pages_set(GIB, reserved_before);
}

/* One byte makes a whole huge page dirty, so a throttled guest's last round is no smaller than its working set. */
static void moves_in_huge_pages(const struct process_guest_config *config)
{
    struct pair pair;

    pair_init(&pair, config, NULL, pair_host(false));
    pair.source_options.downtime_limit_ns = 100000000000;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_gt(pair.source_result.rounds, 1, "nothing was written while it moved");
    pair_free(&pair);
}

Test(migration, huge_pages_of_2_mib, .timeout = 60)
{
    struct process_guest_config config = busy;

    cr_assert(reserve(2 * MIB, 136));
    config.page_bytes = 2 * MIB;
    moves_in_huge_pages(&config);
}

Test(migration, huge_pages_of_1_gib, .timeout = 120, .fini = give_back_1_gib)
{
    struct process_guest_config config = busy;

    if (!reserve(GIB, 2))
        cr_skip_test("no huge pages of 1 GiB on this machine; the lab has them");
    config.page_bytes = config.memory_bytes = GIB;
    config.high_bytes = 0;
    moves_in_huge_pages(&config);
}

Test(migration, every_number_of_lanes, .timeout = 120)
{
    for (uint32_t lanes = 1; lanes <= 8; lanes *= 2) {
        struct pair pair;

        pair_init(&pair, &busy, NULL, pair_host(false));
        pair.source_options.lanes = lanes;
        pair_run(&pair);
        pair_check_moved(&pair);
        cr_assert_eq(pair.source_result.lanes, lanes);
        pair_free(&pair);
    }
}

Test(migration, zero_pages_are_not_sent, .timeout = 60)
{
    struct pair pair;
    struct process_guest_config config = busy;

    config.working_set_bytes = 0;
    pair_init(&pair, &config, NULL, pair_host(false));
    memset(process_guest_at(pair.source, 4 * MIB), 0, 4 * MIB); /* touched, and zero */
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_eq(pair.source_result.pages_sent, 44 * MIB / TERN_PAGE_BYTES);
    cr_assert_geq(pair.source_result.zero_pages, 4 * MIB / TERN_PAGE_BYTES);
    pair_free(&pair);
}

static void zero_after_round_one(struct pair *pair, const struct tern_event *event)
{
    if (event->kind == TERN_EVENT_ROUND && event->round == 1)
        memset(process_guest_at(pair->source, 20 * MIB), 0, 8 * MIB);
}

Test(migration, page_that_becomes_zero_is_cleared, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.on_source_event = zero_after_round_one;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_eq(*process_guest_at(pair.destination, 21 * MIB), 0);
    pair_free(&pair);
}

Test(migration, without_verify, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.source_options.verify = false;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert(!pair.source_result.verified);
    pair_free(&pair);
}

Test(migration, bandwidth_is_kept, .timeout = 60)
{
    struct pair pair;
    struct process_guest_config config = busy;

    config.working_set_bytes = 0;
    pair_init(&pair, &config, NULL, pair_host(false));
    pair.source_options.bandwidth_bps = 800000000; /* 48 MiB take half a second */
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_leq(pair.source_result.mean_bps, 880000000, "%llu", (unsigned long long)pair.source_result.mean_bps);
    pair_free(&pair);
}

/* Within a round as at its end: what is known by then. */
static void count_progress(struct pair *pair, const struct tern_event *event)
{
    uint32_t *told = pair->hook_opaque;

    if (event->kind == TERN_EVENT_PROGRESS && event->predicted_downtime_ns && event->throttle_percent)
        (*told)++;
}

Test(migration, writer_faster_than_the_network_is_throttled, .timeout = 90)
{
    struct pair pair;
    struct process_guest_config config = busy;
    uint32_t told = 0;

    config.working_set_bytes = 96 * MIB;
    config.dirty_pages_ps = 60000;
    pair_init(&pair, &config, NULL, pair_host(false));
    pair.source_options.bandwidth_bps = 1000000000; /* the working set takes 0.8 s */
    pair.source_options.downtime_limit_ns /= 2;
    pair.on_source_event = count_progress;
    pair.hook_opaque = &told;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_gt(told, 0, "no progress event told of the throttle and the downtime");
    pair_free(&pair);
}

Test(migration, writer_faster_than_the_network_is_given_up_if_asked, .timeout = 90)
{
    struct pair pair;
    struct process_guest_config config = busy;

    config.working_set_bytes = 96 * MIB;
    config.dirty_pages_ps =
        0; /* as fast as it goes: slowly, where each page's first write is a fault that tern serves */
    pair_init(&pair, &config, NULL, pair_host(false));
    pair.source_options.bandwidth_bps = 200000000;
    pair.source_options.downtime_limit_ns = 10000000; /* some 60 pages */
    pair.source_options.on_no_converge = TERN_NO_CONVERGE_ABORT;
    pair_run(&pair);
    pair_check_stayed(&pair);
    pair_free(&pair);
}

Test(migration, there_and_back, .timeout = 120)
{
    struct tern_vm vm;
    struct pair pair, back;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair_run(&pair);
    pair_check_moved(&pair);
    pair_init(&back, &busy, NULL, pair_host(false));
    process_guest_destroy(back.source);
    back.source = pair.destination;
    cr_assert_eq(process_guest_load_tracker(back.source, NULL), 0);
    process_guest_describe(back.source, &vm);
    back.source_vm = vm;
    pair_run(&back);
    pair_check_moved(&back);
    process_guest_destroy(pair.source);
    pair_free(&back);
}
