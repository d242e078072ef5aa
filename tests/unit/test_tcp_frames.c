/* SPDX-License-Identifier: BSD-2-Clause */
/* Lanes over tcp against a hostile peer: a frame that proves nothing ends its lane with one line, writes nothing, and
 * leaves the other lanes alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_far.h"

/* ---- malformed frames ---- */

static const struct {
    struct frame frame;
    const char *named; /* in the message */
} malformed[] = {
    {{FRAME_WRITE, 0, LENGTH, 1}, "outside guest memory"},
    {{FRAME_WRITE, 0, LENGTH - 1, 2}, "outside guest memory"},
    {{FRAME_WRITE, 0, 0, LENGTH + 1}, "outside guest memory"},
    {{FRAME_WRITE, 0, LENGTH + 1, 0}, "outside guest memory"},
    {{FRAME_WRITE, 0, 0, 0}, "outside guest memory"},
    {{FRAME_WRITE, 0, LENGTH / 2, UINT64_MAX - LENGTH / 2 + 2}, "outside guest memory"}, /* the sum overflows to 1 */
    {{FRAME_WRITE, 0, UINT64_MAX, 2}, "outside guest memory"},
    {{FRAME_WRITE, 0, UINT64_MAX - 4095, 4096}, "outside guest memory"},
    {{FRAME_WRITE, 0, 0, UINT64_MAX}, "outside guest memory"},
    {{FRAME_WRITE, 0, 1ull << 63, 1ull << 63}, "outside guest memory"},
    {{FRAME_WRITE, 1, 0, 4096}, "region 1"}, /* not exposed */
    {{FRAME_WRITE, LINK_REGIONS_MAX - 1, 0, 4096}, "region 63"},
    {{FRAME_WRITE, LINK_REGIONS_MAX, 0, 4096}, "region 64"},
    {{FRAME_WRITE, LINK_REGIONS_MAX + 1, 0, 4096}, "region 65"},
    {{FRAME_WRITE, 1u << 31, 0, 4096}, "region 2147483648"},
    {{FRAME_WRITE, UINT32_MAX, 0, 4096}, "region 4294967295"},
    {{FRAME_FENCE, 0, 0, 0}, "fence for round 0"},
    {{FRAME_FENCE, 1, 1, 0}, "fence"},
    {{FRAME_FENCE, 1, 0, 1}, "fence"},
    {{0, 0, 0, 0}, "unknown type"},
    {{FRAME_WRITE + 1, 0, 0, 4096}, "0x57524955"},
    {{UINT32_MAX, 0, 0, 4096}, "unknown type"},
};

static void malformed_ends_its_lane(size_t i)
{
    static uint8_t payload[8192];
    struct tern_error error = {0};
    struct far far;
    int fd;

    memset(payload, 0xee, sizeof(payload));
    far_open(&far);
    fd = open_one_lane(&far, 1);
    put_frame(fd, malformed[i].frame, payload, sizeof(payload));
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, &error), -EPROTO, "case %zu: %s", i, error.message);
    cr_assert_not_null(strstr(error.message, malformed[i].named), "case %zu: %s", i, error.message);
    cr_assert_not_null(strstr(error.message, "lane 1"), "case %zu: %s", i, error.message);
    cr_assert_null(strchr(error.message, '\n'));
    closed(fd);
    untouched(&far);
    far_close(&far);
}

Test(tcp_link, malformed_frames, .timeout = 120)
{
    for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++)
        malformed_ends_its_lane(i);
}

/* The other lane goes on, and what the bad one wrote before is in its place. */
Test(tcp_link, a_bad_frame_leaves_the_other_lane_alone, .timeout = 60)
{
    struct tern_error error = {0};
    struct far far;
    int bad, good;

    far_open(&far);
    bad = open_lane(&far, 1);
    good = open_lane(&far, 0);
    all_connected(&far);
    put_frame(bad, (struct frame){FRAME_WRITE, 0, LENGTH - 3, 3}, "end", 3);
    put_frame(bad, (struct frame){FRAME_FENCE, 1, 0, 0}, NULL, 0);
    put_frame(bad, (struct frame){FRAME_WRITE, 3, LENGTH - 3, 4}, "over", 4);
    closed(bad);
    put_frame(good, (struct frame){FRAME_WRITE, 3, 0, 5}, "begin", 5);
    put_frame(good, (struct frame){FRAME_FENCE, 1, 0, 0}, NULL, 0);
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, &error), 0, "%s", error.message);
    cr_assert_eq(memcmp(far.regions[0] + LENGTH - 3, "end", 3), 0);
    cr_assert_eq(memcmp(far.regions[3], "begin", 5), 0);
    memset(far.regions[0] + LENGTH - 3, PATTERN, 3);
    memset(far.regions[3], PATTERN, 5);
    untouched(&far);
    cr_assert_eq(link_tcp.wait_fence(far.link, 2, PATIENT_MS, &error), -EPROTO);
    close(good);
    far_close(&far);
}

