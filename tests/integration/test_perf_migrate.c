/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf migrate as a program: both sides here, a side each, and what it refuses. How fast is not asked. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/common/report.h"

#define LINES_MAX 8

struct output {
    struct json_object *lines[LINES_MAX];
    int n_lines, status;
};

/* This program is build/tests/NAME, the other one build/bin/tern-perf. */
static const char *program(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
    char *slash;

    cr_assert_gt(n, 0);
    path[n] = 0;
    slash = strrchr(path, '/');
    *slash = 0;
    slash = strrchr(path, '/');
    strcpy(slash, "/bin/tern-perf");
    return path;
}

static FILE *start(const char *arguments, const char *stream)
{
    char command[PATH_MAX + 512];
    FILE *out;

    snprintf(command, sizeof(command), "exec '%s' %s %s", program(), arguments, stream);
    out = popen(command, "r");
    cr_assert_not_null(out);
    return out;
}

static void finish(FILE *out, struct output *output)
{
    char line[8192];
    int status;

    *output = (struct output){0};
    while (fgets(line, sizeof(line), out)) {
        cr_assert_lt(output->n_lines, LINES_MAX);
        output->lines[output->n_lines] = json_tokener_parse(line);
        cr_assert_not_null(output->lines[output->n_lines], "no JSON: %s", line);
        output->n_lines++;
    }
    status = pclose(out);
    cr_assert(WIFEXITED(status));
    output->status = WEXITSTATUS(status);
}

static void release(struct output *output)
{
    for (int i = 0; i < output->n_lines; i++)
        json_object_put(output->lines[i]);
}

static void expect_run(struct json_object *line, uint64_t number)
{
    cr_assert_str_eq(json_member_text(line, "event"), "run");
    cr_assert_eq(json_member_number(line, "run"), number);
    cr_assert_str_eq(json_member_text(line, "outcome"), "migrated");
    cr_assert(json_member_flag(line, "verified"));
    cr_assert_eq(json_member_number(line, "memory_bytes"), 32 << 20);
    cr_assert_geq(json_member_number(line, "bytes_sent"), 8 << 20);
    cr_assert_geq(json_member_number(line, "source_guest_bytes"), 8 << 20);
    cr_assert_eq(json_member_number(line, "source_beyond_bytes"),
                 json_member_number(line, "source_peak_bytes") - json_member_number(line, "source_guest_bytes"));
    cr_assert_gt(json_member_double(line, "downtime_ms"), 0);
}

static void expect_done(struct json_object *line, uint64_t runs)
{
    cr_assert_str_eq(json_member_text(line, "event"), "done");
    cr_assert(json_member_flag(line, "ok"));
    cr_assert_eq(json_member_number(line, "runs"), runs);
}

#define GUEST "--memory 32M --random 8M --working-set 4M --dirty-pages 2000 --transport tcp --verify --json"

Test(perf, both_sides_here, .timeout = 60)
{
    struct output output;

    finish(start("migrate --repeat 2 " GUEST, ""), &output);
    cr_assert_eq(output.status, 0);
    cr_assert_eq(output.n_lines, 3);
    for (int i = 0; i < 2; i++) {
        expect_run(output.lines[i], (uint64_t)i + 1);
        cr_assert_geq(json_member_number(output.lines[i], "destination_guest_bytes"), 8 << 20);
        cr_assert_gt(json_member_number(output.lines[i], "destination_beyond_bytes"), 0);
    }
    expect_done(output.lines[2], 2);
    release(&output);
}

Test(perf, a_populated_destination_has_all_its_memory, .timeout = 60)
{
    struct output output;

    finish(start("migrate --populate " GUEST, ""), &output);
    cr_assert_eq(output.n_lines, 2);
    expect_run(output.lines[0], 1);
    cr_assert_eq(json_member_number(output.lines[0], "destination_guest_bytes"), 32 << 20);
    release(&output);
}

/* The source may come before the destination listens, and again between two runs. */
Test(perf, a_side_each, .timeout = 90)
{
    char here[256], there[256];
    struct output source, destination;
    FILE *sends, *receives;
    int port = 20000 + getpid() % 20000;

    snprintf(there, sizeof(there), "migrate --to 127.0.0.1:%d --repeat 2 " GUEST, port);
    snprintf(here, sizeof(here), "migrate --listen 127.0.0.1:%d --memory 32M --transport tcp --repeat 2 --json", port);
    sends = start(there, "");
    receives = start(here, "2>/dev/null");
    finish(sends, &source);
    finish(receives, &destination);
    cr_assert_eq(source.status, 0);
    cr_assert_eq(destination.status, 0);
    cr_assert_eq(source.n_lines, 3);
    cr_assert_eq(destination.n_lines, 3);
    expect_run(source.lines[0], 1);
    expect_run(source.lines[1], 2);
    expect_done(source.lines[2], 2);
    expect_done(destination.lines[2], 2);
    cr_assert_geq(json_member_number(destination.lines[1], "destination_guest_bytes"), 8 << 20);
    release(&source);
    release(&destination);
}

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *value;

    cr_assert(json_object_object_get_ex(object, name, &value), "no member %s", name);
    return value;
}

