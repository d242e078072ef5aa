/* SPDX-License-Identifier: BSD-2-Clause */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/report.h"
#include "transport/clock.h"

static const char *const ledger_members[] = {"stop_ms",  "last_scan_ms", "last_write_ms", "fence_ms",
                                             "state_ms", "commit_ms",    "activate_ms"};

/* Microseconds of a member, as its decimals say. */
static long written_us(struct json_object *object, const char *name)
{
    struct json_object *member;
    const char *text;
    char *end;
    long ms;

    cr_assert(json_object_object_get_ex(object, name, &member), "%s is missing", name);
    text = json_object_to_json_string(member);
    ms = strtol(text, &end, 10);
    cr_assert(*end == '.' && strlen(end) == 4, "%s is %s", name, text);
    return ms * 1000 + strtol(end + 1, NULL, 10);
}

static void expect_sum(const struct tern_ledger *ledger)
{
    const uint64_t *ns = (const uint64_t *)ledger;
    struct tern_result result = {.ledger = *ledger};
    struct json_object *object, *downtime;
    long sum_us = 0;

    for (size_t i = 0; i < 7; i++)
        result.downtime_ns += ns[i];
    object = json_of_result(&result);
    cr_assert(json_object_object_get_ex(object, "downtime", &downtime));
    cr_assert_eq(json_object_object_length(downtime), 7);
    for (size_t i = 0; i < 7; i++) {
        long us = written_us(downtime, ledger_members[i]);

        cr_assert_leq(labs(us * 1000 - (long)ns[i]), 1000, "%s", ledger_members[i]);
        sum_us += us;
    }
    cr_assert_eq(sum_us, written_us(object, "downtime_ms"));
    json_object_put(object);
}

Test(report, the_ledger_adds_up_as_written, .timeout = 10)
{
    struct tern_ledger ledger;
    uint64_t *ns = (uint64_t *)&ledger;

    srand(7);
    for (int round = 0; round < 1000; round++) {
        for (size_t i = 0; i < 7; i++)
            ns[i] = (uint64_t)rand() % (round % 2 ? 3000 : 90000000);
        expect_sum(&ledger);
    }
    expect_sum(&(struct tern_ledger){.stop_ns = 499, .fence_ns = 499, .commit_ns = 499});
    expect_sum(&(struct tern_ledger){0});
}

Test(report, a_result_has_the_members_of_the_contract, .timeout = 10)
{
    static const char *const members[] = {"transport",    "device",   "lanes",      "total_ms",   "setup_ms",
                                          "downtime_ms",  "rounds",   "bytes_sent", "pages_sent", "zero_pages",
                                          "memory_bytes", "mean_bps", "verified",   "downtime"};
    struct tern_result result = {.outcome = TERN_OUTCOME_MIGRATED,
                                 .transport = "verbs",
                                 .device = "rxe0",
                                 .lanes = 4,
                                 .bytes_sent = 1ull << 40,
                                 .verified = true};
    struct json_object *object = json_of_result(&result);
    struct json_object *done = json_of_done(true, object);

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        cr_assert(json_object_object_get_ex(done, members[i], NULL), "%s is missing", members[i]);
    cr_assert_str_eq(json_member_text(done, "event"), "done");
    cr_assert(json_member_flag(done, "ok"));
    cr_assert(json_member_flag(done, "verified"));
    cr_assert_eq(json_member_number(done, "bytes_sent"), 1ull << 40);
    cr_assert_str_eq(json_member_text(done, "device"), "rxe0");
    json_object_put(object);
    json_object_put(done);
}

Test(report, events_say_what_they_are, .timeout = 10)
{
    struct tern_event event = {.kind = TERN_EVENT_ROUND,
                               .side = TERN_SIDE_SOURCE,
                               .phase = TERN_PHASE_PRE_COPY,
                               .round = 3,
                               .bytes_left = 4096,
                               .predicted_downtime_ns = 1500000};
    struct json_object *object = json_of_event(&event);

    cr_assert_str_eq(json_member_text(object, "event"), "round");
    cr_assert_str_eq(json_member_text(object, "phase"), "pre-copy");
    cr_assert_str_eq(json_member_text(object, "side"), "source");
    cr_assert_eq(json_member_number(object, "bytes_left"), 4096);
    cr_assert_eq(json_member_double(object, "predicted_downtime_ms"), 1.5);
    json_object_put(object);

    event = (struct tern_event){.kind = TERN_EVENT_WARNING, .text = "quote \" and \\ and \n"};
    object = json_of_event(&event);
    cr_assert_str_eq(json_member_text(object, "message"), event.text);
    cr_assert_null(strchr(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN), '\n'));
    json_object_put(object);
}

