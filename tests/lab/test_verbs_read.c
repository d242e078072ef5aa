/* SPDX-License-Identifier: BSD-2-Clause */
/* One-sided reads by the verbs provider on a soft-RoCE device, and what the device refuses. Run in the lab by
 * suite_verbs_errors.sh, which names the host's address. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/common/pair.h"
#include "tests/lab/verbs_ends.h"

#define PIECE    4096u
#define N_PIECES (REGION_BYTES / PIECE)
#define PATIENT  20000

/* The destination's memory has what the source shall read; the source's is something else. */
static void ends_init_reading(struct ends *ends)
{
    ends_init(ends, pair_host(false));
    ends->options.operation = LINK_READ;
    memcpy(ends->to, ends->from, REGION_BYTES);
    memset(ends->from, 0xa5, REGION_BYTES);
}

static void post_all(struct ends *ends, uint32_t lane, const struct link_run *runs, size_t n)
{
    struct tern_error error = {0};

    for (size_t at = 0; at < n;) {
        int r = link_verbs.post(ends->source, lane, runs + at, n - at, &error);

        cr_assert_geq(r, 0, "%s", error.message);
        at += (size_t)r;
        if (at < n)
            cr_assert_eq(link_verbs.wait(ends->source, lane, LINK_WAIT_ROOM, PATIENT, &error), 0, "%s", error.message);
    }
}

static void fence_all(struct ends *ends)
{
    struct tern_error error = {0};

    for (uint32_t i = 0; i < N_LANES; i++) {
        cr_assert_eq(link_verbs.fence(ends->source, i, 1, &error), 0, "%s", error.message);
        cr_assert_eq(link_verbs.wait(ends->source, i, LINK_WAIT_DRAINED, PATIENT, &error), 0, "%s", error.message);
    }
    cr_assert_eq(link_verbs.wait_fence(ends->destination, 1, PATIENT, &error), 0, "%s", error.message);
}

/* How many reads the queue pair may have on the wire: as many as the device begins and answers. */
static void depth_is_the_devices(const struct ends *ends)
{
    struct rdma_cm_id *id = ends->source->lanes[0].id;
    struct ibv_device_attr device;
    struct ibv_qp_init_attr init;
    struct ibv_qp_attr attr;
    int most;

    cr_assert_eq(ibv_query_device(id->verbs, &device), 0);
    most = device.max_qp_rd_atom < device.max_qp_init_rd_atom ? device.max_qp_rd_atom : device.max_qp_init_rd_atom;
    cr_assert_eq(ibv_query_qp(id->qp, &attr, IBV_QP_MAX_QP_RD_ATOMIC, &init), 0);
    printf("reads on the wire: %d of %d\n", attr.max_rd_atomic, most);
    cr_assert_gt(most, 1);
    cr_assert_eq(attr.max_rd_atomic, most);
}

/* The odd pieces, many on the way at the same time, in no order, on both lanes; then whole chunks and across them. */
Test(read, every_byte_comes_into_its_place_and_no_other, .timeout = 60)
{
    struct link_run *runs = calloc(N_PIECES / 2, sizeof(*runs)), whole = {0, 0, REGION_BYTES};
    uint8_t *before = malloc(REGION_BYTES);
    struct ends ends;

    ends_init_reading(&ends);
    memcpy(before, ends.to, REGION_BYTES);
    ends_join(&ends);
    depth_is_the_devices(&ends);
    for (size_t i = 0; i < N_PIECES / 2; i++) /* 919 is prime to their number: each once */
        runs[i] = (struct link_run){0, (2 * (i * 919 % (N_PIECES / 2)) + 1) * PIECE, PIECE};
    post_all(&ends, 0, runs, N_PIECES / 4);
    cr_assert_leq(ends.source->lanes[0].posted - ends.source->lanes[0].completed, ends.source->lanes[0].depth);
    post_all(&ends, 1, runs + N_PIECES / 4, N_PIECES / 4);
    fence_all(&ends);
    for (size_t i = 0; i < REGION_BYTES; i++)
        cr_assert_eq(ends.from[i], i / PIECE % 2 ? before[i] : 0xa5, "byte %zu", i);
    memset(ends.from, 0xa5, REGION_BYTES);
    post_all(&ends, 1, &whole, 1);
    cr_assert_eq(link_verbs.wait(ends.source, 1, LINK_WAIT_DRAINED, PATIENT, NULL), 0);
    cr_assert_eq(memcmp(ends.from, before, REGION_BYTES), 0);
    cr_assert_eq(memcmp(ends.to, before, REGION_BYTES), 0, "reading changed what was read");
    ends_free(&ends);
    free(before);
    free(runs);
}

