/* SPDX-License-Identifier: BSD-2-Clause */
/* Convergence against simulated guests: the decisions end in bounded rounds, and where the limit was promised the
 * simulator's own downtime keeps it. The simulator knows the truth; the decisions see only what a session would
 * measure. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "migrate/converge.h"
#include "migrate/estimate.h"

#define MS   1000000ull
#define S    1000000000ull
#define MIB  1048576ull
#define GIB  (1024 * MIB)
#define PAGE 4096.0

/* A guest: two sets of pages, each written uniformly at a rate (page writes a second). burst_*: the cold set's rate is
 * multiplied for burst_share of each burst_ns. */
struct guest {
    const char *name;
    double memory_bytes, hot_bytes, hot_writes_ps, cold_writes_ps;
    double burst_ns, burst_share, burst_factor;
    double bytes_ps, noise; /* the network: mean, and +- share from round to round */
    double scattered;       /* share of bytes_ps that rounds after the first reach */
    double fixed_ns;        /* true pause + state + activate */
};

struct ending {
    enum converge_kind kind;
    bool limit_missed;
    uint32_t rounds, throttle;
    double downtime_ns, elapsed_ns;
    char text[CONVERGE_TEXT_BYTES];
    char hint[TERN_ERROR_HINT_BYTES];
};

/* Repeatable noise in -1..1. */
static double noise(uint32_t round)
{
    uint32_t x = (round + 1) * 2654435761u;

    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (double)(x & 0xffff) / 32767.5 - 1;
}

static double unique_pages(double set_bytes, double writes)
{
    double pages = set_bytes / PAGE;

    return pages > 0 ? pages * (1 - exp(-writes / pages)) : 0;
}

/* Pages dirtied between two moments, throttled. */
static double dirtied_pages(const struct guest *guest, double from_ns, double to_ns, uint32_t throttle)
{
    double share = 1 - throttle / 100.0, seconds = (to_ns - from_ns) / 1e9, cold = guest->cold_writes_ps * seconds;

    if (guest->burst_ns > 0) {
        double in_burst = 0, step = (to_ns - from_ns) / 64;

        for (int i = 0; i < 64; i++)
            in_burst += fmod(from_ns + step * i, guest->burst_ns) < guest->burst_ns * guest->burst_share;
        cold *= 1 + (guest->burst_factor - 1) * in_burst / 64;
    }
    return unique_pages(guest->hot_bytes, guest->hot_writes_ps * seconds * share) +
           unique_pages(guest->memory_bytes - guest->hot_bytes, cold * share);
}

static double true_bytes_ps(const struct guest *guest, uint32_t round)
{
    double rate = guest->bytes_ps * (1 + guest->noise * noise(round));

    return round > 1 && guest->scattered > 0 ? rate * guest->scattered : rate;
}

static void measure(const struct estimate *estimate, uint32_t round, double now_ns, double left_bytes,
                    struct converge_round *out)
{
    uint64_t left = (uint64_t)left_bytes;

    *out = (struct converge_round){
        .round = round,
        .elapsed_ns = (uint64_t)now_ns,
        .left_bytes = left,
        .page_bytes = (uint64_t)PAGE,
        .bytes_ps = estimate_bytes_ps(estimate),
        .dirty_pages_ps = estimate_dirty_pages_ps(estimate),
        .downtime_ns = estimate_downtime_ns(estimate, left),
        .fixed_ns = estimate_fixed_ns(estimate),
        .backlog_ns = estimate_backlog_ns(estimate),
        .digest_ns = estimate_digest_ns(estimate, left),
        .round_ns = estimate_round_ns(estimate, left),
    };
}

