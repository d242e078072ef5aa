/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads over tcp: what is asked for comes into its place and nothing else does; whose memory it is tells nothing beyond
 * it, waits for no reader, and changes nothing.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tcp_far.h"

#define STALLED_MS 300

static const struct link_options reading = {
    .gid_index = -1, .n_lanes = 2, .chunk_bytes = 2 * MIB, .connect_timeout_ms = PATIENT_MS, .operation = LINK_READ};

/* Something else everywhere, guards too. */
static void fill(struct far *far)
{
    srand(3);
    for (uint64_t i = 0; i < ALL; i++)
        far->all[i] = (uint8_t)rand();
}

/* ---- a source that reads ---- */

Test(tcp_read, every_byte_comes_into_its_place_and_no_other, .timeout = 60)
{
    uint8_t *near = malloc(2 * LENGTH), *expected = malloc(2 * LENGTH), *before = malloc(ALL);
    struct link_source *source;
    struct far far;

    far_open_with(&far, &reading);
    fill(&far);
    memcpy(before, far.all, ALL);
    memset(near, PATTERN, 2 * LENGTH);
    memset(expected, PATTERN, 2 * LENGTH);
    source = open_source(&far, &reading, near);
    for (uint32_t round = 1; round <= 3; round++) {
        for (int i = 0; i < 200; i++) {
            uint32_t lane = (uint32_t)i % 2;
            uint64_t offset = (uint64_t)rand() % LENGTH, length = 1 + (uint64_t)rand() % 5000;
            struct link_run run = {lane * 3, offset, length < LENGTH - offset ? length : LENGTH - offset};

            post_whole(source, lane, run);
            memcpy(expected + lane * LENGTH + offset, far.regions[lane * 3] + offset, run.length_bytes);
        }
        fence_and_wait(source, &far, round);
        cr_assert_eq(memcmp(near, expected, 2 * LENGTH), 0, "round %u", round);
    }
    cr_assert_eq(memcmp(far.all, before, ALL), 0, "reading changed what was read");
    link_tcp.source_close(source);
    far_close(&far);
    free(before);
    free(expected);
    free(near);
}

/* Answers are cut anywhere, and go on from there, on two lanes that the same thread waits for in turn. */
Test(tcp_read, more_than_a_full_socket, .timeout = 60)
{
    uint8_t *near = calloc(1, 2 * LENGTH);
    struct link_source *source;
    struct far far;

    far_open_with(&far, &reading);
    fill(&far);
    source = open_source(&far, &reading, near);
    for (int i = 0; i < 60; i++) {
        post_whole(source, 0, (struct link_run){0, 0, LENGTH});
        post_whole(source, 1, (struct link_run){3, (uint64_t)i, LENGTH - (uint64_t)i});
    }
    fence_and_wait(source, &far, 1);
    cr_assert_eq(memcmp(near, far.regions[0], LENGTH), 0);
    cr_assert_eq(memcmp(near + LENGTH, far.regions[3], LENGTH), 0);
    link_tcp.source_close(source);
    far_close(&far);
    free(near);
}

/* Their number is bounded: post takes no more until answers have come. */
Test(tcp_read, many_under_way, .timeout = 60)
{
    struct link_run runs[4 * TCP_ANSWERS_MAX];
    uint8_t *near = calloc(1, 2 * LENGTH);
    size_t n = sizeof(runs) / sizeof(*runs), at = 0;
    struct link_source *source;
    struct tern_error error = {0};
    struct far far;

    for (size_t i = 0; i < n; i++)
        runs[i] = (struct link_run){0, i * 4096, 4096};
    far_open_with(&far, &reading);
    fill(&far);
    source = open_source(&far, &reading, near);
    cr_assert_eq(link_tcp.post(source, 0, runs, n, &error), (int)TCP_ANSWERS_MAX);
    cr_assert_eq(link_tcp.post(source, 0, runs + TCP_ANSWERS_MAX, n - TCP_ANSWERS_MAX, &error), 0);
    for (at = TCP_ANSWERS_MAX; at < n;) {
        int r;

        cr_assert_eq(link_tcp.wait(source, 0, LINK_WAIT_ROOM, PATIENT_MS, &error), 0, "%s", error.message);
        r = link_tcp.post(source, 0, runs + at, n - at, &error);
        cr_assert_gt(r, 0, "there was room");
        at += (size_t)r;
    }
    cr_assert_eq(link_tcp.wait(source, 0, LINK_WAIT_DRAINED, PATIENT_MS, &error), 0, "%s", error.message);
    cr_assert_eq(memcmp(near, far.regions[0], n * 4096), 0);
    link_tcp.source_close(source);
    far_close(&far);
    free(near);
}