Test(report, every_line_says_when_it_was, .timeout = 10)
{
    struct tern_event event = {.kind = TERN_EVENT_PHASE};
    struct tern_error error = {.code = -EIO};
    double before_ms = (double)clock_wall_ns() / 1e6 - 0.001;
    struct json_object *lines[] = {json_of_event(&event), json_of_error(&error), json_of_done(true, NULL)};
    double after_ms = (double)clock_wall_ns() / 1e6 + 0.001;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        cr_assert(json_member_double(lines[i], "time_ms") >= before_ms, "line %zu", i);
        cr_assert(json_member_double(lines[i], "time_ms") <= after_ms, "line %zu", i);
        json_object_put(lines[i]);
    }
}

Test(report, an_error_comes_back_whole, .timeout = 10)
{
    struct tern_error error = {
        .code = -ECONNREFUSED, .side = TERN_SIDE_DESTINATION, .message = "no one", .hint = "start it"};
    struct tern_error back;
    struct json_object *object = json_of_error(&error);

    cr_assert_str_eq(json_member_text(object, "code"), "ECONNREFUSED");
    json_read_error(object, &back);
    cr_assert_eq(back.code, -ECONNREFUSED);
    cr_assert_eq(back.side, TERN_SIDE_DESTINATION);
    cr_assert_str_eq(back.message, "no one");
    cr_assert_str_eq(back.hint, "start it");
    json_object_put(object);
}

Test(report, numa_nodes_and_workers, .timeout = 10)
{
    struct tern_result result = {.n_nodes = 2, .n_workers = 1};
    struct json_object *object, *numa, *nodes, *workers;
    char text[128], cut[16];

    result.nodes[0] = (struct tern_node_pages){0, 1024};
    result.nodes[1] = (struct tern_node_pages){3, 5};
    result.workers[0] = (struct tern_worker){.lane = 0, .node = 3, .rail = "rxe1", .pages_sent = 17, .away_pages = 2};
    object = json_of_result(&result);
    cr_assert(json_object_object_get_ex(object, "numa", &numa));
    cr_assert(json_object_object_get_ex(numa, "nodes", &nodes) && json_object_array_length(nodes) == 2);
    cr_assert_eq(json_member_number(json_object_array_get_idx(nodes, 1), "node"), 3);
    cr_assert_eq(json_member_number(json_object_array_get_idx(nodes, 1), "pages"), 5);
    cr_assert(json_object_object_get_ex(numa, "workers", &workers) && json_object_array_length(workers) == 1);
    workers = json_object_array_get_idx(workers, 0);
    cr_assert_eq(json_member_number(workers, "node"), 3);
    cr_assert_eq(json_member_number(workers, "pages_sent"), 17);
    cr_assert_eq(json_member_number(workers, "away_pages"), 2);
    cr_assert_str_eq(json_member_text(workers, "rail"), "rxe1");
    cr_assert_not(json_member_flag(numa, "sampled"));
    cr_assert_str_eq(report_nodes(&result, text, sizeof(text)), "node 0: 1,024 pages, node 3: 5 pages");
    result.nodes_sampled = true;
    cr_assert_str_eq(report_nodes(&result, text, sizeof(text)), "node 0: about 1,024 pages, node 3: about 5 pages");
    cr_assert_lt(strlen(report_nodes(&result, cut, sizeof(cut))), sizeof(cut));
    json_object_put(object);
    result.n_nodes = 0;
    object = json_of_result(&result);
    cr_assert_not(json_object_object_get_ex(object, "numa", &numa), "one node: nothing to say");
    cr_assert_str_eq(report_nodes(&result, text, sizeof(text)), "");
    json_object_put(object);
}
