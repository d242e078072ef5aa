/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf scan and harvest as programs: what they list, in JSON and as text. How fast is not asked. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/zero.h"
#include "tools/common/report.h"

/* This program is build/tests/NAME, the other one build/bin/tern-perf. */
static FILE *start(const char *arguments)
{
    char path[PATH_MAX], command[PATH_MAX + 512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

    cr_assert_gt(n, 0);
    path[n] = 0;
    *strrchr(path, '/') = 0;
    strcpy(strrchr(path, '/'), "/bin/tern-perf");
    snprintf(command, sizeof(command), "exec '%s' %s 2>/dev/null", path, arguments);
    return popen(command, "r");
}

static int finish(FILE *out)
{
    int status = pclose(out);

    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static struct json_object *next_line(FILE *out)
{
    char line[4096];
    struct json_object *object;

    cr_assert_not_null(fgets(line, sizeof(line), out), "a line is missing");
    object = json_tokener_parse(line);
    cr_assert_not_null(object, "no JSON: %s", line);
    return object;
}

static void expect_done(FILE *out)
{
    struct json_object *done = next_line(out);
    char rest[8];

    cr_assert_str_eq(json_member_text(done, "event"), "done");
    cr_assert(json_member_flag(done, "ok"));
    json_object_put(done);
    cr_assert_null(fgets(rest, sizeof(rest), out), "more than done");
    cr_assert_eq(finish(out), 0);
}

static void expect_spread(struct json_object *line)
{
    double median = json_member_double(line, "median_ms");

    cr_assert_gt(json_member_double(line, "slowest_ms"), 0);
    cr_assert_leq(json_member_double(line, "fastest_ms"), median);
    cr_assert_geq(json_member_double(line, "slowest_ms"), median);
}

Test(scan, every_variant_for_every_kind_of_page, .timeout = 120)
{
    static const char *const pages[] = {"zero", "first", "last"};
    FILE *out = start("scan --memory 32M --samples 3 --json");

    for (int kind = 0; kind < 3; kind++)
        for (int i = -1; i <= ZERO_VARIANTS; i++) {
            const char *by = i < 0 ? "plain read" : i < ZERO_VARIANTS ? zero_variants[i].name : "migration";
            struct json_object *line;

            if (i >= 0 && i < ZERO_VARIANTS && !zero_variants[i].supported())
                continue;
            line = next_line(out);
            cr_assert_str_eq(json_member_text(line, "event"), "scan");
            cr_assert_str_eq(json_member_text(line, "pages"), pages[kind]);
            cr_assert_str_eq(json_member_text(line, "by"), by);
            cr_assert_gt(json_member_number(line, "bytes_ps"), 0);
            cr_assert_gt(json_member_double(line, "ratio"), 0);
            expect_spread(line);
            json_object_put(line);
        }
    expect_done(out);
}

Test(harvest, dirty_pages_of_one_size, .timeout = 120)
{
    static const double percent[] = {0.001, 0.01, 0.1, 1, 10, 100};
    const uint64_t pages = (4ull << 30) / 4096;
    FILE *out = start("harvest --memory 4G --samples 2 --json");

    for (int i = 0; i < 6; i++)
        for (int clustered = 0; clustered < 2; clustered++) {
            struct json_object *line = next_line(out);
            uint64_t dirty = json_member_number(line, "dirty_pages"), runs = json_member_number(line, "runs");

            cr_assert_str_eq(json_member_text(line, "event"), "harvest");
            cr_assert_str_eq(json_member_text(line, "pattern"), clustered ? "clustered" : "random");
            cr_assert_float_eq(json_member_double(line, "dirty_percent"), percent[i], 1e-9);
            cr_assert_leq(dirty, pages * percent[i] / 100);
            cr_assert_geq(dirty, pages * percent[i] / 100 * 0.9 - 64, "%g %%: %lu pages", percent[i], dirty);
            cr_assert_leq(runs, dirty);
            cr_assert(!clustered || runs < dirty / 16 + 4, "clusters are few runs: %lu", runs);
            if (percent[i] == 100)
                cr_assert_eq(runs, pages / 512, "a unit is one run");
            expect_spread(line);
            json_object_put(line);
        }
    expect_done(out);
}

Test(harvest, head_and_rows_as_text, .timeout = 60)
{
    FILE *out = start("harvest --memory 64M --samples 1");
    char line[256];
    int lines = 0;

    while (fgets(line, sizeof(line), out))
        lines++;
    cr_assert_eq(lines, 13);
    cr_assert_eq(finish(out), 0);
}

Test(alone, refused_with_status_2, .timeout = 60)
{
    static const char *const arguments[] = {"scan --samples 0",
                                            "scan --memory 3M --page-size 2M",
                                            "harvest --page-size 2M",
                                            "scan --lanes 2",
                                            "migrate --samples 3",
                                            "web --events FILE",
                                            "web --url http://127.0.0.1/ --peer",
                                            "web --url http://127.0.0.1/ --plot FILE",
                                            "web --show FILE --connections 3"};

    for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++)
        cr_assert_eq(finish(start(arguments[i])), 2, "%s", arguments[i]);
}