static void simulate(const struct guest *guest, const struct converge_options *options, struct ending *out)
{
    double scan_ns = 20e3 + guest->memory_bytes / GIB * 500e3, trip_ns = 100e3;
    double left = guest->memory_bytes, now = 0;
    struct converge_decision decision;
    struct converge_round measured;
    struct converge converge;
    struct estimate estimate;

    converge_init(&converge, options);
    estimate_init(&estimate, (uint64_t)PAGE);
    estimate.costs.pause_ns = estimate.costs.state_ns = estimate.costs.activate_ns = (uint64_t)(guest->fixed_ns / 3);
    memset(out, 0, sizeof(*out));
    for (uint32_t round = 1; round <= 2 * CONVERGE_ROUNDS_MAX; round++) {
        double send_ns = left / true_bytes_ps(guest, round) * 1e9 + trip_ns, began = now;
        double dirty;

        now += send_ns + scan_ns;
        dirty = dirtied_pages(guest, began, now, converge.throttle_percent);
        estimate_add_round(&estimate, &(struct estimate_round){(uint64_t)left, (uint64_t)send_ns, (uint64_t)dirty,
                                                               (uint64_t)(now - began), (uint64_t)scan_ns});
        estimate_add_round_trip(&estimate, (uint64_t)trip_ns);
        left = dirty * PAGE;
        measure(&estimate, round, now, left, &measured);
        converge_decide(&converge, &measured, &decision);
        cr_assert(decision.kind == CONVERGE_CONTINUE || decision.kind == CONVERGE_SWITCH_OVER || decision.text[0],
                  "%s: a decision without a word", guest->name);
        cr_assert_eq(decision.throttle_percent, converge.throttle_percent);
        out->rounds = round;
        out->kind = decision.kind;
        if (decision.kind == CONVERGE_SWITCH_OVER || decision.kind == CONVERGE_ABORT)
            break;
    }
    cr_assert(out->kind == CONVERGE_SWITCH_OVER || out->kind == CONVERGE_ABORT, "%s never ends", guest->name);
    left += PAGE * dirtied_pages(guest, now, now + scan_ns + guest->fixed_ns / 3, converge.throttle_percent);
    out->downtime_ns =
        guest->fixed_ns + scan_ns + 3 * trip_ns + (left + 65536) / true_bytes_ps(guest, out->rounds + 1) * 1e9;
    out->elapsed_ns = now;
    out->limit_missed = decision.limit_missed;
    out->throttle = converge.throttle_percent;
    memcpy(out->text, decision.text, sizeof(out->text));
    memcpy(out->hint, decision.hint, sizeof(out->hint));
}

/* name, memory, hot set, hot writes/s, cold writes/s, burst ns, share, factor, network, noise, scattered, fixed */
static const struct guest guests[] = {
    {"idle", 4.0 * GIB, 0, 0, 20, 0, 0, 0, 2e9, 0.05, 1, 1e6},
    {"tiny", 16.0 * MIB, 0, 0, 1000, 0, 0, 0, 1e9, 0.05, 1, 1e6},
    {"uniform, 50,000 pages/s", 4.0 * GIB, 0, 0, 50e3, 0, 0, 0, 2e9, 0.05, 0.8, 1e6},
    {"uniform, half the network", 8.0 * GIB, 0, 0, 120e3, 0, 0, 0, 1e9, 0.05, 1, 1e6},
    {"uniform, as fast as the network", 8.0 * GIB, 0, 0, 250e3, 0, 0, 0, 1e9, 0.05, 1, 1e6},
    {"uniform, five times the network", 8.0 * GIB, 0, 0, 1.2e6, 0, 0, 0, 1e9, 0.05, 1, 1e6},
    {"hot set that fits the limit", 4.0 * GIB, 16.0 * MIB, 2e6, 100, 0, 0, 0, 1e9, 0.03, 1, 1e6},
    {"hot set that does not", 4.0 * GIB, 256.0 * MIB, 2e6, 1000, 0, 0, 0, 1e9, 0.05, 1, 1e6},
    {"bursts", 4.0 * GIB, 0, 0, 10e3, 2e9, 0.25, 40, 1e9, 0.05, 1, 1e6},
    {"short bursts", 4.0 * GIB, 8.0 * MIB, 1e5, 10e3, 1e8, 0.3, 30, 1e9, 0.05, 1, 1e6},
    {"uneven network", 4.0 * GIB, 0, 0, 30e3, 0, 0, 0, 1e9, 0.09, 0.7, 1e6},
    {"slow network", 2.0 * GIB, 4.0 * MIB, 1e4, 50, 0, 0, 0, 40e6, 0.05, 1, 5e6},
    {"scattered pages go at a quarter", 4.0 * GIB, 32.0 * MIB, 1e5, 100, 0, 0, 0, 2e9, 0.02, 0.25, 1e6},
    {"huge", 4096.0 * GIB, 64.0 * MIB, 1e6, 100e3, 0, 0, 0, 12e9, 0.05, 0.8, 5e6},
    {"huge and busy", 2048.0 * GIB, 8.0 * GIB, 3e6, 500e3, 0, 0, 0, 10e9, 0.05, 0.8, 5e6},
};
#define N_GUESTS (sizeof(guests) / sizeof(guests[0]))

static const uint64_t limits_ns[] = {10 * MS, 50 * MS, 300 * MS, 2000 * MS};

