/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf model: what a migration would take, and with --measure how near that came. */
#include <errno.h>
#include <stdlib.h>

#include "perf/model.h"
#include "perf/plot.h"
#include "perf/progress.h"
#include "perf/show.h"
#include "perf/show_rounds.h"
#include "tools/common/report.h"
#include "tools/common/units.h"
#include "transport/clock.h"
#include "transport/error.h"

#define DOWNTIME_LIMIT_DEFAULT (50 * NS_PER_MS) /* as libtern's */

struct prediction {
    struct perf_values values; /* with the defaults of model */
    struct model model;
    struct model_result result;
    bool measured;
    struct side_report report;
};

/* The figures that are compared, of both. */
struct figures {
    const char *label, *member;
    double predicted, measured, per_unit;
    const char *unit;
};
#define N_FIGURES 4

static void compare(const struct prediction *p, struct figures out[N_FIGURES])
{
    const struct tern_result *real = &p->report.result;

    out[0] = (struct figures){"rounds", "rounds", p->result.rounds, real->rounds, 1, ""};
    out[1] =
        (struct figures){"in all", "total_ms", (double)p->result.total_ns, (double)real->total_ns, NS_PER_MS, "ms"};
    out[2] = (struct figures){"downtime", "downtime_ms", (double)p->result.downtime_ns, (double)real->downtime_ns,
                              NS_PER_MS,  "ms"};
    out[3] = (struct figures){"sent", "bytes_sent", (double)p->result.bytes_sent, (double)real->bytes_sent, 1, "MiB"};
}

/* ---- measuring ---- */

/* An idle guest tells what the network carries, what a switchover costs and what the end of a round does. */
static int learn(struct prediction *p, struct tern_error *error)
{
    struct side_report reports[2] = {0};
    struct perf_values idle = p->values;
    const struct tern_result *result = &reports[0].result;
    int r;

    idle.dirty_pages_ps = idle.working_set_bytes = 0;
    idle.migration.deadline_ns = 0;
    r = side_run_both(&idle, reports, error);
    if (r)
        return r;
    if (!result->first_round_bps)
        return error_set(error, -ENODATA, "give it --random", "an idle guest with nothing to send tells no bandwidth");
    p->model.bytes_ps = result->first_round_bps / 8;
    p->model.setup_ns = result->setup_ns;
    p->model.fixed_ns = result->downtime_ns;
    p->model.turn_ns = result->ledger.last_scan_ns + result->ledger.fence_ns;
    return 0;
}

static int measure(struct prediction *p, struct tern_error *error)
{
    struct side_report reports[2] = {0};
    int r = side_run_both(&p->values, reports, error);

    p->report = reports[0];
    p->measured = !r;
    return r;
}

/* ---- telling ---- */

static struct json_object *predicted_rounds(const struct model_result *result)
{
    struct json_object *list = json_object_new_array();

    for (uint32_t i = 0; i < result->n_rounds; i++) {
        struct json_object *round = json_object_new_object();

        json_object_object_add(round, "bytes", json_object_new_uint64(result->round[i].bytes));
        json_object_object_add(round, "ms", json_of_ms(result->round[i].ns));
        json_object_object_add(round, "left_bytes", json_object_new_uint64(result->round[i].left_bytes));
        json_object_object_add(round, "throttle_percent", json_object_new_uint64(result->round[i].throttle_percent));
        json_object_array_add(list, round);
    }
    return list;
}

static struct json_object *side_json(const struct prediction *p, const struct figures *figures, bool measured)
{
    struct json_object *object = json_object_new_object();

    for (int i = 0; i < N_FIGURES; i++) {
        double value = (measured ? figures[i].measured : figures[i].predicted) / figures[i].per_unit;

        json_object_object_add(object, figures[i].member,
                               figures[i].per_unit > 1 ? show_number(value) : json_object_new_uint64((uint64_t)value));
    }
    json_object_object_add(object, "round", measured ? rounds_json(&p->report) : predicted_rounds(&p->result));
    return object;
}