/* A page that its owner exposes to writers is not to be had. */
Test(tcp_read, memory_that_is_exposed_for_writing, .timeout = 60)
{
    uint8_t *near = malloc(2 * LENGTH);
    struct link_run run = {0, 0, 4096};
    struct link_source *source;
    struct tern_error error = {0};
    struct far far;

    memset(near, PATTERN, 2 * LENGTH);
    far_open(&far);
    fill(&far);
    source = open_source(&far, &reading, near);
    cr_assert_eq(link_tcp.post(source, 1, &run, 1, &error), 1);
    cr_assert_eq(link_tcp.wait(source, 1, LINK_WAIT_DRAINED, PATIENT_MS, &error), -ENOTCONN);
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, &error), -EPROTO);
    cr_assert_not_null(strstr(error.message, "lane 1: a read, which guest memory is not exposed for"), "%s",
                       error.message);
    for (uint64_t i = 0; i < 2 * LENGTH; i++)
        cr_assert_eq(near[i], PATTERN);
    link_tcp.source_close(source);
    far_close(&far);
    free(near);
}

/* ---- a hostile reader ---- */

static const struct {
    struct frame frame;
    const char *named; /* in the message */
} malformed[] = {
    {{FRAME_READ, 0, LENGTH, 1}, "a read of 1 bytes at 2097152 of region 0 lies outside guest memory"},
    {{FRAME_READ, 0, LENGTH - 1, 2}, "outside guest memory"},
    {{FRAME_READ, 0, 0, LENGTH + 1}, "outside guest memory"},
    {{FRAME_READ, 3, LENGTH + 1, 0}, "outside guest memory"},
    {{FRAME_READ, 0, 0, 0}, "outside guest memory"},
    {{FRAME_READ, 0, LENGTH / 2, UINT64_MAX - LENGTH / 2 + 2}, "outside guest memory"}, /* the sum overflows to 1 */
    {{FRAME_READ, 0, UINT64_MAX - 4095, 4096}, "outside guest memory"},
    {{FRAME_READ, 0, 0, UINT64_MAX}, "outside guest memory"},
    {{FRAME_READ, 0, 1ull << 63, 1ull << 63}, "outside guest memory"},
    {{FRAME_READ, 1, 0, 4096}, "region 1"}, /* not exposed */
    {{FRAME_READ, LINK_REGIONS_MAX, 0, 4096}, "region 64"},
    {{FRAME_READ, UINT32_MAX, 0, 4096}, "region 4294967295"},
    {{FRAME_WRITE, 0, 0, 4096}, "a write, which guest memory is not exposed for"},
    {{FRAME_READ + 1, 0, 0, 4096}, "unknown type"},
};

/* It has got nothing, and the lane is over. */
static void malformed_ends_its_lane(size_t i)
{
    static const uint8_t payload[4096];
    struct tern_error error = {0};
    struct far far;
    int fd;

    far_open_with(&far, &reading);
    fd = open_one_lane(&far, 1);
    put_frame(fd, malformed[i].frame, payload, malformed[i].frame.type == FRAME_WRITE ? sizeof(payload) : 0);
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, &error), -EPROTO, "case %zu: %s", i, error.message);
    cr_assert_not_null(strstr(error.message, malformed[i].named), "case %zu: %s", i, error.message);
    cr_assert_not_null(strstr(error.message, "lane 1"), "case %zu: %s", i, error.message);
    cr_assert_null(strchr(error.message, '\n'));
    closed(fd);
    untouched(&far);
    far_close(&far);
}

Test(tcp_read, malformed_frames, .timeout = 120)
{
    for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++)
        malformed_ends_its_lane(i);
}