static void check_promise(const struct guest *guest, uint64_t limit_ns, const struct ending *end)
{
    if (end->kind == CONVERGE_SWITCH_OVER && !end->limit_missed)
        cr_assert_leq(end->downtime_ns, 1.1 * (double)limit_ns, "%s, limit %.0f ms: %.1f ms after %u rounds",
                      guest->name, (double)limit_ns / 1e6, end->downtime_ns / 1e6, end->rounds);
    cr_assert_leq(end->rounds, 200, "%s took %u rounds", guest->name, end->rounds);
}

Test(converge, every_guest_ends_and_the_promise_holds, .timeout = 60)
{
    int n_switched = 0;

    for (size_t i = 0; i < N_GUESTS; i++) {
        for (size_t l = 0; l < 4; l++) {
            for (int policy = 0; policy < 3; policy++) {
                struct converge_options options = {.downtime_limit_ns = limits_ns[l],
                                                   .on_no_converge =
                                                       policy == 1 ? TERN_NO_CONVERGE_ABORT : TERN_NO_CONVERGE_THROTTLE,
                                                   .can_throttle = policy == 0};
                struct ending end;

                simulate(&guests[i], &options, &end);
                check_promise(&guests[i], limits_ns[l], &end);
                cr_assert(!end.limit_missed, "nobody consented to a miss");
                cr_assert(policy == 0 || end.throttle == 0, "%s was throttled against orders", guests[i].name);
                n_switched += end.kind == CONVERGE_SWITCH_OVER;
            }
        }
    }
    cr_assert_gt(n_switched, 100, "only %d of the guests moved", n_switched);
}

Test(converge, the_deadline_is_kept, .timeout = 60)
{
    for (size_t i = 0; i < N_GUESTS; i++) {
        for (int policy = 0; policy < 2; policy++) {
            struct converge_options options = {.downtime_limit_ns = 50 * MS,
                                               .deadline_ns = 20 * S,
                                               .on_no_converge =
                                                   policy ? TERN_NO_CONVERGE_ABORT : TERN_NO_CONVERGE_THROTTLE,
                                               .can_throttle = true};
            struct ending end;

            simulate(&guests[i], &options, &end);
            check_promise(&guests[i], options.downtime_limit_ns, &end);
            if (policy == 0)
                cr_assert_eq(end.kind, CONVERGE_SWITCH_OVER, "%s: %s", guests[i].name, end.text);
            else
                cr_assert(!end.limit_missed);
            /* Where the first round alone is longer, that is converge_overdue's to say. */
            if (guests[i].memory_bytes / guests[i].bytes_ps < 15)
                cr_assert_leq(end.elapsed_ns + end.downtime_ns, 21e9, "%s: %.1f s", guests[i].name,
                              (end.elapsed_ns + end.downtime_ns) / 1e9);
        }
    }
}

static void run_guest(const char *name, uint64_t limit_ns, enum tern_no_converge policy, struct ending *end)
{
    struct converge_options options = {.downtime_limit_ns = limit_ns, .on_no_converge = policy, .can_throttle = true};

    for (size_t i = 0; i < N_GUESTS; i++) {
        if (strcmp(guests[i].name, name) == 0) {
            simulate(&guests[i], &options, end);
            return;
        }
    }
    cr_assert_fail("no guest %s", name);
}

Test(converge, an_idle_guest_goes_at_once_and_briefly)
{
    struct ending end;

    run_guest("idle", 50 * MS, TERN_NO_CONVERGE_THROTTLE, &end);
    cr_assert_eq(end.kind, CONVERGE_SWITCH_OVER);
    cr_assert_leq(end.rounds, 3);
    cr_assert_leq(end.downtime_ns, 6e6);
    cr_assert_str_eq(end.text, "");
}

/* Cheap rounds that halve what is left are done even where the limit would allow to stop. */
Test(converge, a_shrinking_guest_is_polished)
{
    struct ending end;

    run_guest("uniform, 50,000 pages/s", 300 * MS, TERN_NO_CONVERGE_ABORT, &end);
    cr_assert_eq(end.kind, CONVERGE_SWITCH_OVER);
    cr_assert_leq(end.downtime_ns, 60e6, "%.1f ms", end.downtime_ns / 1e6);
    cr_assert_leq(end.rounds, 6);
}

Test(converge, a_hot_set_that_fits_goes_without_throttling)
{
    struct ending end;

    run_guest("hot set that fits the limit", 50 * MS, TERN_NO_CONVERGE_THROTTLE, &end);
    cr_assert_eq(end.kind, CONVERGE_SWITCH_OVER);
    cr_assert_eq(end.throttle, 0);
    cr_assert_leq(end.rounds, 6);
}

