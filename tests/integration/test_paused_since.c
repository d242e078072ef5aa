/* SPDX-License-Identifier: BSD-2-Clause */
/* Downtime counts from the moment that the VMM names, where its pause lets the guest run for a while; a moment that
 * cannot be is not believed. */
#include <criterion/criterion.h>
#include <time.h>

#include "tests/common/pair.h"
#include "transport/clock.h"

#define MIB      (1ull << 20)
#define RUNS_MS  300 /* in pause, before the guest stands still */
#define SHORT_NS (RUNS_MS * NS_PER_MS)

static struct script {
    struct tern_vm vm;
    uint64_t called_ns, stopped_ns;
} script;

static int slow_pause(void *opaque, struct tern_error *error)
{
    script.called_ns = clock_now_ns();
    nanosleep(&(struct timespec){.tv_nsec = SHORT_NS}, NULL);
    script.stopped_ns = clock_now_ns();
    return script.vm.pause(opaque, error);
}

static uint64_t when_it_stopped(void *opaque)
{
    (void)opaque;
    return script.stopped_ns;
}

static uint64_t before_all(void *opaque)
{
    (void)opaque;
    return 1;
}

static uint64_t in_the_future(void *opaque)
{
    (void)opaque;
    return UINT64_MAX;
}

static struct tern_ledger move(uint64_t (*paused_since)(void *opaque), uint64_t *downtime_ns)
{
    static const struct process_guest_config idle = {.memory_bytes = 8 * MIB, .random_bytes = 4 * MIB, .seed = 3};
    struct tern_ledger ledger;
    struct pair pair;

    pair_init(&pair, &idle, NULL, pair_host(false));
    script = (struct script){.vm = pair.source_vm};
    pair.source_vm.pause = slow_pause;
    pair.source_vm.paused_since = paused_since;
    pair_run(&pair);
    pair_check_moved(&pair); /* the ledger adds up, too */
    ledger = pair.source_result.ledger;
    *downtime_ns = pair.source_result.downtime_ns;
    pair_free(&pair);
    return ledger;
}

Test(paused_since, without_it_the_call_of_pause_counts, .timeout = 30)
{
    uint64_t downtime_ns;

    cr_assert_geq(move(NULL, &downtime_ns).stop_ns, SHORT_NS);
    cr_assert_geq(downtime_ns, SHORT_NS);
}

Test(paused_since, the_moment_that_it_names_counts, .timeout = 30)
{
    uint64_t downtime_ns, from_stop_ns;

    move(when_it_stopped, &downtime_ns);
    from_stop_ns = clock_now_ns() - script.stopped_ns;
    cr_assert_geq(script.stopped_ns - script.called_ns, SHORT_NS);
    cr_assert_leq(downtime_ns, from_stop_ns); /* it would be more by what the guest ran in pause */
}

Test(paused_since, a_moment_before_the_call_is_not_believed, .timeout = 30)
{
    uint64_t downtime_ns;
    struct tern_ledger ledger = move(before_all, &downtime_ns);

    cr_assert_geq(ledger.stop_ns, SHORT_NS);
    cr_assert_lt(downtime_ns, clock_now_ns() - script.called_ns + NS_PER_S);
}

Test(paused_since, nor_is_one_in_the_future, .timeout = 30)
{
    uint64_t downtime_ns;

    cr_assert_eq(move(in_the_future, &downtime_ns).stop_ns, 0);
}