Test(perf, rounds_are_told_and_zero_pages_are_not_sent, .timeout = 60)
{
    struct output output;
    struct json_object *rounds, *last;
    uint64_t sent = 0;

    finish(start("migrate --zero 6M " GUEST, ""), &output);
    cr_assert_eq(output.status, 0);
    cr_assert_eq(json_member_number(output.lines[0], "zero_pages"), (6 << 20) / 4096);
    rounds = member(output.lines[0], "round");
    cr_assert_geq(json_object_array_length(rounds), 1);
    for (size_t i = 0; i < json_object_array_length(rounds); i++)
        sent += json_member_number(json_object_array_get_idx(rounds, i), "bytes");
    cr_assert_eq(sent + json_member_number(output.lines[0], "last_round_bytes"),
                 json_member_number(output.lines[0], "bytes_sent"));
    last = json_object_array_get_idx(rounds, json_object_array_length(rounds) - 1);
    cr_assert_geq(json_member_number(output.lines[0], "last_round_bytes"), json_member_number(last, "left_bytes"));
    cr_assert_gt(json_member_double(output.lines[0], "minimum_total_ms"), 0);
    release(&output);
}

Test(perf, model_predicts_without_measuring, .timeout = 60)
{
    struct output output;

    finish(start("model --memory 1024G --working-set 16G --dirty-pages 100000 --bandwidth 100Gb/s --json", ""),
           &output);
    cr_assert_eq(output.status, 0);
    cr_assert_eq(output.n_lines, 2);
    cr_assert(json_member_flag(output.lines[0], "migrates"));
    cr_assert_gt(json_member_double(member(output.lines[0], "predicted"), "total_ms"), 87960); /* 2^43 bits */
    cr_assert_leq(json_member_double(member(output.lines[0], "predicted"), "downtime_ms"), 50);
    cr_assert_not(json_object_object_get_ex(output.lines[0], "measured", NULL));
    release(&output);
}

Test(perf, model_measures, .timeout = 60)
{
    struct output output;

    finish(start("model --measure --memory 32M --working-set 8M --dirty-pages 5000 --json", ""), &output);
    cr_assert_eq(output.status, 0);
    cr_assert_gt(json_member_number(output.lines[0], "bandwidth_bps"), 0);
    cr_assert_geq(json_member_number(member(output.lines[0], "measured"), "bytes_sent"), 32 << 20);
    cr_assert_geq(json_member_number(member(output.lines[0], "predicted"), "bytes_sent"), 32 << 20);
    cr_assert_gt(json_member_double(member(output.lines[0], "measured_by_predicted"), "total_ms"), 0);
    release(&output);
}

Test(perf, what_cannot_be_is_usage, .timeout = 60)
{
    static const char *const wrong[] = {
        "migrate --memory 32M --random 64M",
        "migrate --dirty-pages 5",
        "migrate --listen :7999 --random 1M",
        "migrate --to 127.0.0.1:7999 --host 127.0.0.1",
        "migrate --host 127.0.0.1:7999",
        "migrate --memory 3M --page-size 2M",
        "migrate --repeat 0",
        "migrate --memory 32M --random 16M --zero 17M",
        "migrate --bandwidth 5",
        "model --memory 1G",
        "model --bandwidth 10",
        "model --bandwidth 1Gb/s --working-set 1M",
        "measure",
        "",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct output output;

        finish(start(wrong[i], "2>/dev/null"), &output);
        cr_assert_eq(output.status, 2, "'%s': %d", wrong[i], output.status);
        cr_assert_eq(output.n_lines, 0);
    }
}

Test(perf, an_address_that_is_not_here_is_an_error_with_its_side, .timeout = 60)
{
    struct output output;

    finish(start("migrate --host 192.0.2.1 " GUEST, ""), &output);
    cr_assert_eq(output.status, 1);
    cr_assert_eq(output.n_lines, 2);
    cr_assert_str_eq(json_member_text(output.lines[0], "event"), "error");
    cr_assert_str_eq(json_member_text(output.lines[0], "side"), "destination");
    cr_assert(!json_member_flag(output.lines[1], "ok"));
    release(&output);
}