/* Good reads in front of a bad one are answered, and no byte more comes. */
Test(tcp_read, nothing_comes_behind_the_last_good_answer, .timeout = 60)
{
    static uint8_t got[5];
    struct far far;
    int fd;

    far_open_with(&far, &reading);
    fill(&far);
    fd = open_one_lane(&far, 0);
    put_frame(fd, (struct frame){FRAME_READ, 3, LENGTH - 3, 3}, NULL, 0);
    put_frame(fd, (struct frame){FRAME_READ, 0, 0, 2}, NULL, 0);
    put_frame(fd, (struct frame){FRAME_READ, 0, LENGTH, GUARD}, NULL, 0);
    cr_assert_eq(recv(fd, got, sizeof(got), MSG_WAITALL), sizeof(got));
    cr_assert_eq(memcmp(got, far.regions[3] + LENGTH - 3, 3), 0);
    cr_assert_eq(memcmp(got + 3, far.regions[0], 2), 0);
    closed(fd);
    far_close(&far);
}

/* One that asks and takes nothing is given up within its time; the other lane is served meanwhile. */
Test(tcp_read, a_reader_that_takes_nothing_is_not_waited_for, .timeout = 60)
{
    struct link_options hasty = reading;
    struct tern_error error = {0};
    uint8_t got[4];
    struct far far;
    int stalled;

    hasty.peer_timeout_ms = STALLED_MS;
    far_open_with(&far, &hasty);
    fill(&far);
    stalled = open_one_lane(&far, 0);
    for (int i = 0; i < 64; i++) /* 128 MiB: more than any socket holds */
        put_frame(stalled, (struct frame){FRAME_READ, 0, 0, LENGTH}, NULL, 0);
    put_frame(far.other_lane, (struct frame){FRAME_READ, 0, 0, sizeof(got)}, NULL, 0);
    cr_assert_eq(recv(far.other_lane, got, sizeof(got), MSG_WAITALL), sizeof(got));
    cr_assert_eq(memcmp(got, far.regions[0], sizeof(got)), 0);
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, &error), -ECONNRESET, "%s", error.message);
    cr_assert_not_null(strstr(error.message, "lane 0: the source asked for 2097152 bytes and takes none"), "%s",
                       error.message);
    close(stalled);
    far_close(&far);
}

/* Nor does it hold up the end. */
Test(tcp_read, teardown_while_a_reader_takes_nothing, .timeout = 60)
{
    struct far far;
    int stalled;

    far_open_with(&far, &reading);
    stalled = open_one_lane(&far, 0);
    for (int i = 0; i < 64; i++)
        put_frame(stalled, (struct frame){FRAME_READ, 0, 0, LENGTH}, NULL, 0);
    while (recv(stalled, &(uint8_t){0}, 1, MSG_PEEK) < 1) /* it is answering */
        ;
    link_tcp.destination_teardown(far.link);
    close(stalled);
    far_close(&far);
}

/* ---- an owner that does not keep its word ---- */

struct owner {
    struct listener *listener;
    int fds[2]; /* hears of a lane that came */
};

static void lane_came(void *opaque, int fd, const struct preamble *preamble)
{
    struct owner *owner = opaque;
    uint8_t accepted = PREAMBLE_ACCEPTED;

    (void)preamble;
    if (send(fd, &accepted, 1, MSG_NOSIGNAL) != 1 || write(owner->fds[1], &fd, sizeof(fd)) != sizeof(fd))
        close(fd); /* the source says so, in the main thread */
}

/* A source with one lane, and that lane's other end in *lane_out. */
static struct link_source *open_to_owner(struct owner *owner, uint8_t *near, int *lane_out)
{
    struct listener_handler handler = {lane_came, on_stranger, owner};
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct link_options one = reading;
    struct link_source *source;

    one.n_lanes = 1;
    cr_assert_eq(pipe(owner->fds), 0);
    cr_assert_eq(listener_create("127.0.0.1", 0, &handler, &owner->listener, NULL), 0);
    peer.sin_port = htons(listener_port(owner->listener));
    cr_assert_eq(link_tcp.source_open(&one, (struct sockaddr *)&peer, token, &source, NULL), 0);
    cr_assert_eq(link_tcp.source_add(source, 0, near, LENGTH, NULL), 0);
    cr_assert_eq(read(owner->fds[0], lane_out, sizeof(*lane_out)), sizeof(*lane_out));
    return source;
}

