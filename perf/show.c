/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/show.h"

#include <stdlib.h>

#include "perf/samples.h"
#include "perf/show_rounds.h"
#include "tools/common/report.h"
#include "tools/common/units.h"

static const struct {
    const char *member, *label;
    bool more_is_better;
} figures[FIGURES] = {
    [FIGURE_TOTAL_NS] = {"total_ms", "in all", false},
    [FIGURE_FIRST_ROUND_BPS] = {"first_round_bps", "first round", true},
    [FIGURE_MEAN_BPS] = {"mean_bps", "mean", true},
    [FIGURE_DOWNTIME_NS] = {"downtime_ms", "downtime", false},
    [FIGURE_BEYOND_BYTES] = {"source_beyond_bytes", "source beyond the guest", false},
};

uint64_t figure_of(enum figure figure, const struct side_report *report)
{
    switch (figure) {
    case FIGURE_TOTAL_NS:
        return report->result.total_ns;
    case FIGURE_FIRST_ROUND_BPS:
        return report->result.first_round_bps;
    case FIGURE_MEAN_BPS:
        return report->result.mean_bps;
    case FIGURE_DOWNTIME_NS:
        return report->result.downtime_ns;
    default:
        return memory_use_beyond(&report->memory);
    }
}

static const char *figure_text(enum figure figure, uint64_t value, char text[UNITS_TEXT_BYTES])
{
    switch (figure) {
    case FIGURE_TOTAL_NS:
        return units_duration(value, text);
    case FIGURE_FIRST_ROUND_BPS:
    case FIGURE_MEAN_BPS:
        return units_rate(value, text);
    case FIGURE_DOWNTIME_NS: /* as the ledger's parts, which add up to it */
        snprintf(text, UNITS_TEXT_BYTES, "%.3f ms", (double)value / 1e6);
        return text;
    default:
        return units_size(value, text);
    }
}

static struct json_object *figure_json(enum figure figure, uint64_t value)
{
    return figure == FIGURE_TOTAL_NS || figure == FIGURE_DOWNTIME_NS ? json_of_ms(value)
                                                                     : json_object_new_uint64(value);
}

struct json_object *show_number(double value)
{
    char text[64];

    snprintf(text, sizeof(text), "%.3f", value);
    return json_object_new_double_s(value, text);
}

void show_json(FILE *out, struct json_object *object)
{
    fprintf(out, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    fflush(out);
    json_object_put(object);
}

/* ---- one run ---- */

static void add_memory(struct json_object *object, const char *side, const struct memory_use *use)
{
    const struct {
        const char *name;
        uint64_t bytes;
    } members[] = {{"peak", use->peak_bytes},
                   {"anon", use->anon_bytes},
                   {"guest", use->guest_bytes},
                   {"beyond", memory_use_beyond(use)}};
    char name[64];

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        snprintf(name, sizeof(name), "%s_%s_bytes", side, members[i].name);
        json_object_object_add(object, name, json_object_new_uint64(members[i].bytes));
    }
}

static void add_minimum(struct json_object *object, const struct side_report *report)
{
    struct minimum minimum = minimum_of(report);

    json_object_object_add(object, "last_round_bytes", json_object_new_uint64(minimum.last_bytes));
    json_object_object_add(object, "minimum_total_ms", json_of_ms(minimum.total_ns));
    json_object_object_add(object, "minimum_downtime_ms", json_of_ms(minimum.downtime_ns));
}

static void run_json(FILE *out, uint64_t number, const struct run *run)
{
    struct json_object *object = json_object_new_object(), *result;

    json_object_object_add(object, "event", json_object_new_string("run"));
    json_object_object_add(object, "run", json_object_new_uint64(number));
    if (run->source) {
        result = json_of_result(&run->source->result);
        json_object_object_foreach(result, name, value) json_object_object_add(object, name, json_object_get(value));
        json_object_put(result);
        json_object_object_add(object, "guest_pages_ps", json_object_new_uint64(run->source->steps_ps));
        json_object_object_add(object, "round", rounds_json(run->source));
        add_minimum(object, run->source);
        add_memory(object, "source", &run->source->memory);
    }
    if (run->destination)
        add_memory(object, "destination", &run->destination->memory);
    show_json(out, object);
}