static void show_model_json(const struct prediction *p)
{
    struct json_object *object = json_object_new_object(), *ratio = json_object_new_object();
    struct figures figures[N_FIGURES];

    compare(p, figures);
    json_object_object_add(object, "event", json_object_new_string("model"));
    json_object_object_add(object, "migrates", json_object_new_boolean(p->result.kind == CONVERGE_SWITCH_OVER));
    json_object_object_add(object, "text", json_object_new_string(p->result.text));
    json_object_object_add(object, "throttle_percent", json_object_new_uint64(p->result.throttle_percent));
    json_object_object_add(object, "bandwidth_bps", json_object_new_uint64(p->model.bytes_ps * 8));
    json_object_object_add(object, "predicted", side_json(p, figures, false));
    if (p->measured) {
        json_object_object_add(object, "measured", side_json(p, figures, true));
        json_object_object_add(object, "guest_pages_ps", json_object_new_uint64(p->report.steps_ps));
        for (int i = 0; i < N_FIGURES; i++)
            json_object_object_add(
                ratio, figures[i].member,
                show_number(figures[i].predicted > 0 ? figures[i].measured / figures[i].predicted : 0));
        json_object_object_add(object, "measured_by_predicted", json_object_get(ratio));
    }
    json_object_put(ratio);
    show_json(stdout, object);
    show_json(stdout, json_of_done(true, NULL));
}

static void show_question(const struct prediction *p)
{
    static const char *const patterns[] = {"uniform", "sequential", "hot-cold"};
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES], c[UNITS_TEXT_BYTES], d[UNITS_TEXT_BYTES];

    printf("%s to send, %s pages written a second in %s (%s), over %s", units_size(p->model.memory_bytes, a),
           units_count(p->model.dirty_pages_ps, b), units_size(p->model.working_set_bytes, c),
           patterns[p->model.pattern], units_rate(p->model.bytes_ps * 8, d));
    printf(", downtime limit %s\n", units_duration(p->model.limits.downtime_limit_ns, a));
}

static void show_model_text(const struct prediction *p)
{
    struct figures figures[N_FIGURES];
    char text[UNITS_TEXT_BYTES];

    compare(p, figures);
    show_question(p);
    if (p->result.kind == CONVERGE_ABORT)
        printf("it would not migrate: %s; %s\n", p->result.text, p->result.hint);
    else if (p->result.text[0])
        printf("%s\n", p->result.text);
    printf("%-10s %12s %12s %10s\n", "", "predicted", p->measured ? "measured" : "", p->measured ? "ratio" : "");
    for (int i = 0; i < N_FIGURES; i++) {
        double per_unit = i == 3 ? 1048576 : figures[i].per_unit;

        printf("%-10s %12.*f", figures[i].label, i ? 2 : 0, figures[i].predicted / per_unit);
        if (p->measured)
            printf(" %12.*f %10.2f", i ? 2 : 0, figures[i].measured / per_unit,
                   figures[i].predicted > 0 ? figures[i].measured / figures[i].predicted : 0);
        printf(" %s\n", figures[i].unit);
    }
    if (p->result.throttle_percent)
        printf("throttled by %u %%\n", p->result.throttle_percent);
    if (p->measured)
        printf("the guest wrote %s pages a second\n", units_count(p->report.steps_ps, text));
}