Test(tcp_link, a_fence_does_not_go_back, .timeout = 60)
{
    struct tern_error error = {0};
    struct far far;
    int fd;

    far_open(&far);
    fd = open_one_lane(&far, 0);
    put_frame(fd, (struct frame){FRAME_FENCE, 5, 0, 0}, NULL, 0);
    put_frame(fd, (struct frame){FRAME_FENCE, 5, 0, 0}, NULL, 0);
    closed(fd);
    cr_assert_eq(link_tcp.wait_fence(far.link, 6, PATIENT_MS, &error), -EPROTO);
    cr_assert_not_null(strstr(error.message, "round 5 after round 5"), "%s", error.message);
    far_close(&far);
}

Test(tcp_link, truncated_frames, .timeout = 60)
{
    uint8_t bytes[FRAME_BYTES];

    frame_encode(&(struct frame){FRAME_WRITE, 0, 8192, 4096}, bytes);
    for (size_t n = 0; n < FRAME_BYTES; n += 5) {
        struct tern_error error = {0};
        struct far far;
        int fd;

        far_open(&far);
        fd = open_one_lane(&far, 0);
        if (n)
            cr_assert_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
        close(fd);
        cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, &error), -ECONNRESET);
        cr_assert_not_null(strstr(error.message, "lane 0"), "%s", error.message);
        untouched(&far);
        far_close(&far);
    }
}

/* What came of a payload lies in its place; the rest of the place, and all else, is as it was. */
Test(tcp_link, truncated_payload, .timeout = 60)
{
    struct tern_error error = {0};
    struct far far;
    int fd;

    far_open(&far);
    fd = open_one_lane(&far, 0);
    put_frame(fd, (struct frame){FRAME_WRITE, 0, 8192, 4096}, "only this", 9);
    close(fd);
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, &error), -ECONNRESET);
    cr_assert_not_null(strstr(error.message, "lane 0"), "%s", error.message);
    cr_assert_eq(memcmp(far.regions[0] + 8192, "only this", 9), 0);
    memset(far.regions[0] + 8192, PATTERN, 9);
    untouched(&far);
    far_close(&far);
}

Test(tcp_link, garbage_never_writes, .timeout = 60)
{
    srand(1);
    for (int i = 0; i < 30; i++) {
        uint32_t words[200];
        struct far far;
        int fd;

        for (size_t k = 0; k < 200; k++)
            words[k] = (uint32_t)rand() | 0x80000000u; /* no region, and no length that fits */
        words[0] = i % 2 ? FRAME_WRITE : words[0];
        far_open(&far);
        fd = open_one_lane(&far, 0);
        cr_assert_eq(send(fd, words, sizeof(words), MSG_NOSIGNAL), sizeof(words));
        closed(fd);
        untouched(&far);
        far_close(&far);
    }
}

/* ---- lanes that are not taken ---- */

/* A source whose lanes do not all come is turned away, and the next one relies on memory that reads as zero. */
Test(tcp_link, nothing_is_written_before_all_lanes_are_there, .timeout = 60)
{
    struct link_options hasty = options;
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct tern_error error = {0};
    struct far far;
    uint16_t port;
    int fd;

    far_open(&far);
    link_tcp.destination_close(far.link);
    hasty.connect_timeout_ms = 300;
    cr_assert_eq(link_tcp.destination_open(&hasty, (struct sockaddr *)&local, token, &port, &far.link, NULL), 0);
    cr_assert_eq(link_tcp.destination_expose(far.link, 0, far.regions[0], LENGTH, NULL), 0);
    fd = open_lane(&far, 1);
    put_frame(fd, (struct frame){FRAME_WRITE, 0, 4096, 5}, "early", 5);
    cr_assert_eq(link_tcp.wait_lanes(far.link, &error), -ETIMEDOUT);
    link_tcp.destination_teardown(far.link);
    untouched(&far);
    close(fd);
    far_close(&far);
}

Test(tcp_link, wrong_tokens_and_lanes_are_closed, .timeout = 60)
{
    static const uint8_t wrong[LINK_TOKEN_BYTES] = {1, 2, 3, 5};
    struct tern_error error = {0};
    struct far far;
    int fds[2];

    far_open(&far);
    closed(dial_lane(&far, 0, wrong));
    closed(dial_lane(&far, 2, token));
    closed(dial_lane(&far, UINT32_MAX, token));
    fds[0] = open_lane(&far, 0);
    closed(dial_lane(&far, 0, token)); /* taken */
    fds[1] = open_lane(&far, 1);
    cr_assert_eq(link_tcp.wait_lanes(far.link, &error), 0, "%s", error.message);
    close(fds[0]);
    close(fds[1]);
    untouched(&far);
    far_close(&far);
}

Test(tcp_link, a_source_with_a_wrong_token, .timeout = 60)
{
    static const uint8_t wrong[LINK_TOKEN_BYTES];
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct link_source *source = NULL;
    struct tern_error error = {0};
    struct far far;

    far_open(&far);
    peer.sin_port = htons(listener_port(far.listener));
    cr_assert_lt(link_tcp.source_open(&options, (struct sockaddr *)&peer, wrong, &source, &error), 0);
    cr_assert_null(source);
    cr_assert_not_null(strstr(error.message, "lane 0"), "%s", error.message);
    far_close(&far);
}