static void figures_text(FILE *out, const struct side_report *report)
{
    const struct tern_ledger *l = &report->result.ledger;
    char text[UNITS_TEXT_BYTES];

    for (int i = 0; i < FIGURES; i++) {
        fprintf(out, "%s%s %s", i ? ", " : "", figures[i].label,
                figure_text((enum figure)i, figure_of((enum figure)i, report), text));
        if (i == FIGURE_DOWNTIME_NS)
            fprintf(out, " (stop %.3f, scan %.3f, write %.3f, fence %.3f, state %.3f, commit %.3f, activate %.3f)",
                    (double)l->stop_ns / 1e6, (double)l->last_scan_ns / 1e6, (double)l->last_write_ns / 1e6,
                    (double)l->fence_ns / 1e6, (double)l->state_ns / 1e6, (double)l->commit_ns / 1e6,
                    (double)l->activate_ns / 1e6);
    }
}

void show_run(FILE *out, bool json, uint64_t number, const struct run *run)
{
    char text[UNITS_TEXT_BYTES];

    if (json) {
        run_json(out, number, run);
        return;
    }
    fprintf(out, "run %llu: ", (unsigned long long)number);
    if (run->source)
        figures_text(out, run->source);
    if (run->destination)
        fprintf(out, "%sdestination beyond the guest %s", run->source ? ", " : "",
                units_size(memory_use_beyond(&run->destination->memory), text));
    fputc('\n', out);
    if (run->source)
        rounds_table(out, run->source);
    fflush(out);
}

/* ---- all of them ---- */

/* One figure of every run. */
static void collect(enum figure figure, const struct side_report *reports, size_t n, uint64_t *values)
{
    for (size_t i = 0; i < n; i++)
        values[i] = figure_of(figure, &reports[i]);
}

static struct json_object *done_event(size_t n)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "event", json_object_new_string("done"));
    json_object_object_add(object, "ok", json_object_new_boolean(true));
    json_object_object_add(object, "runs", json_object_new_uint64(n));
    return object;
}

void show_summary(FILE *out, bool json, const struct side_report *reports, size_t n)
{
    const struct tern_result *result = &reports[0].result;
    struct json_object *object = done_event(n), *median = json_object_new_object(), *worst = json_object_new_object();
    uint64_t *values = calloc(n, sizeof(*values));
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES];

    if (!json)
        fprintf(out, "%zu run%s over %s, %u lane%s, tracker %s\n", n, n == 1 ? "" : "s",
                *result->device ? result->device : result->transport, result->lanes, result->lanes == 1 ? "" : "s",
                result->tracker);
    for (int i = 0; i < FIGURES && values; i++) {
        enum figure figure = (enum figure)i;
        uint64_t worst_value, median_value;

        collect(figure, reports, n, values);
        worst_value = samples_worst(values, n, figures[i].more_is_better);
        median_value = samples_median(values, n);
        json_object_object_add(median, figures[i].member, figure_json(figure, median_value));
        json_object_object_add(worst, figures[i].member, figure_json(figure, worst_value));
        if (!json)
            fprintf(out, "  %-24s median %-12s worst %s\n", figures[i].label, figure_text(figure, median_value, a),
                    figure_text(figure, worst_value, b));
    }
    json_object_object_add(object, "median", median);
    json_object_object_add(object, "worst", worst);
    if (json)
        show_json(out, object);
    else
        json_object_put(object);
    free(values);
}

void show_received(FILE *out, bool json, size_t n)
{
    if (json)
        show_json(out, done_event(n));
    else
        fprintf(out, "%zu run%s received\n", n, n == 1 ? "" : "s");
}

int show_error(bool json, const struct tern_error *error)
{
    if (!json)
        return perf_failed(error);
    show_json(stdout, json_of_error(error));
    show_json(stdout, json_of_done(false, NULL));
    return PERF_EXIT_FAILED;
}