static void owner_close(struct owner *owner, struct link_source *source)
{
    link_tcp.source_close(source);
    listener_destroy(owner->listener);
    close(owner->fds[0]);
    close(owner->fds[1]);
}

Test(tcp_read, an_answer_that_is_cut_ends_the_lane, .timeout = 60)
{
    static uint8_t near[LENGTH];
    struct link_run runs[] = {{0, 8192, 4096}, {0, 0, 4096}};
    struct link_source *source;
    struct tern_error error = {0};
    struct owner owner;
    int lane;

    source = open_to_owner(&owner, near, &lane);
    cr_assert_eq(link_tcp.post(source, 0, runs, 2, NULL), 2);
    cr_assert_eq(send(lane, "only this", 9, MSG_NOSIGNAL), 9);
    shutdown(lane, SHUT_RDWR);
    cr_assert_eq(link_tcp.wait(source, 0, LINK_WAIT_DRAINED, PATIENT_MS, &error), -ENOTCONN);
    cr_assert_not_null(strstr(error.message, "lane 0 is down"), "%s", error.message);
    cr_assert_eq(memcmp(near + 8192, "only this", 9), 0);
    memset(near + 8192, 0, 9);
    for (uint64_t i = 0; i < LENGTH; i++)
        cr_assert_eq(near[i], 0);
    close(lane);
    owner_close(&owner, source);
}

/* Bytes that nobody asked for belong nowhere. */
Test(tcp_read, more_than_was_asked_for, .timeout = 60)
{
    static uint8_t near[LENGTH];
    struct link_run run = {0, 4096, 4};
    struct link_source *source;
    struct tern_error error = {0};
    struct owner owner;
    int lane, r;

    source = open_to_owner(&owner, near, &lane);
    cr_assert_eq(link_tcp.post(source, 0, &run, 1, NULL), 1);
    cr_assert_eq(send(lane, "that and more", 13, MSG_NOSIGNAL), 13);
    cr_assert_eq(link_tcp.wait(source, 0, LINK_WAIT_DRAINED, PATIENT_MS, &error), 0, "%s", error.message);
    for (r = 0; r >= 0;) { /* until the socket is full and it has to look */
        r = link_tcp.fence(source, 0, 1, &error);
        if (r >= 0)
            r = link_tcp.wait(source, 0, LINK_WAIT_DRAINED, PATIENT_MS, &error);
    }
    cr_assert_eq(r, -ENOTCONN, "%s", error.message);
    cr_assert_eq(memcmp(near + 4096, "that\0\0\0", 7), 0);
    close(lane);
    owner_close(&owner, source);
}

struct waiting {
    struct link_source *source;
    int code;
};

static void *wait_drained(void *argument)
{
    struct waiting *waiting = argument;

    waiting->code = link_tcp.wait(waiting->source, 0, LINK_WAIT_DRAINED, PATIENT_MS, NULL);
    return NULL;
}

Test(tcp_read, abort_while_reading, .timeout = 60)
{
    static uint8_t near[LENGTH];
    struct link_run run = {0, 0, 4096};
    uint8_t asked[FRAME_BYTES];
    struct waiting waiting;
    struct owner owner;
    pthread_t thread;
    int lane;

    waiting.source = open_to_owner(&owner, near, &lane);
    cr_assert_eq(link_tcp.post(waiting.source, 0, &run, 1, NULL), 1);
    cr_assert_eq(link_tcp.wait(waiting.source, 0, LINK_WAIT_DRAINED, 20, NULL), -ETIMEDOUT);
    cr_assert_eq(pthread_create(&thread, NULL, wait_drained, &waiting), 0);
    cr_assert_eq(recv(lane, asked, sizeof(asked), MSG_WAITALL), FRAME_BYTES);
    link_tcp.source_abort(waiting.source);
    pthread_join(thread, NULL);
    cr_assert_eq(waiting.code, -ECANCELED);
    cr_assert_eq(link_tcp.post(waiting.source, 0, &run, 1, NULL), -ECANCELED);
    close(lane);
    owner_close(&owner, waiting.source);
}