Test(converge, a_guest_that_is_too_fast_is_throttled_or_given_up)
{
    struct ending end;

    run_guest("uniform, five times the network", 50 * MS, TERN_NO_CONVERGE_THROTTLE, &end);
    cr_assert_eq(end.kind, CONVERGE_SWITCH_OVER);
    cr_assert_geq(end.throttle, 70);
    run_guest("uniform, five times the network", 50 * MS, TERN_NO_CONVERGE_ABORT, &end);
    cr_assert_eq(end.kind, CONVERGE_ABORT);
    cr_assert_leq(end.rounds, 8);
    cr_assert(strstr(end.text, "the guest dirties") && strstr(end.text, "the lanes carry") && strstr(end.text, "50 ms"),
              "%s", end.text);
    cr_assert(strstr(end.hint, "--downtime-limit"), "%s", end.hint);
}

/* ---- single rules ---- */

static struct converge_round stalled_round(uint32_t round)
{
    return (struct converge_round){.round = round,
                                   .elapsed_ns = round * S,
                                   .left_bytes = 512 * MIB,
                                   .page_bytes = 4096,
                                   .bytes_ps = 1000 * MIB,
                                   .dirty_pages_ps = 256000,
                                   .downtime_ns = 515 * MS,
                                   .fixed_ns = 3 * MS,
                                   .round_ns = 512 * MS};
}

Test(converge, throttling_goes_up_step_by_step_to_the_last)
{
    static const uint32_t steps[] = {20, 30, 40, 50, 60, 70, 80, 90, 99};
    struct converge_options options = {.downtime_limit_ns = 50 * MS, .can_throttle = true};
    struct converge_decision decision;
    struct converge converge;
    uint32_t n_steps = 0, round = 0;

    converge_init(&converge, &options);
    do {
        struct converge_round stalled = stalled_round(++round);

        converge_decide(&converge, &stalled, &decision);
        if (decision.kind != CONVERGE_THROTTLE)
            continue;
        cr_assert_lt(n_steps, 9);
        cr_assert_eq(decision.throttle_percent, steps[n_steps], "%u", decision.throttle_percent);
        cr_assert(strstr(decision.text, "of the guest's time"), "%s", decision.text);
        n_steps++;
    } while (decision.kind != CONVERGE_ABORT && round < 100);
    cr_assert_eq(n_steps, 9);
    cr_assert_eq(decision.kind, CONVERGE_ABORT);
    cr_assert_leq(round, 30);
}

Test(converge, a_limit_below_the_fixed_costs_is_said)
{
    struct converge_options options = {.downtime_limit_ns = 2 * MS, .can_throttle = true};
    struct converge_decision decision = {0};
    struct converge converge;

    converge_init(&converge, &options);
    for (uint32_t round = 1; round <= 2 * CONVERGE_FIXED_ROUNDS && decision.kind == CONVERGE_CONTINUE; round++) {
        struct converge_round empty = stalled_round(round);

        empty.left_bytes = 0;
        empty.downtime_ns = empty.fixed_ns;
        empty.round_ns = 0;
        converge_decide(&converge, &empty, &decision);
    }
    cr_assert_eq(decision.kind, CONVERGE_ABORT);
    cr_assert(strstr(decision.text, "below what a switchover takes"), "%s", decision.text);
    cr_assert(strstr(decision.hint, "3.3 ms"), "%s", decision.hint);
}

/* A machine that was busy elsewhere for a moment weighs on the estimates of several rounds. */
Test(converge, one_slow_scan_is_no_reason_to_give_up)
{
    struct converge_options options = {.downtime_limit_ns = 20 * MS, .can_throttle = true};
    struct converge_decision decision = {0};
    struct estimate estimate;
    struct converge converge;
    uint64_t now = S;

    converge_init(&converge, &options);
    estimate_init(&estimate, 4096);
    for (uint32_t round = 1; round <= CONVERGE_ROUNDS_MAX && decision.kind == CONVERGE_CONTINUE; round++) {
        struct estimate_round sent = {.sent_bytes = round == 1 ? 512 * MIB : 0,
                                      .send_ns = round == 1 ? S : MS,
                                      .dirty_ns = MS,
                                      .scan_ns = round == 2 ? 300 * MS : MS / 2};
        struct converge_round measured;

        estimate_add_round(&estimate, &sent);
        measure(&estimate, round, (double)now, round == 1 ? 4 * MIB : 0, &measured);
        if (round == 1) /* not yet: it is the second one that the machine disturbs */
            measured.downtime_ns = 30 * MS;
        converge_decide(&converge, &measured, &decision);
        now += 2 * MS + decision.settle_ns;
    }
    cr_assert_eq(decision.kind, CONVERGE_SWITCH_OVER, "%s", decision.text);
    cr_assert(!decision.limit_missed);
    cr_assert_lt(now, 2 * S);
}