static int draw(const struct prediction *p, struct tern_error *error)
{
    uint32_t n = p->result.n_rounds, m = p->report.n_rounds;
    struct plot_point *points = calloc(n + m + 2, sizeof(*points));
    struct plot_series series[] = {{"predicted", points, n + 1}, {"measured", points + n + 1, m + 1}};
    struct plot plot = {.title = "Dirty memory, round by round",
                        .x_label = "seconds since the first page",
                        .y_label = "MiB to send",
                        .from_zero = true,
                        .series = series,
                        .n_series = p->measured ? 2 : 1};
    double now_s = 0;
    int r;

    if (!points)
        return error_set(error, -ENOMEM, NULL, "out of memory");
    points[0].y = points[n + 1].y = (double)p->model.memory_bytes / 1048576;
    for (uint32_t i = 0; i < n; i++) {
        now_s += (double)p->result.round[i].ns / NS_PER_S;
        points[i + 1] = (struct plot_point){now_s, (double)p->result.round[i].left_bytes / 1048576};
    }
    now_s = 0;
    for (uint32_t i = 0; i < m; i++) {
        now_s += (double)p->report.rounds[i].ns / NS_PER_S;
        points[n + 2 + i] = (struct plot_point){now_s, (double)p->report.rounds[i].left_bytes / 1048576};
    }
    r = plot_write(&plot, p->values.plot, error);
    free(points);
    return r;
}

/* ---- all of it ---- */

static int take(struct prediction *p, const struct option_texts *texts, struct tern_error *error)
{
    struct perf_values *values = &p->values;

    if (!texts->text[options_find(&perf_options, PERF_MODEL, "random", 6)])
        values->random_bytes = values->memory_bytes;
    if (values->random_bytes > values->memory_bytes || values->working_set_bytes > values->memory_bytes)
        return error_set(error, -EINVAL, NULL, "option --%s: more than --memory",
                         values->random_bytes > values->memory_bytes ? "random" : "working-set");
    if (values->working_set_bytes && !values->dirty_pages_ps)
        return error_set(error, -EINVAL, NULL, "option --working-set needs --dirty-pages N");
    if (values->dirty_pages_ps && !values->working_set_bytes)
        values->working_set_bytes = values->memory_bytes;
    if (!values->measure && !values->migration.bandwidth_bps)
        return error_set(error, -EINVAL, "give what 'tern-perf bw' has measured, or let --measure measure it",
                         "option --bandwidth RATE is missing");
    if (values->host.has_port)
        return error_set(error, -EINVAL, NULL, "option --host: takes no port, any free one is used");
    values->populate = true; /* what comes into fresh memory is slower in the first round only */
    p->model = (struct model){.memory_bytes = values->random_bytes,
                              .working_set_bytes = values->working_set_bytes,
                              .dirty_pages_ps = values->dirty_pages_ps,
                              .pattern = (enum process_guest_pattern)values->pattern,
                              .bytes_ps = values->migration.bandwidth_bps / 8,
                              .limits = {.downtime_limit_ns = values->migration.downtime_limit_ns
                                                                  ? values->migration.downtime_limit_ns
                                                                  : DOWNTIME_LIMIT_DEFAULT,
                                         .deadline_ns = values->migration.deadline_ns,
                                         .on_no_converge = (enum tern_no_converge)values->migration.on_no_converge,
                                         .can_throttle = true}};
    return 0;
}

static int run(struct prediction *p, struct tern_error *error)
{
    struct progress progress = {0};
    int r = p->values.plot ? plot_check(p->values.plot, error) : 0;

    if (!r && p->values.measure) {
        progress_say(&progress, "an idle guest first");
        r = learn(p, error);
    }
    if (r)
        return r;
    model_run(&p->model, &p->result);
    if (p->values.measure) {
        progress_say(&progress, "the guest itself; predicted are %.1f s", (double)p->result.total_ns / NS_PER_S);
        r = measure(p, error);
    }
    progress_clear(&progress);
    if (r)
        return r;
    if (p->values.json)
        show_model_json(p);
    else
        show_model_text(p);
    return p->values.plot ? draw(p, error) : 0;
}

int cmd_model(const struct perf_values *values, const struct option_texts *texts)
{
    struct prediction *p = calloc(1, sizeof(*p));
    struct tern_error error = {0};
    int r;

    if (!p) {
        error_set(&error, -ENOMEM, NULL, "out of memory for the model");
        return perf_failed(&error);
    }
    p->values = *values;
    if (take(p, texts, &error))
        r = perf_usage(&error);
    else
        r = run(p, &error) ? show_error(values->json, &error) : PERF_EXIT_OK;
    free(p);
    return r;
}
