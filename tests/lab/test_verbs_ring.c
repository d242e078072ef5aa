/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that is not registered goes through rings, at either side or both: bytes, order, and whole migrations within a
 * limit of 8 MiB. Run in the lab by suite_verbs_errors.sh. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lab/verbs_child.h"
#include "tests/lab/verbs_ends.h"

#define PAGE 4096u

static const enum link_register ways[] = {LINK_REGISTER_AUTO, LINK_REGISTER_RING};

static void join(struct ends *ends, enum link_register source, enum link_register destination)
{
    ends_init(ends, pair_host(false));
    ends->source_registers = source;
    ends->options.registration = destination;
    ends_join(ends);
}

static void post_all(struct ends *ends, uint32_t lane, const struct link_run *runs, size_t n)
{
    struct tern_error error = {0};
    int r;

    for (size_t at = 0; at < n; at += (size_t)r) {
        r = link_verbs.post(ends->source, lane, runs + at, n - at, &error);
        cr_assert_geq(r, 0, "%s", error.message);
        if (at + (size_t)r < n)
            cr_assert_eq(link_verbs.wait(ends->source, lane, LINK_WAIT_ROOM, 20000, &error), 0, "%s", error.message);
    }
}

static void fence_all(struct ends *ends, uint32_t round)
{
    struct tern_error error = {0};

    for (uint32_t i = 0; i < N_LANES; i++)
        cr_assert_eq(link_verbs.fence(ends->source, i, round, &error), 0, "%s", error.message);
    for (uint32_t i = 0; i < N_LANES; i++)
        cr_assert_eq(link_verbs.wait(ends->source, i, LINK_WAIT_DRAINED, 20000, &error), 0, "%s", error.message);
    cr_assert_eq(link_verbs.wait_fence(ends->destination, round, 20000, &error), 0, "%s", error.message);
}

Test(ring, all_of_a_region_arrives_whoever_has_one, .timeout = 120)
{
    for (int source = 0; source < 2; source++)
        for (int destination = 0; destination < 2; destination++) {
            struct ends ends;

            join(&ends, ways[source], ways[destination]);
            ends_write_all(&ends);
            ends_free(&ends);
        }
}

/* Odd lengths and places: every third page, and what is no page, from both lanes. */
Test(ring, scattered_pages_and_odd_pieces_arrive, .timeout = 120)
{
    static struct link_run runs[REGION_BYTES / PAGE / 3];
    const size_t n = sizeof(runs) / sizeof(runs[0]);

    for (int way = 0; way < 4; way++) {
        struct ends ends;

        join(&ends, ways[way / 2], ways[way % 2]);
        for (size_t i = 0; i < n; i++)
            runs[i] = (struct link_run){0, i * 3 * PAGE + (i % 7 ? 0 : 5), i % 7 ? PAGE : 1000 + i};
        for (uint32_t lane = 0; lane < N_LANES; lane++)
            post_all(&ends, lane, runs + lane * n / N_LANES, n / N_LANES);
        fence_all(&ends, 1);
        for (size_t i = 0, at = 0; i < n / N_LANES * N_LANES; i++) {
            for (; at < runs[i].offset_bytes; at++)
                cr_assert_eq(ends.to[at], 0, "byte %zu was written", at);
            cr_assert_eq(memcmp(ends.from + at, ends.to + at, runs[i].length_bytes), 0, "run %zu", i);
            at += runs[i].length_bytes;
        }
        ends_free(&ends);
    }
}

/* A page that is sent again, by another lane each round: what a fence shows is the last of it, at once. */
Test(ring, what_is_sent_again_is_not_overtaken, .timeout = 180)
{
    for (int way = 1; way < 4; way++) {
        struct ends ends;

        join(&ends, ways[way / 2], ways[way % 2]);
        for (uint32_t round = 1; round <= 12; round++) {
            struct link_run runs[] = {{0, 0, REGION_BYTES / 4}, {0, 0, REGION_BYTES / 4}}; /* twice on one lane, too */

            memset(ends.from, (int)round, REGION_BYTES / 4);
            post_all(&ends, round % N_LANES, runs, 2);
            fence_all(&ends, round);
            cr_assert_eq(memcmp(ends.from, ends.to, REGION_BYTES / 4), 0, "round %u", round);
        }
        ends_free(&ends);
    }
}

Test(ring, pinning_that_is_forbidden_from_one_chunk_on, .timeout = 60)
{
    struct tern_error error = {0};
    struct ends ends;
    int source = 0, destination = 0;

    limit_memlock(9 * MIB, true); /* rings take some; two or three chunks fit */
    ends_init(&ends, pair_host(false));
    ends_listen(&ends);
    cr_assert_eq(ends_connect(&ends, ends.token, &error), 0, "%s", error.message);
    cr_assert_eq(link_verbs.source_add(ends.source, 0, ends.from, REGION_BYTES, &error), 0);
    for (uint64_t i = 0; i < N_CHUNKS; i++) {
        int r = link_verbs.destination_register_chunk(ends.destination, 0, i, &ends.keys[i], &error);

        cr_assert(r == 0 || r == 1, "%d: %s", r, error.message);
        cr_assert_eq(!ends.keys[i].address, r);
        destination += r;
        r = link_verbs.source_register_chunk(ends.source, 0, i, &error);
        cr_assert(r == 0 || r == 1, "%d: %s", r, error.message);
        source += r;
        link_verbs.source_set_key(ends.source, 0, i, ends.keys[i]);
    }
    says(&error, "RLIMIT_MEMLOCK is 9 MiB, of which");
    cr_assert(source && destination && source + destination < 8, "%d and %d of 4 chunks", source, destination);
    ends_write_all(&ends);
    ends_free(&ends);
}

