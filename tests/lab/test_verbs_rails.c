/* SPDX-License-Identifier: BSD-2-Clause */
/* A lane that is lost while the other rail goes on, and that comes back: bytes and order, without the engine. Run in
 * the lab by suite_rails.sh, on a host with two rails. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/common/pair.h"
#include "tests/lab/verbs_ends.h"
#include "transport/clock.h"
#include "transport/verbs/destination.h"

#define LOST    1u /* the lane, which rides the second rail */
#define PIECE   VERBS_SLOT_BYTES
#define WAIT_MS 20000

/* The listener's first rail is where pair_host says, the second one rxe1. */
static void join(struct ends *ends, enum link_register destination)
{
    static struct sockaddr_storage rails[LINK_RAILS_MAX];
    struct tern_error error = {0};

    ends_init(ends, pair_host(false));
    ends->options.device = "rxe0,rxe1";
    ends->options.registration = destination;
    ends_listen(ends);
    ends->options.n_rails = link_verbs.destination_rails(ends->destination, rails);
    ends->options.rails = rails;
    cr_assert_eq(ends->options.n_rails, 1);
    cr_assert_eq(ends_connect(ends, ends->token, &error), 0, "%s", error.message);
    cr_assert_eq(ends->wait_code, 0, "%s", ends->wait_error.message);
    ends_register(ends);
    cr_assert_str_eq(link_verbs.source_rail(ends->source, 0), "rxe0");
    cr_assert_str_eq(link_verbs.source_rail(ends->source, LOST), "rxe1");
}

static void post(struct ends *ends, uint32_t lane, uint64_t at, uint64_t length)
{
    struct link_run run = {0, at, length};
    struct tern_error error = {0};

    cr_assert_eq(link_verbs.post(ends->source, lane, &run, 1, &error), 1, "%s", error.message);
}

static void drain(struct ends *ends, uint32_t lane)
{
    struct tern_error error = {0};

    cr_assert_eq(link_verbs.wait(ends->source, lane, LINK_WAIT_DRAINED, WAIT_MS, &error), 0, "%s", error.message);
}

static void fence(struct ends *ends, uint32_t lane, uint32_t round)
{
    struct tern_error error = {0};

    cr_assert_eq(link_verbs.fence(ends->source, lane, round, &error), 0, "%s", error.message);
    drain(ends, lane);
}

static void count(void *opaque, const struct link_run *run)
{
    *(uint64_t *)opaque += run->length_bytes;
}

/* As by a rail that is gone: nothing that is posted from here on arrives. returns the bytes that were not brought over
 */
static uint64_t lose(struct ends *ends, uint64_t at, uint64_t length)
{
    struct ibv_qp_attr broken = {.qp_state = IBV_QPS_ERR};
    struct tern_error error = {0};
    uint64_t unsent = 0;

    cr_assert_eq(ibv_modify_qp(ends->source->lanes[LOST].id->qp, &broken, IBV_QP_STATE), 0);
    post(ends, LOST, at, length);
    cr_assert_lt(link_verbs.wait(ends->source, LOST, LINK_WAIT_DRAINED, WAIT_MS, &error), 0);
    cr_assert(link_verbs.lost(ends->source, LOST, count, &unsent), "%s", error.message);
    cr_assert_eq(link_verbs.destination_drop_lane(ends->destination, LOST, &error), 0, "%s", error.message);
    return unsent;
}

struct looker {
    struct link_destination *destination;
    _Atomic bool ending;
};

/* What the destination's session does between messages. */
static void *look(void *opaque)
{
    struct looker *looker = opaque;

    while (!atomic_load(&looker->ending)) {
        link_verbs.destination_look(looker->destination);
        usleep(1000);
    }
    return NULL;
}

/* returns the try's code */
static int rejoin(struct ends *ends, bool answered, int timeout_ms, int stop_fd)
{
    struct looker looker = {.destination = ends->destination};
    struct tern_error error = {0};
    pthread_t thread;
    int r;

    if (answered)
        cr_assert_eq(pthread_create(&thread, NULL, look, &looker), 0);
    r = link_verbs.rejoin(ends->source, LOST, stop_fd, timeout_ms, &error);
    atomic_store(&looker.ending, true);
    if (answered)
        pthread_join(thread, NULL);
    return r;
}

static void readmit(struct ends *ends)
{
    struct tern_error error = {0};

    link_verbs.readmit(ends->source, LOST);
    cr_assert_eq(link_verbs.destination_readmit_lane(ends->destination, LOST, &error), 0, "%s", error.message);
}

