/* SPDX-License-Identifier: BSD-2-Clause */
/* What a device and a limit allow, the sizes that follow, and which bytes of a ring are in use. */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "migrate/vm.h"
#include "transport/verbs/verbs.h"

#define KIB 1024ull
#define MIB (1ull << 20)
#define GIB (1ull << 30)

static const struct link_limits none;

/* ---- chunks ---- */

Test(chunk_bytes, a_small_guest_is_cut_finely_a_large_one_into_4096)
{
    static const struct {
        uint64_t memory, chunk;
    } cases[] = {
        {2 * MIB, 2 * MIB},     {64 * MIB, 2 * MIB},    {128 * MIB, 2 * MIB},  {256 * MIB, 4 * MIB},
        {GIB, 16 * MIB},        {64 * GIB, 16 * MIB},   {128 * GIB, 32 * MIB}, {1024 * GIB, 256 * MIB},
        {4097 * MIB, 16 * MIB}, {16384 * GIB, 4 * GIB},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(chunk_bytes_for(cases[i].memory, &none), cases[i].chunk, "%lu MiB: %lu",
                     (unsigned long)(cases[i].memory / MIB), (unsigned long)chunk_bytes_for(cases[i].memory, &none));
}

Test(chunk_bytes, a_device_bounds_their_number_and_their_size)
{
    struct link_limits few = {.chunks_max = 100}, small = {.chunk_bytes_max = 8 * MIB}, tiny = {.chunk_bytes_max = MIB};

    cr_assert_eq(chunk_bytes_for(64 * GIB, &few), GIB);
    cr_assert_leq(64 * GIB / chunk_bytes_for(64 * GIB, &few), 100);
    cr_assert_eq(chunk_bytes_for(64 * GIB, &small), 8 * MIB);
    cr_assert_eq(chunk_bytes_for(64 * GIB, &tiny), 2 * MIB, "never smaller than a unit of the rounds");
}

Test(chunk_bytes, the_destination_takes_what_was_proposed_unless_its_device_does_not)
{
    struct link_limits few = {.chunks_max = 100}, small = {.chunk_bytes_max = 8 * MIB};

    cr_assert_eq(chunk_bytes_agreed(4 * MIB, GIB, &none), 4 * MIB);
    cr_assert_eq(chunk_bytes_agreed(16 * MIB, GIB, &few), 16 * MIB);
    cr_assert_eq(chunk_bytes_agreed(16 * MIB, 64 * GIB, &few), GIB);
    cr_assert_eq(chunk_bytes_agreed(16 * MIB, GIB, &small), 8 * MIB);
}

/* ---- devices ---- */

Test(limits, half_the_memory_regions_are_for_the_guest)
{
    struct ibv_device_attr attr = {.max_mr_size = 4 * GIB, .max_mr = 1000};
    struct link_limits limits = verbs_limits_of(&attr);

    cr_assert_eq(limits.chunk_bytes_max, 4 * GIB);
    cr_assert_eq(limits.chunks_max, 500);
    attr = (struct ibv_device_attr){.max_mr = 1};
    cr_assert_eq(verbs_limits_of(&attr).chunks_max, 1);
    attr.max_mr = 0; /* not told */
    cr_assert_eq(verbs_limits_of(&attr).chunks_max, 0);
}

Test(limits, the_queue_is_as_deep_as_device_and_completions_go)
{
    struct ibv_device_attr attr = {.max_qp_wr = 1 << 20, .max_cqe = 1 << 20};

    cr_assert_eq(verbs_depth_for(&attr, 0), VERBS_DEPTH_DEFAULT);
    cr_assert_eq(verbs_depth_for(&attr, 1000), 1000);
    attr.max_qp_wr = 64;
    cr_assert_eq(verbs_depth_for(&attr, 1000), 64);
    attr.max_cqe = 32 + VERBS_SLOTS_MAX;
    cr_assert_eq(verbs_depth_for(&attr, 1000), 31, "completions that give credits back have room too");
    cr_assert_eq(verbs_depth_for(&attr, 1), 4);
}

Test(limits, on_demand_paging_must_serve_what_a_link_does)
{
    struct ibv_device_attr_ex attr = {0};

    cr_assert(!verbs_has_odp(&attr, LINK_WRITE));
    attr.odp_caps.general_caps = IBV_ODP_SUPPORT;
    attr.odp_caps.per_transport_caps.rc_odp_caps = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_READ;
    cr_assert(!verbs_has_odp(&attr, LINK_WRITE));
    cr_assert(verbs_has_odp(&attr, LINK_READ));
    attr.odp_caps.per_transport_caps.rc_odp_caps = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_WRITE;
    cr_assert(verbs_has_odp(&attr, LINK_WRITE));
    cr_assert(!verbs_has_odp(&attr, LINK_READ));
}

/* ---- rights ---- */

Test(operation, memory_is_open_to_it_alone)
{
    cr_assert_eq(verbs_far_access(LINK_WRITE), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    cr_assert_eq(verbs_far_access(LINK_READ), IBV_ACCESS_REMOTE_READ);
    cr_assert_eq(verbs_near_access(LINK_WRITE), 0);
    cr_assert_eq(verbs_near_access(LINK_READ), IBV_ACCESS_LOCAL_WRITE);
}

Test(operation, reads_go_through_no_ring)
{
    struct link_options options = {.registration = LINK_REGISTER_RING};
    struct tern_error error = {0};

    cr_assert_eq(verbs_operation_check(&options, &error), 0);
    options.operation = LINK_READ;
    cr_assert_eq(verbs_operation_check(&options, &error), -EINVAL);
    cr_assert(verbs_wants_ring(LINK_WRITE, LINK_REGISTER_AUTO) && verbs_wants_ring(LINK_WRITE, LINK_REGISTER_RING));
    cr_assert(!verbs_wants_ring(LINK_WRITE, LINK_REGISTER_PIN) && !verbs_wants_ring(LINK_READ, LINK_REGISTER_AUTO));
}

Test(limits, rings_take_a_quarter_of_what_may_be_locked)
{
    cr_assert_eq(verbs_ring_bytes_for(UINT64_MAX, 64), VERBS_RING_BYTES_MAX);
    cr_assert_eq(verbs_ring_bytes_for(8 * MIB, 4), 512 * KIB);
    cr_assert_eq(verbs_ring_bytes_for(8 * MIB, 5), 256 * KIB);
    cr_assert_eq(verbs_ring_bytes_for(8 * MIB, 64), 32 * KIB);
    cr_assert_eq(verbs_ring_bytes_for(64 * KIB, 1), 0, "too little for one");
}

/* ---- the source's ring ---- */

Test(ring, is_full_when_nothing_was_given_back_and_goes_round)
{
    struct verbs_ring ring = {.base = (uint8_t *)0x1000, .bytes = 64 * KIB};

    for (int i = 0; i < 4; i++) {
        cr_assert_eq(verbs_ring_room(&ring, MIB), 16 * KIB, "a quarter at a time");
        cr_assert_eq(verbs_ring_take(&ring, 16 * KIB) - ring.base, (long)(i * 16 * KIB));
    }
    cr_assert_eq(verbs_ring_room(&ring, 1), 0);
    verbs_ring_give(&ring, 16 * KIB);
    cr_assert_eq(verbs_ring_room(&ring, 4096), 4096);
    cr_assert_eq(verbs_ring_take(&ring, 4096), ring.base);
    cr_assert_eq(verbs_ring_room(&ring, MIB), 12 * KIB);
}

Test(ring, no_piece_wraps_and_pieces_are_whole_pages)
{
    struct verbs_ring ring = {.base = (uint8_t *)0x1000, .bytes = 64 * KIB};

    verbs_ring_take(&ring, 13 * KIB); /* 16 KiB */
    cr_assert_eq(ring.taken, 16 * KIB);
    verbs_ring_give(&ring, 13 * KIB);
    cr_assert_eq(ring.given, ring.taken);
    ring.taken = ring.given = 60 * KIB;
    cr_assert_eq(verbs_ring_room(&ring, 16 * KIB), 4 * KIB);
}

Test(ring, that_is_not_there_has_no_room)
{
    struct verbs_ring ring = {0};

    cr_assert_eq(verbs_ring_room(&ring, 4096), 0);
}

/* ---- the destination's slots ---- */

static uint8_t *place(uint32_t region, uint64_t offset, uint32_t length, uint32_t received)
{
    static uint8_t memory[16384];
    struct verbs_region regions[2] = {{.base = memory, .length_bytes = 8192}, {.base = memory, .length_bytes = 16384}};
    struct verbs_header header = {htole32(region), htole32(length), htole64(offset)};
    uint8_t *at = verbs_slot_place(regions, 2, &header, received);

    return at ? at - (uintptr_t)memory : (uint8_t *)-1;
}

Test(slot, goes_where_its_header_says_and_nowhere_else)
{
    const uint32_t head = sizeof(struct verbs_header);
    uint8_t *nowhere = (uint8_t *)-1;

    cr_assert_eq(place(0, 4096, 4096, head + 4096), (uint8_t *)4096);
    cr_assert_eq(place(1, 12288, 4096, head + 4096), (uint8_t *)12288);
    cr_assert_eq(place(0, 4097, 4096, head + 4096), nowhere, "over the end");
    cr_assert_eq(place(0, 12288, 1, head + 1), nowhere, "after the end");
    cr_assert_eq(place(0, UINT64_MAX, 4096, head + 4096), nowhere, "round the end");
    cr_assert_eq(place(2, 0, 4096, head + 4096), nowhere, "no such region");
    cr_assert_eq(place(0, 0, 4096, head + 4095), nowhere, "less came than it says");
    cr_assert_eq(place(0, 0, 4095, head + 4096), nowhere, "more came than it says");
    cr_assert_eq(place(0, 0, 0, head - 1), nowhere, "no whole header");
}

Test(welcome, comes_back_as_it_went_and_others_are_refused)
{
    struct verbs_welcome out, in = {.slot_bytes = VERBS_SLOT_BYTES, .credits = 12};
    uint8_t bytes[196] = {0};

    verbs_welcome_encode(&in, bytes);
    cr_assert_eq(verbs_welcome_decode(bytes, sizeof(bytes), &out), 0); /* rdma_cm pads */
    cr_assert(out.slot_bytes == in.slot_bytes && out.credits == 12);
    for (size_t length = 0; length < VERBS_WELCOME_BYTES; length++)
        cr_assert_eq(verbs_welcome_decode(bytes, length, &out), -EPROTO);
    for (int i = 0; i < 4; i++) {
        static const struct verbs_welcome bad[] = {
            {VERBS_SLOT_BYTES, VERBS_SLOTS_MAX + 1}, {0, 1}, {VERBS_SLOT_BYTES, 0}, {VERBS_SLOT_BYTES + 1, 4}};

        verbs_welcome_encode(&bad[i], bytes);
        cr_assert_eq(verbs_welcome_decode(bytes, sizeof(bytes), &out), -EPROTO, "case %d", i);
    }
    verbs_welcome_encode(&(struct verbs_welcome){0, 0}, bytes); /* no ring there */
    cr_assert_eq(verbs_welcome_decode(bytes, sizeof(bytes), &out), 0);
    bytes[3] = 'L';
    cr_assert_eq(verbs_welcome_decode(bytes, sizeof(bytes), &out), -EPROTO);
    cr_assert_eq(verbs_welcome_decode(NULL, 0, &out), -EPROTO);
}

/* ---- rails ---- */

Test(rails, take_turns_in_the_order_of_preference)
{
    const uint32_t order[] = {2, 0, 1};

    for (uint32_t lane = 0; lane < 9; lane++)
        cr_assert_eq(verbs_rail_of(lane, order, 3), order[lane % 3]);
    cr_assert_eq(verbs_rail_of(63, order, 1), 2);
}

Test(rails, names_are_listed_once)
{
    char list[64] = "";

    verbs_append_name(list, sizeof(list), "rxe0");
    verbs_append_name(list, sizeof(list), "rxe");
    verbs_append_name(list, sizeof(list), "rxe0");
    verbs_append_name(list, sizeof(list), "rxe1");
    cr_assert_str_eq(list, "rxe0,rxe,rxe1");
}

/* Lanes 0 and 2 ride rail 0, lanes 1 and 3 rail 1. */
Test(rails, a_rail_may_be_lost_while_another_has_a_lane)
{
    const uint32_t rails[] = {0, 1, 0, 1};

    cr_assert(verbs_rail_goes_on(rails, 4, 0, 0));
    cr_assert(verbs_rail_goes_on(rails, 4, 1u << 1, 0), "lane 3 goes on");
    cr_assert(!verbs_rail_goes_on(rails, 4, 1u << 1 | 1u << 3, 0));
    cr_assert(!verbs_rail_goes_on((const uint32_t[]){0, 0}, 2, 0, 0), "there is one rail");
}

/* ---- tuning ---- */

static const struct verbs_sample *choose(const struct verbs_sample *samples, uint32_t n)
{
    return verbs_tune_choose(samples, n);
}

Test(tune, the_best_rate_wins_and_near_it_the_least_under_way)
{
    const struct verbs_sample sizes[] = {{64 * KIB, 128, 100 * MIB, 2000, 32},
                                         {256 * KIB, 128, 100 * MIB, 1000, 32},
                                         {MIB, 128, 100 * MIB, 980, 32},
                                         {256 * KIB, 16, 100 * MIB, 1040, 32},
                                         {256 * KIB, 64, 100 * MIB, 990, 32}};

    cr_assert_eq(choose(sizes, 3), &sizes[1], "2 %% less than the best, with a quarter of the bytes under way");
    cr_assert_eq(choose(sizes, 5), &sizes[4], "16 are 6 %% too slow, 64 are enough");
    cr_assert_eq(choose(sizes, 1), &sizes[0]);
}

Test(tune, of_equal_ones_that_with_the_fewest_completions_wins)
{
    const struct verbs_sample samples[] = {{256 * KIB, 32, 100 * MIB, 1000, 8},
                                           {256 * KIB, 32, 98 * MIB, 1000, 16}, /* near the best */
                                           {256 * KIB, 32, 99 * MIB, 1000, 4},
                                           {256 * KIB, 32, 80 * MIB, 1000, 32}}; /* room comes too late */

    cr_assert_eq(choose(samples, 4), &samples[1]);
}

Test(tune, nothing_measured_is_no_choice)
{
    const struct verbs_sample still = {64 * KIB, 128, MIB, 0, 32};

    cr_assert_null(choose(NULL, 0));
    cr_assert_null(choose(&still, 1));
}

Test(tune, a_sample_fits_its_slice_or_is_left_out)
{
    cr_assert_eq(verbs_tune_volume(1000 * MIB, 20000000, 64 * KIB), 20 * MIB);
    cr_assert_eq(verbs_tune_volume(40 * MIB, 20000000, 64 * KIB), 12 * 64 * KIB);
    cr_assert_eq(verbs_tune_volume(40 * MIB, 20000000, 256 * KIB), 0, "three writes tell nothing");
    cr_assert_eq(verbs_tune_volume(0, 20000000, 64 * KIB), 0);
}