/* ---- tuning ---- */

Test(tune, what_is_given_holds_and_the_rest_is_chosen, .timeout = 60)
{
    struct link_tuning none = {0}, given = {.write_bytes = 12288, .queue_depth = 8, .signal_every = 3}, out;
    struct ends ends;

    join(&ends, LINK_REGISTER_AUTO, LINK_REGISTER_AUTO);
    cr_assert_eq(link_verbs.tune(ends.source, 0, &none, 150, &out), 0);
    printf("%u bytes, %u deep, one in %u, %u samples, %.1f ms\n", out.write_bytes, out.queue_depth, out.signal_every,
           out.n_samples, (double)out.ns / 1e6);
    cr_assert(out.write_bytes >= 65536 && out.write_bytes <= MIB && !(out.write_bytes & (out.write_bytes - 1)));
    cr_assert(out.queue_depth >= 16 && out.queue_depth <= VERBS_DEPTH_DEFAULT && out.signal_every >= 1);
    cr_assert_eq(link_verbs.tune(ends.source, 0, &given, 150, &out), 0);
    cr_assert(out.write_bytes == 12288 && out.queue_depth == 8 && out.signal_every == 3 && !out.n_samples);
    memset(ends.to, 0, REGION_BYTES);
    ends_write_all(&ends);
    ends_free(&ends);
}

/* ---- migrations ---- */

static char source_warnings[4096];

static void note_warning(struct pair *pair, const struct tern_event *event)
{
    size_t used = strlen(source_warnings);

    (void)pair;
    if (event->kind == TERN_EVENT_WARNING)
        snprintf(source_warnings + used, sizeof(source_warnings) - used, "%s\n", event->text);
}

static void migrates(struct pair *pair)
{
    pair->on_source_event = note_warning;
    pair->source_options.verify = true;
    pair_run(pair);
    pair_check_moved(pair);
    cr_assert(pair->source_result.verified);
    printf("%s%s%.1f MiB/s\n", source_warnings, pair->warnings, (double)pair->source_result.mean_bps / 8 / MIB);
}

Test(ring, a_migration_within_8_mib_says_so, .timeout = 120)
{
    struct pair pair;

    limit_memlock(8 * MIB, true);
    pair_init(&pair, &small_guest, NULL, pair_host(false));
    migrates(&pair);
    cr_assert_gt(pair.source_result.ring_bytes, 0);
    cr_assert_gt(pair.destination_result.ring_bytes, 0);
    cr_assert_eq(pair.source_result.peer_ring_bytes, pair.destination_result.ring_bytes);
    cr_assert_not_null(strstr(source_warnings, "through a small registered ring at the source, with one copy: cannot "
                                               "register 2 MiB: RLIMIT_MEMLOCK is 8 MiB"),
                       "%s", source_warnings);
    cr_assert_not_null(strstr(source_warnings, "the destination takes guest memory through"), "%s", source_warnings);
    cr_assert_not_null(strstr(pair.warnings, "ring at the destination, with one copy: cannot register"), "%s",
                       pair.warnings);
    pair_free(&pair);
}

Test(ring, a_migration_that_asks_for_it_registers_nothing_of_the_guest, .timeout = 120)
{
    for (int way = 1; way < 4; way++) {
        bool source = way & 1, destination = way & 2;
        struct pair pair;

        source_warnings[0] = 0;
        pair_init(&pair, &small_guest, NULL, pair_host(false));
        pair.source_options.registration = source ? TERN_REGISTER_RING : TERN_REGISTER_AUTO;
        pair.destination_options.registration = destination ? TERN_REGISTER_RING : TERN_REGISTER_AUTO;
        migrates(&pair);
        cr_assert_eq(!pair.source_result.registered_bytes, source);
        cr_assert_eq(!pair.destination_result.registered_bytes, destination);
        cr_assert_eq(pair.source_result.ring_bytes > 0, source);
        cr_assert_eq(pair.source_result.peer_ring_bytes > 0, destination);
        pair_free(&pair);
    }
}

Test(ring, on_demand_paging_that_a_device_lacks_is_refused, .timeout = 60)
{
    for (int side = 0; side < 2; side++) {
        struct pair pair;

        pair_init(&pair, &small_guest, NULL, pair_host(false));
        pair.source_options.transport = TERN_TRANSPORT_AUTO;
        *(side ? &pair.destination_options.registration : &pair.source_options.registration) = TERN_REGISTER_ODP;
        pair_run(&pair);
        pair_check_stayed(&pair);
        says(&pair.source_error, "RDMA device rxe0 has no on-demand paging for RDMA writes");
        cr_assert_eq(pair.source_error.side, side ? TERN_SIDE_DESTINATION : TERN_SIDE_SOURCE);
        pair_free(&pair);
    }
}
