/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker notes arrives as LIST messages: every run, in order, under its own round and region. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "migrate/run_lists.h"

struct ends {
    struct control *here, *peer;
    struct run_list *list;
};

static void ends_open(struct ends *ends, enum wire_list_kind kind)
{
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(control_create(fds[0], 10000, NULL, NULL, &ends->here, NULL), 0);
    cr_assert_eq(control_create(fds[1], 10000, NULL, NULL, &ends->peer, NULL), 0);
    ends->list = calloc(1, sizeof(*ends->list));
    ends->list->control = ends->here;
    ends->list->kind = kind;
}

static void ends_close(struct ends *ends)
{
    struct tern_error error = {0};

    cr_assert_eq(run_list_flush(ends->list, &error), 0, "%s", error.message);
    control_destroy(ends->here); /* lingers until the peer has read the end */
    control_destroy(ends->peer);
    free(ends->list);
}

static void add(struct ends *ends, uint32_t round, uint32_t region, uint64_t first, uint64_t n)
{
    struct tern_error error = {0};

    cr_assert_eq(run_list_add(ends->list, round, region, first, n, &error), 0, "%s", error.message);
}

/* The next message at the peer, whole. */
static struct control_frame next(struct ends *ends, struct wire_list *list)
{
    struct control_frame frame;

    cr_assert_eq(control_receive(ends->peer, 10000, &frame, NULL), 0);
    cr_assert_eq(frame.type, WIRE_LIST);
    cr_assert_eq(wire_get_list(frame.payload, frame.length_bytes, list), 0);
    return frame;
}

static void expect(struct ends *ends, uint32_t round, uint32_t region, const struct wire_run *runs, uint32_t n)
{
    struct wire_list list;
    struct control_frame frame = next(ends, &list);

    cr_assert_eq(list.round, round);
    cr_assert_eq(list.region, region);
    cr_assert_eq(list.kind, ends->list->kind);
    cr_assert_eq(list.n_runs, n);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_eq(wire_list_run(&list, i).first_page, runs[i].first_page);
        cr_assert_eq(wire_list_run(&list, i).n_pages, runs[i].n_pages);
    }
    control_frame_free(&frame);
}

static void expect_nothing(struct ends *ends)
{
    struct control_frame frame;

    control_kick(ends->peer);
    cr_assert_neq(control_receive(ends->peer, 0, &frame, NULL), 0, "a message came unasked");
}

Test(run_lists, nothing_noted_sends_nothing, .timeout = 30)
{
    struct ends ends;

    ends_open(&ends, WIRE_LIST_WRITTEN);
    cr_assert_eq(run_list_flush(ends.list, NULL), 0);
    cr_assert_eq(run_list_flush(ends.list, NULL), 0);
    control_destroy(ends.here);
    struct control_frame frame;
    cr_assert_eq(control_receive(ends.peer, 10000, &frame, NULL), -EPIPE, "the end is the first that comes");
    control_destroy(ends.peer);
    free(ends.list);
}

Test(run_lists, neighbours_are_joined, .timeout = 30)
{
    static const struct wire_run runs[] = {{10, 6}, {17, 1}, {5, 1}};
    struct ends ends;

    ends_open(&ends, WIRE_LIST_CLEAR);
    add(&ends, 1, 0, 10, 2);
    add(&ends, 1, 0, 12, 4);
    add(&ends, 1, 0, 17, 1);
    add(&ends, 1, 0, 5, 1); /* not in order: a run of its own */
    expect_nothing(&ends);
    cr_assert_eq(run_list_flush(ends.list, NULL), 0);
    expect(&ends, 1, 0, runs, 3);
    ends_close(&ends);
}

/* Pages that are neighbours by number only must not become one run. */
Test(run_lists, another_region_or_round_is_another_message, .timeout = 30)
{
    static const struct wire_run first = {10, 1}, second = {11, 1}, third = {12, 1};
    struct ends ends;

    ends_open(&ends, WIRE_LIST_WRITTEN);
    add(&ends, 1, 0, 10, 1);
    add(&ends, 1, 1, 11, 1);
    add(&ends, 2, 1, 12, 1);
    cr_assert_eq(run_list_flush(ends.list, NULL), 0);
    expect(&ends, 1, 0, &first, 1);
    expect(&ends, 1, 1, &second, 1);
    expect(&ends, 2, 1, &third, 1);
    ends_close(&ends);
}

Test(run_lists, a_full_list_is_sent, .timeout = 30)
{
    struct wire_run runs[RUN_LIST_RUNS], last = {RUN_LIST_RUNS * 2ull, 1};
    struct ends ends;

    ends_open(&ends, WIRE_LIST_WRITTEN);
    for (uint32_t i = 0; i < RUN_LIST_RUNS; i++) {
        runs[i] = (struct wire_run){i * 2ull, 1};
        add(&ends, 3, 2, i * 2ull, 1);
    }
    expect_nothing(&ends);
    add(&ends, 3, 2, RUN_LIST_RUNS * 2ull, 1);
    expect(&ends, 3, 2, runs, RUN_LIST_RUNS);
    cr_assert_eq(run_list_flush(ends.list, NULL), 0);
    expect(&ends, 3, 2, &last, 1);
    ends_close(&ends);
}

Test(run_lists, a_full_list_still_joins, .timeout = 30)
{
    struct wire_list list;
    struct ends ends;

    ends_open(&ends, WIRE_LIST_WRITTEN);
    for (uint32_t i = 0; i < RUN_LIST_RUNS; i++)
        add(&ends, 1, 0, i * 2ull, 1);
    add(&ends, 1, 0, RUN_LIST_RUNS * 2ull - 1, 5);
    cr_assert_eq(run_list_flush(ends.list, NULL), 0);
    struct control_frame frame = next(&ends, &list);
    cr_assert_eq(list.n_runs, RUN_LIST_RUNS);
    cr_assert_eq(wire_list_run(&list, RUN_LIST_RUNS - 1).n_pages, 6);
    control_frame_free(&frame);
    ends_close(&ends);
}

Test(run_lists, a_lost_peer_is_an_error, .timeout = 30)
{
    struct tern_error error = {0};
    struct ends ends;
    int r = 0;

    ends_open(&ends, WIRE_LIST_WRITTEN);
    control_cut(ends.peer);
    for (int i = 0; !r && i < 1000; i++) {
        r = run_list_add(ends.list, 1, 0, 10, 1, &error);
        if (!r)
            r = run_list_flush(ends.list, &error);
    }
    cr_assert_lt(r, 0);
    cr_assert_gt(strlen(error.message), 0);
    control_destroy(ends.here);
    free(ends.list);
}
