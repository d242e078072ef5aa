/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/show_rounds.h"

#include <errno.h>
#include <stdlib.h>

#include "perf/plot.h"
#include "tools/common/report.h"
#include "tools/common/units.h"
#include "transport/clock.h"
#include "transport/error.h"

#define TELLING_NS 2000000
#define CURVES_MAX 6 /* more cannot be told apart */

static uint64_t ns_at(uint64_t bytes, uint64_t bps)
{
    return bps ? (uint64_t)((double)bytes * 8e9 / (double)bps) : 0;
}

/* Shorter ones measure latency. */
static uint64_t fastest_bps(const struct side_report *report)
{
    uint64_t fastest = report->result.first_round_bps;

    for (uint32_t i = 0; i < report->n_rounds; i++) {
        const struct side_round *round = &report->rounds[i];
        uint64_t bps = round->ns >= TELLING_NS ? (uint64_t)((double)round->bytes * 8e9 / (double)round->ns) : 0;

        fastest = bps > fastest ? bps : fastest;
    }
    return fastest;
}

struct minimum minimum_of(const struct side_report *report)
{
    const struct tern_result *result = &report->result;
    uint64_t bps = fastest_bps(report);
    uint64_t last = result->bytes_sent > report->sent_bytes ? result->bytes_sent - report->sent_bytes : 0;

    return (struct minimum){
        .total_ns = ns_at(result->bytes_sent, bps), .downtime_ns = ns_at(last, bps), .last_bytes = last};
}

struct json_object *rounds_json(const struct side_report *report)
{
    struct json_object *list = json_object_new_array();

    for (uint32_t i = 0; i < report->n_rounds; i++) {
        const struct side_round *round = &report->rounds[i];
        struct json_object *object = json_object_new_object();

        json_object_object_add(object, "bytes", json_object_new_uint64(round->bytes));
        json_object_object_add(object, "ms", json_of_ms(round->ns));
        json_object_object_add(object, "left_bytes", json_object_new_uint64(round->left_bytes));
        json_object_object_add(object, "throttle_percent", json_object_new_uint64(round->throttle_percent));
        json_object_array_add(list, object);
    }
    return list;
}

void rounds_table(FILE *out, const struct side_report *report)
{
    struct minimum minimum = minimum_of(report);
    char sent[UNITS_TEXT_BYTES], took[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES], left[UNITS_TEXT_BYTES];

    fprintf(out, "  %5s %10s %10s %11s %10s %9s\n", "round", "sent", "took", "rate", "left", "throttle");
    for (uint32_t i = 0; i < report->n_rounds; i++) {
        const struct side_round *round = &report->rounds[i];

        fprintf(out, "  %5u %10s %10s %11s %10s %7u %%\n", i + 1, units_size(round->bytes, sent),
                units_duration(round->ns, took),
                units_rate(round->ns ? (uint64_t)((double)round->bytes * 8e9 / (double)round->ns) : 0, rate),
                units_size(round->left_bytes, left), round->throttle_percent);
    }
    fprintf(out, "  %5s %10s\n", "last", units_size(minimum.last_bytes, sent));
    if (minimum.total_ns)
        fprintf(out, "  at the fastest round's rate, without a pause: in all %s, downtime %s\n",
                units_duration(minimum.total_ns, took), units_duration(minimum.downtime_ns, left));
}

int rounds_draw(const char *file, const struct side_report *reports, size_t n, struct tern_error *error)
{
    struct plot_series series[CURVES_MAX];
    char names[CURVES_MAX][32];
    struct plot plot = {.title = "Dirty memory, round by round",
                        .x_label = "seconds since the first page",
                        .y_label = "MiB to send",
                        .from_zero = true,
                        .series = series,
                        .n_series = n < CURVES_MAX ? n : CURVES_MAX};
    struct plot_point *points = calloc(plot.n_series * (SIDE_ROUNDS_MAX + 1), sizeof(*points));
    int r;

    if (!points)
        return error_set(error, -ENOMEM, NULL, "out of memory for the plot");
    for (size_t k = 0; k < plot.n_series; k++) {
        struct plot_point *at = points + k * (SIDE_ROUNDS_MAX + 1);
        double now_s = 0;

        at[0].y = (double)reports[k].rounds[0].bytes / 1048576;
        for (uint32_t i = 0; i < reports[k].n_rounds; i++) {
            now_s += (double)reports[k].rounds[i].ns / NS_PER_S;
            at[i + 1] = (struct plot_point){now_s, (double)reports[k].rounds[i].left_bytes / 1048576};
        }
        snprintf(names[k], sizeof(names[k]), "run %zu", k + 1);
        series[k] = (struct plot_series){names[k], at, reports[k].n_rounds + 1};
    }
    r = plot_write(&plot, file, error);
    free(points);
    return r;
}
