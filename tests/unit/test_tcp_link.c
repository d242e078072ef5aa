/* SPDX-License-Identifier: BSD-2-Clause */
/* Lanes over tcp: every byte lands in its place and nowhere else; fences, aborts and teardown keep their word. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_far.h"

Test(tcp_link, every_byte_in_its_place_and_no_other, .timeout = 60)
{
    uint8_t *near = malloc(2 * LENGTH), *expected = malloc(ALL);
    struct link_source *source;
    struct far far;

    srand(1);
    memset(expected, PATTERN, ALL);
    far_open(&far);
    source = open_source(&far, &options, near);
    for (uint32_t round = 1; round <= 3; round++) {
        for (uint64_t i = 0; i < 2 * LENGTH; i++)
            near[i] = (uint8_t)rand();
        for (int i = 0; i < 400; i++) { /* a lane has a region to itself: lanes have no order between them */
            uint32_t lane = (uint32_t)i % 2;
            uint64_t offset = (uint64_t)rand() % LENGTH, length = 1 + (uint64_t)rand() % 20000;
            struct link_run run = {lane * 3, offset, length < LENGTH - offset ? length : LENGTH - offset};

            post_whole(source, lane, run);
            memcpy(expected + (far.regions[lane * 3] - far.all) + offset, near + lane * LENGTH + offset,
                   run.length_bytes);
        }
        fence_and_wait(source, &far, round);
        cr_assert_eq(memcmp(far.all, expected, ALL), 0, "round %u", round);
    }
    link_tcp.source_close(source);
    far_close(&far);
    free(expected);
    free(near);
}

/* More than the socket takes at once: frames are cut anywhere, and go on from there. */
Test(tcp_link, more_than_a_full_socket, .timeout = 60)
{
    uint8_t *near = malloc(2 * LENGTH);
    struct link_source *source;
    struct far far;

    srand(2);
    for (uint64_t i = 0; i < 2 * LENGTH; i++)
        near[i] = (uint8_t)rand();
    far_open(&far);
    source = open_source(&far, &options, near);
    for (int i = 0; i < 60; i++) {
        post_whole(source, 0, (struct link_run){0, 0, LENGTH});
        post_whole(source, 1, (struct link_run){3, (uint64_t)i, LENGTH - (uint64_t)i});
    }
    fence_and_wait(source, &far, 1);
    cr_assert_eq(memcmp(far.regions[0], near, LENGTH), 0);
    cr_assert_eq(memcmp(far.regions[3], near + LENGTH, LENGTH), 0);
    memset(far.regions[0], PATTERN, LENGTH);
    memset(far.regions[3], PATTERN, LENGTH);
    untouched(&far);
    link_tcp.source_close(source);
    far_close(&far);
    free(near);
}

Test(tcp_link, runs_outside_are_not_sent, .timeout = 60)
{
    static const struct link_run outside[] = {
        {0, LENGTH, 1}, {0, 0, LENGTH + 1}, {0, UINT64_MAX, 2},          {0, 1, UINT64_MAX},
        {0, 0, 0},      {1, 0, 4096},       {LINK_REGIONS_MAX, 0, 4096}, {UINT32_MAX, 0, 4096}};
    uint8_t *near = calloc(1, 2 * LENGTH);
    struct link_source *source;
    struct far far;

    far_open(&far);
    source = open_source(&far, &options, near);
    for (size_t i = 0; i < sizeof(outside) / sizeof(*outside); i++) {
        struct tern_error error = {0};

        cr_assert_eq(link_tcp.post(source, 0, &outside[i], 1, &error), -EINVAL, "run %zu", i);
        cr_assert_gt(strlen(error.message), 0);
    }
    fence_and_wait(source, &far, 1);
    untouched(&far);
    link_tcp.source_close(source);
    far_close(&far);
    free(near);
}

/* A fence on one lane is not enough, and nothing lands once the lanes are torn down. */
Test(tcp_link, fences_aborts_and_teardown, .timeout = 60)
{
    struct link_run run = {0, 0, 4096};
    uint8_t *near = calloc(1, 2 * LENGTH);
    struct link_source *source;
    struct tern_error error = {0};
    struct far far;

    far_open(&far);
    source = open_source(&far, &options, near);
    cr_assert_eq(link_tcp.fence(source, 0, 1, NULL), 0);
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, 50, NULL), -ETIMEDOUT);
    cr_assert_eq(link_tcp.fence(source, 1, 1, NULL), 0);
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, NULL), 0);
    link_tcp.destination_teardown(far.link);
    for (int r = 0; r >= 0;) { /* until the source has noticed */
        r = link_tcp.post(source, 0, &run, 1, &error);
        if (r >= 0)
            r = link_tcp.wait(source, 0, LINK_WAIT_DRAINED, PATIENT_MS, &error);
    }
    cr_assert_eq(error.code, -ENOTCONN, "%s", error.message);
    untouched(&far);
    link_tcp.source_abort(source);
    cr_assert_eq(link_tcp.post(source, 1, &run, 1, NULL), -ECANCELED);
    link_tcp.destination_abort(far.link);
    cr_assert_eq(link_tcp.wait_fence(far.link, 2, PATIENT_MS, NULL), -ECANCELED);
    link_tcp.source_close(source);
    far_close(&far);
    free(near);
}