static void await_fences(struct ends *ends, uint32_t round)
{
    struct tern_error error = {0};

    cr_assert_eq(link_verbs.wait_fence(ends->destination, round, WAIT_MS, &error), 0, "%s", error.message);
}

Test(rails, a_lost_lane_comes_back_and_its_fences_count_again, .timeout = 60)
{
    struct tern_error error = {0};
    struct ends ends;

    for (int way = 0; way < 2; way++) {
        join(&ends, way ? LINK_REGISTER_RING : LINK_REGISTER_AUTO);
        for (uint32_t i = 0; i < N_LANES; i++)
            fence(&ends, i, 1);
        await_fences(&ends, 1);
        cr_assert_eq(lose(&ends, 0, MIB), MIB, "all that was posted on a dead lane is sent again");
        fence(&ends, 0, 2);
        await_fences(&ends, 2); /* without the lane */
        cr_assert_eq(rejoin(&ends, true, WAIT_MS, -1), 0);
        fence(&ends, 0, 3);
        await_fences(&ends, 3); /* it is connected, and not counted yet */
        readmit(&ends);
        for (uint32_t i = 0; i < N_LANES; i++)
            post(&ends, i, i * REGION_BYTES / 2, MIB);
        fence(&ends, 0, 4);
        cr_assert_eq(link_verbs.wait_fence(ends.destination, 4, 100, &error), -ETIMEDOUT, "one lane has not fenced");
        fence(&ends, LOST, 4);
        await_fences(&ends, 4);
        cr_assert_eq(memcmp(ends.to, ends.from, MIB), 0);
        cr_assert_eq(memcmp(ends.to + REGION_BYTES / 2, ends.from + REGION_BYTES / 2, MIB), 0);
        ends_free(&ends);
    }
}

/* Slots are reused by the lane that comes back: what the lost one left in them is copied before. Nobody looks at the
 * completions meanwhile, as if the copying thread were late. */
Test(rails, what_a_lost_lane_left_in_its_slots_is_not_lost, .timeout = 60)
{
    struct ends ends;

    join(&ends, LINK_REGISTER_RING);
    verbs_slots_stop(ends.destination);
    post(&ends, LOST, 0, 4 * PIECE);
    drain(&ends, LOST); /* so it counts as brought over at the source */
    cr_assert_eq(ends.to[0] | ends.to[4 * PIECE - 1], 0, "this test needs slots that were not copied");
    cr_assert_eq(lose(&ends, 4 * PIECE, PIECE), PIECE);
    cr_assert_eq(memcmp(ends.to, ends.from, 4 * PIECE), 0);
    cr_assert_eq(rejoin(&ends, true, WAIT_MS, -1), 0);
    readmit(&ends);
    memset(ends.from, 9, 2 * PIECE); /* sent again, newer */
    post(&ends, LOST, 0, 2 * PIECE);
    for (uint32_t i = 0; i < N_LANES; i++)
        fence(&ends, i, 1);
    await_fences(&ends, 1);
    cr_assert_eq(memcmp(ends.to, ends.from, 4 * PIECE), 0);
    ends_free(&ends);
}

/* A lane whose slots are all full, none given back, and nothing under way. */
static struct verbs_lane *starve(struct ends *ends)
{
    struct tern_error error = {0};
    struct verbs_lane *lane;

    join(ends, LINK_REGISTER_RING);
    verbs_slots_stop(ends->destination);
    lane = &ends->source->lanes[LOST];
    post(ends, LOST, 0, MIB);
    cr_assert_eq(link_verbs.wait(ends->source, LOST, LINK_WAIT_DRAINED, 1000, &error), -ETIMEDOUT);
    cr_assert(!lane->credits && lane->completed == lane->posted && lane->starved_ns);
    return lane;
}

/* No slot is given back, and nobody tells: the lane is lost after a while, which the test does not wait for. */
Test(rails, a_lane_that_gets_no_slot_back_is_lost, .timeout = 60)
{
    struct tern_error error = {0};
    struct verbs_lane *lane;
    uint64_t unsent = 0;
    struct ends ends;

    lane = starve(&ends);
    cr_assert_not(link_verbs.lost(ends.source, LOST, count, &unsent));
    lane->starved_ns -= VERBS_STARVED_NS;
    cr_assert_eq(link_verbs.wait(ends.source, LOST, LINK_WAIT_DRAINED, 1000, &error), -ETIME);
    says(&error, "the destination has given back nothing of its ring for 20 s");
    cr_assert(link_verbs.lost(ends.source, LOST, count, &unsent));
    cr_assert_eq(unsent, MIB - lane->credits_max * PIECE, "what lies in the slots is there");
    cr_assert_eq(link_verbs.destination_drop_lane(ends.destination, LOST, &error), 0);
    cr_assert_eq(memcmp(ends.to, ends.from, MIB - unsent), 0);
    ends_free(&ends);
}

