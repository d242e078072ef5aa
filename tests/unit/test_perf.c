/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf's pure parts: the middle and the worst of several, what /proc says, what goes with which mode. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "perf/cli.h"
#include "perf/memory.h"
#include "perf/samples.h"
#include "perf/show.h"

Test(samples, median_of_odd_even_and_one, .timeout = 10)
{
    uint64_t odd[] = {9, 1, 5}, even[] = {8, 2, 4, 100}, one[] = {7}, huge[] = {UINT64_MAX, UINT64_MAX - 2};

    cr_assert_eq(samples_median(odd, 3), 5);
    cr_assert_eq(samples_median(even, 4), 6);
    cr_assert_eq(samples_median(one, 1), 7);
    cr_assert_eq(samples_median(huge, 2), UINT64_MAX - 1);
}

Test(samples, worst_depends_on_what_is_better, .timeout = 10)
{
    uint64_t values[] = {4, 2, 9};

    cr_assert_eq(samples_worst(values, 3, true), 2);
    cr_assert_eq(samples_worst(values, 3, false), 9);
}

Test(memory, field_of_a_status_line, .timeout = 10)
{
    cr_assert_eq(memory_field("VmHWM:\t    2048 kB\n", "VmHWM"), 2048 << 10);
    cr_assert_eq(memory_field("VmHWM:\t    2048 kB\n", "VmRSS"), 0);
    cr_assert_eq(memory_field("VmHWMore: 1 kB\n", "VmHWM"), 0);
    cr_assert_eq(memory_field("VmHWM:\n", "VmHWM"), 0);
}

Test(memory, only_the_guests_mappings_count, .timeout = 10)
{
    struct tern_region regions[] = {{.base = (void *)0x7f0000000000, .length_bytes = 0x200000},
                                    {.base = (void *)0x7f8000000000, .length_bytes = 0x1000}};
    static const char *const lines[] = {
        "7effffe00000-7f0000000000 rw-p 00000000 00:00 0\n",
        "Rss:               10 kB\n",
        "7f0000000000-7f0000001000 rw-p 00000000 00:00 0\n",
        "Size:               4 kB\n",
        "Rss:                4 kB\n",
        "7f0000001000-7f0000200000 rw-p 00000000 00:00 0\n",
        "Rss:              100 kB\n",
        "7f0000200000-7f0000201000 r-xp 00000000 00:00 5 /lib/a.so\n",
        "Rss:             1000 kB\n",
        "7f8000000000-7f8000001000 rw-p 00000000 00:00 0\n",
        "Rss:                8 kB\n",
    };
    struct memory_smaps smaps = {.regions = regions, .n_regions = 2};

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        memory_smaps_line(&smaps, lines[i]);
    cr_assert_eq(smaps.resident_bytes, 112 << 10);
}

Test(memory, this_process_has_some, .timeout = 10)
{
    struct tern_error error = {0};
    struct memory_use use;
    uint64_t bytes = 8 << 20;
    char *memory = aligned_alloc(4096, bytes);
    struct tern_region region = {.base = memory, .length_bytes = bytes};

    memset(memory, 1, bytes);
    cr_assert_eq(memory_use_read(&region, 1, &use, &error), 0, "%s", error.message);
    cr_assert_gt(use.peak_bytes, bytes);
    cr_assert_gt(use.anon_bytes, bytes);
    cr_assert_gt(memory_use_beyond(&use), 0);
    free(memory);
}

Test(memory, beyond_is_never_negative, .timeout = 10)
{
    struct memory_use use = {.peak_bytes = 5, .guest_bytes = 3};

    cr_assert_eq(memory_use_beyond(&use), 2);
    use.guest_bytes = 6;
    cr_assert_eq(memory_use_beyond(&use), 0);
}

static int given_in(const char *option, enum perf_command mode)
{
    struct option_texts texts = {0};
    struct tern_error error = {0};
    int i = options_find(&perf_options, PERF_MIGRATE, option, strlen(option));

    cr_assert_geq(i, 0, "no option %s", option);
    texts.text[i] = "";
    return perf_check_mode(&texts, mode, &error);
}

Test(options, each_mode_refuses_what_is_not_its, .timeout = 10)
{
    cr_assert_eq(given_in("memory", PERF_MIGRATE_LISTEN), 0);
    cr_assert_lt(given_in("random", PERF_MIGRATE_LISTEN), 0);
    cr_assert_lt(given_in("to", PERF_MIGRATE_LISTEN), 0);
    cr_assert_eq(given_in("random", PERF_MIGRATE_TO), 0);
    cr_assert_lt(given_in("host", PERF_MIGRATE_TO), 0);
    cr_assert_eq(given_in("host", PERF_MIGRATE_BOTH), 0);
    cr_assert_lt(given_in("listen", PERF_MIGRATE_BOTH), 0);
}

static struct json_object *last_line(char *text)
{
    char *line = strrchr(text, '\n'), *start;
    struct json_object *object;

    *line = 0;
    start = strrchr(text, '\n');
    object = json_tokener_parse(start ? start + 1 : text);
    cr_assert_not_null(object);
    return object;
}

Test(show, summary_has_median_and_worst, .timeout = 10)
{
    struct side_report reports[3] = {{.result = {.downtime_ns = 3000000, .mean_bps = 10}},
                                     {.result = {.downtime_ns = 9000000, .mean_bps = 30}},
                                     {.result = {.downtime_ns = 1000000, .mean_bps = 20}}};
    struct json_object *object, *member;
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    show_summary(out, true, reports, 3);
    fclose(out);
    object = last_line(text);
    cr_assert(json_object_object_get_ex(object, "median", &member));
    cr_assert_eq(json_object_get_double(json_object_object_get(member, "downtime_ms")), 3.0);
    cr_assert_eq(json_object_get_uint64(json_object_object_get(member, "mean_bps")), 20);
    cr_assert(json_object_object_get_ex(object, "worst", &member));
    cr_assert_eq(json_object_get_double(json_object_object_get(member, "downtime_ms")), 9.0);
    cr_assert_eq(json_object_get_uint64(json_object_object_get(member, "mean_bps")), 10);
    json_object_put(object);
    free(text);
}