/* Each of the ends takes the link for something else: the device goes by the rights to memory. */
static void refused(enum link_operation exposed_for, const char *what)
{
    struct link_run run = {0, CHUNK_BYTES, PIECE};
    struct tern_error error = {0};
    struct ends ends;

    ends_init(&ends, pair_host(false));
    memset(ends.to, 0xc3, REGION_BYTES);
    memset(ends.from, 0xa5, REGION_BYTES);
    ends.options.operation = exposed_for;
    ends.options.registration = ends.source_registers = LINK_REGISTER_PIN;
    ends_listen(&ends);
    ends.options.operation = exposed_for == LINK_READ ? LINK_WRITE : LINK_READ;
    cr_assert_eq(ends_connect(&ends, ends.token, &error), 0, "%s", error.message);
    ends_register(&ends);
    post_all(&ends, 0, &run, 1);
    cr_assert_eq(link_verbs.wait(ends.source, 0, LINK_WAIT_DRAINED, PATIENT, &error), -EREMOTEIO, "%s", error.message);
    says(&error, what);
    says(&error, "remote access error");
    for (size_t i = 0; i < REGION_BYTES; i++)
        cr_assert(ends.to[i] == 0xc3 && ends.from[i] == 0xa5, "byte %zu", i);
    ends_free(&ends);
}

Test(read, memory_that_is_exposed_for_writing_is_not_read, .timeout = 60)
{
    refused(LINK_WRITE, "a read of 4096 bytes of region 0 at 0x200000");
}

Test(read, memory_that_is_exposed_for_reading_is_not_written, .timeout = 60)
{
    refused(LINK_READ, "a write of 4096 bytes to region 0 at 0x200000");
}

Test(read, goes_through_no_ring, .timeout = 60)
{
    struct tern_error error = {0};
    struct ends ends;
    uint16_t port;

    ends_init_reading(&ends);
    ends.options.registration = LINK_REGISTER_RING;
    cr_assert_eq(link_verbs.destination_open(&ends.options, (struct sockaddr *)&ends.address, ends.token, &port,
                                             &ends.destination, &error),
                 -EINVAL);
    cr_assert_eq(
        link_verbs.source_open(&ends.options, (struct sockaddr *)&ends.address, ends.token, &ends.source, &error),
        -EINVAL);
    ends_free(&ends);
}

struct reader {
    struct ends *ends;
    _Atomic uint32_t rounds;
    _Atomic bool ended;
    int code;
};

/* The whole region, over and over, until it fails. */
static void *read_on(void *argument)
{
    struct reader *reader = argument;
    struct link_run whole = {0, 0, REGION_BYTES};
    int r = 0;

    while (r >= 0) {
        r = link_verbs.post(reader->ends->source, 0, &whole, 1, NULL);
        if (r >= 0)
            r = link_verbs.wait(reader->ends->source, 0, LINK_WAIT_DRAINED, PATIENT, NULL);
        reader->rounds += r == 0;
    }
    reader->code = r;
    reader->ended = true;
    return NULL;
}

static void read_until(struct ends *ends, void (*end)(struct ends *ends), int *code_out)
{
    struct reader reader = {.ends = ends};
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, read_on, &reader), 0);
    while (!reader.rounds && !reader.ended)
        sched_yield();
    end(ends);
    pthread_join(thread, NULL);
    cr_assert_gt(reader.rounds, 0, "it read nothing: %d", reader.code);
    *code_out = reader.code;
}

static void abort_source(struct ends *ends)
{
    link_verbs.source_abort(ends->source);
}

static void tear_down(struct ends *ends)
{
    link_verbs.destination_teardown(ends->destination);
}

Test(read, abort_while_reading, .timeout = 60)
{
    struct ends ends;
    int code;

    ends_init_reading(&ends);
    ends_join(&ends);
    read_until(&ends, abort_source, &code);
    cr_assert_eq(code, -ECANCELED);
    ends_free(&ends);
}

Test(read, nothing_is_answered_after_teardown, .timeout = 60)
{
    struct ends ends;
    int code;

    ends_init_reading(&ends);
    ends_join(&ends);
    read_until(&ends, tear_down, &code);
    cr_assert(code == -ENOTCONN || code == -EREMOTEIO, "%d", code);
    ends_free(&ends);
}