/* All slots are full and nothing is under way when the destination ends the lane: no write of it can fail any more, so
 * the wait is what ends, at once and each time. */
Test(rails, a_lane_without_a_slot_ends_with_the_destination, .timeout = 60)
{
    struct tern_error error = {0};
    struct ends ends;

    starve(&ends);
    link_verbs.destination_teardown(ends.destination);
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(link_verbs.wait(ends.source, LOST, LINK_WAIT_DRAINED, WAIT_MS, &error), -ENOTCONN);
        says(&error, "is down: the destination ended it");
    }
    ends_free(&ends);
}

/* A lane that is starved is given up in time also by one long wait. */
Test(rails, a_lane_that_gets_no_slot_back_is_not_slept_through, .timeout = 60)
{
    struct tern_error error = {0};
    struct verbs_lane *lane;
    struct ends ends;

    lane = starve(&ends);
    lane->starved_ns = clock_now_ns() + NS_PER_S / 2 - VERBS_STARVED_NS;
    cr_assert_eq(link_verbs.wait(ends.source, LOST, LINK_WAIT_DRAINED, 10000, &error), -ETIME);
    ends_free(&ends);
}

/* A try that nobody answers ends in time, one that is stopped at once; the next one finds the lane as it was. */
Test(rails, a_try_that_fails_leaves_the_lane_for_the_next_one, .timeout = 60)
{
    struct tern_error error = {0};
    int stop_fd = eventfd(0, EFD_CLOEXEC);
    struct ends ends;

    join(&ends, LINK_REGISTER_AUTO);
    lose(&ends, 0, MIB);
    cr_assert_eq(link_verbs.destination_readmit_lane(ends.destination, LOST, &error), -EINVAL, "it is not connected");
    cr_assert_eq(rejoin(&ends, false, 300, -1), -ETIMEDOUT);
    cr_assert_eq(eventfd_write(stop_fd, 1), 0);
    cr_assert_eq(rejoin(&ends, false, WAIT_MS, stop_fd), -ECANCELED);
    cr_assert_eq(rejoin(&ends, true, WAIT_MS, -1), 0);
    cr_assert_eq(rejoin(&ends, true, WAIT_MS, -1), 0, "again, before it was used: the latest one counts");
    readmit(&ends);
    cr_assert_eq(link_verbs.destination_readmit_lane(ends.destination, LOST, &error), -EINVAL, "it is in use");
    ends_write_all(&ends);
    close(stop_fd);
    ends_free(&ends);
}

/* Without a device that was named, and with lanes that were told where to ride. */
Test(rails, lanes_ride_as_they_are_told, .timeout = 60)
{
    static const uint8_t lane_rail[N_LANES] = {1, 1};
    char device[LINK_RAILS_MAX][LINK_DEVICE_BYTES];
    struct sockaddr_storage rails[LINK_RAILS_MAX];
    struct tern_error error = {0};
    struct ends ends;

    ends_init(&ends, pair_host(false));
    ends.options.device = "rxe0,rxe1";
    ends_listen(&ends);
    ends.options.n_rails = link_verbs.destination_rails(ends.destination, rails);
    ends.options.rails = rails;
    cr_assert_eq(link_verbs.source_rails(&ends.options, (struct sockaddr *)&ends.address, device), 2);
    cr_assert_str_eq(device[0], "rxe0");
    cr_assert_str_eq(device[1], "rxe1");
    ends.options.lane_rail = lane_rail;
    cr_assert_eq(ends_connect(&ends, ends.token, &error), 0, "%s", error.message);
    ends_register(&ends);
    for (uint32_t i = 0; i < N_LANES; i++)
        cr_assert_str_eq(link_verbs.source_rail(ends.source, i), "rxe1");
    ends_write_all(&ends);
    ends.options.device = "rxe0";
    cr_assert_eq(link_verbs.source_rails(&ends.options, (struct sockaddr *)&ends.address, device), 2);
    cr_assert(!strcmp(device[0], "rxe0") && !device[1][0], "rxe1 may not be used");
    ends_free(&ends);
}