Test(converge, digests_that_are_behind_are_waited_for_and_not_throttled)
{
    struct converge_options options = {.downtime_limit_ns = 50 * MS, .can_throttle = true};
    struct converge_round round = stalled_round(1);
    struct converge_decision decision;
    struct converge converge;
    uint32_t n = 0;

    round.left_bytes = 10 * MIB;
    round.round_ns = 10 * MS;
    round.backlog_ns = 400 * MS;
    round.digest_ns = 400 * MS;
    round.downtime_ns = 413 * MS;
    converge_init(&converge, &options);
    do {
        converge_decide(&converge, &round, &decision);
        if (decision.kind == CONVERGE_CONTINUE && decision.settle_ns)
            cr_assert_eq(decision.settle_ns, 400 * MS);
        round.round++;
    } while (decision.kind == CONVERGE_CONTINUE && ++n < 100);
    cr_assert_geq(n, CONVERGE_SETTLE_MAX);
    cr_assert_eq(decision.kind, CONVERGE_THROTTLE, "a backlog that never shrinks is no reason to wait for ever");
}

/* The first pages that the destination digested took a moment in which its machine was busy: what is left seems to take
 * as long, which is no reason to give up before it has digested more. */
Test(converge, digests_that_seem_slow_are_waited_for)
{
    struct converge_options options = {.downtime_limit_ns = 50 * MS};
    struct converge_round round = stalled_round(1);
    struct converge_decision decision;
    struct converge converge;
    struct estimate estimate;

    estimate_init(&estimate, (uint64_t)PAGE);
    estimate_add_round(&estimate, &(struct estimate_round){64 * MIB, 64 * MS, 0, 64 * MS, MS / 10});
    estimate_add_round(&estimate, &(struct estimate_round){MIB, MS, 100, MS, MS / 10});
    estimate_set_digest(&estimate, 8192, 400);
    converge_init(&converge, &options);
    for (uint32_t i = 1; i < 10; i++) {
        measure(&estimate, i, i * MS, 100 * PAGE, &round);
        cr_assert_gt(round.downtime_ns, 20 * S);
        converge_decide(&converge, &round, &decision);
        cr_assert_eq(decision.kind, CONVERGE_CONTINUE, "%s", decision.text);
        cr_assert_gt(decision.settle_ns, 0);
    }
    estimate_set_digest(&estimate, 0, 250000);
    measure(&estimate, 10, 10 * MS, 100 * PAGE, &round);
    converge_decide(&converge, &round, &decision);
    cr_assert_eq(decision.kind, CONVERGE_SWITCH_OVER, "%s", decision.text);
}

/* A guest that cannot be throttled, and writes much for a moment. */
Test(converge, a_short_burst_is_no_reason_to_give_up)
{
    struct converge_options options = {.downtime_limit_ns = 50 * MS};
    struct converge_round round = stalled_round(1);
    struct converge_decision decision = {0};
    struct converge converge;

    converge_init(&converge, &options);
    for (round.round = 1; decision.kind == CONVERGE_CONTINUE; round.round++) {
        round.elapsed_ns = round.round * 12 * MS;
        converge_decide(&converge, &round, &decision);
    }
    cr_assert_eq(decision.kind, CONVERGE_ABORT);
    cr_assert_geq(round.elapsed_ns, CONVERGE_STALL_NS);
    cr_assert_leq(round.elapsed_ns, CONVERGE_STALL_NS + 100 * MS);
}

Test(converge, within_a_round_the_deadline_is_seen)
{
    struct converge_options options = {.downtime_limit_ns = 50 * MS, .deadline_ns = S};
    struct converge_decision decision;
    struct converge converge;

    converge_init(&converge, &options);
    cr_assert(!converge_overdue(&converge, S - 1, 7 * MIB, &decision));
    cr_assert(converge_overdue(&converge, S, 7 * MIB, &decision));
    cr_assert(decision.kind == CONVERGE_SWITCH_OVER && decision.limit_missed);
    cr_assert(strstr(decision.text, "7.0 MiB"), "%s", decision.text);
    options.on_no_converge = TERN_NO_CONVERGE_ABORT;
    converge_init(&converge, &options);
    cr_assert(converge_overdue(&converge, S, 7 * MIB, &decision));
    cr_assert_eq(decision.kind, CONVERGE_ABORT);
    options.deadline_ns = 0;
    converge_init(&converge, &options);
    cr_assert(!converge_overdue(&converge, UINT64_MAX, 0, &decision));
}
