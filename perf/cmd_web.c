/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf web: what clients see of a web server, e.g. of one in a guest that migrates (--url); that experiment itself
 * (without --url), which is a script; and runs that were kept, side by side (--show). A load ends early, with its
 * report, at SIGINT or SIGTERM. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perf/cli.h"
#include "perf/plot.h"
#include "perf/samples.h"
#include "perf/show.h"
#include "perf/web_json.h"
#include "perf/web_load.h"
#include "perf/web_script.h"
#include "perf/web_show.h"
#include "tools/common/report.h"
#include "tools/common/signals.h"
#include "tools/common/units.h"
#include "transport/clock.h"
#include "transport/error.h"

#define SLOT_MS 50

/* All clients together. */
struct totals {
    uint64_t bytes, bodies, damaged, failed;
    uint64_t silence_median_ns, silence_worst_ns, silence_worst_end_ns;
};

static void add_up(const struct web_load *load, struct totals *out)
{
    uint64_t silences[WEB_CLIENTS_MAX];

    *out = (struct totals){0};
    for (uint32_t i = 0; i < load->n_clients; i++) {
        const struct web_client_report *client = &load->clients[i];

        out->bytes += client->bytes;
        out->bodies += client->bodies;
        out->damaged += client->damaged;
        out->failed += client->failed;
        silences[i] = client->silence_ns;
        if (client->silence_ns > out->silence_worst_ns) {
            out->silence_worst_ns = client->silence_ns;
            out->silence_worst_end_ns = client->silence_end_ns;
        }
    }
    out->silence_median_ns = samples_median(silences, load->n_clients);
}

/* ---- how a load is told ---- */

/* The clients' part of done; web_json_add's comes over it where there was a migration. */
static struct json_object *json_of_load(const struct web_load *load, const struct totals *totals)
{
    struct json_object *members = json_object_new_object(), *silence = json_object_new_object();
    uint64_t *slots = calloc(load->n_slots + 1, sizeof(*slots)), n = load->elapsed_ns / load->slot_ns;

    json_object_object_add(members, "connections", json_object_new_uint64(load->n_clients));
    json_object_object_add(members, "begin_ms", json_of_ms(load->begin_wall_ns));
    json_object_object_add(members, "elapsed_ms", json_of_ms(load->elapsed_ns));
    json_object_object_add(members, "bytes", json_object_new_uint64(totals->bytes));
    json_object_object_add(members, "bodies", json_object_new_uint64(totals->bodies));
    json_object_object_add(members, "damaged", json_object_new_uint64(totals->damaged));
    json_object_object_add(members, "failed", json_object_new_uint64(totals->failed));
    json_object_object_add(silence, "median_ms", json_of_ms(totals->silence_median_ns));
    json_object_object_add(silence, "worst_ms", json_of_ms(totals->silence_worst_ns));
    json_object_object_add(silence, "worst_end_ms", json_of_ms(totals->silence_worst_end_ns));
    json_object_object_add(members, "silence", silence);
    if (slots) {
        web_load_slots(load, slots);
        json_object_object_add(members, "slot_ms", json_object_new_int(SLOT_MS));
        json_object_object_add(members, "slot_bytes", web_json_slots(slots, n < load->n_slots ? n : load->n_slots));
    }
    free(slots);
    return members;
}

static void load_text(const struct perf_values *values, const struct web_load *load, const struct totals *totals)
{
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES], c[UNITS_TEXT_BYTES];

    printf("%s: %u connection%s for %s\n", values->url, load->n_clients, load->n_clients == 1 ? "" : "s",
           units_duration(load->elapsed_ns, a));
    printf("  %-18s %s, %s\n", "received", units_size(totals->bytes, a),
           units_rate((uint64_t)((double)totals->bytes * 8e9 / (double)load->elapsed_ns), b));
    printf("  %-18s %s whole and right, %s damaged; %s requests failed\n", "bodies", units_count(totals->bodies, a),
           units_count(totals->damaged, b), units_count(totals->failed, c));
    printf("  %-18s %s at the median connection, %s at the worst (until %s)\n", "longest silence",
           units_duration(totals->silence_median_ns, a), units_duration(totals->silence_worst_ns, b),
           units_duration(totals->silence_worst_end_ns, c));
}

static void show_load(const struct perf_values *values, const struct web_load *load, const struct totals *totals,
                      const struct web_run *run, bool ok)
{
    struct json_object *members;

    if (values->json) {
        members = json_of_load(load, totals);
        if (run)
            web_json_add(members, run, false);
        show_json(stdout, json_of_done(ok, members));
        json_object_put(members);
        return;
    }
    load_text(values, load, totals);
    if (run)
        web_show_table(stdout, run, 1);
}

/* ---- what is wrong with it ---- */

static int judge_load(const char *url, const struct totals *totals, struct tern_error *error)
{
    if (totals->damaged)
        return error_set(error, -EBADMSG, NULL, "%llu bodies of %s were not like the first",
                         (unsigned long long)totals->damaged, url);
    if (!totals->bodies)
        return error_set(error, -ENODATA, "see that the server answers 200 with a Content-Length",
                         "no body of %s came whole", url);
    return 0;
}

/* Of the first one it says how. */
static int lost_connections(const struct web_run *run, struct tern_error *error)
{
    const struct web_loss *first = &run->losses[0];

    return error_set(
        error, -ECONNRESET, "see that the network follows the guest: bridges, switches, its address",
        "%s: %llu of %llu connections did not go on after the switchover; the first: %s (from the stop on: "
        "heard last at %+.1f ms, ended at %+.1f ms; %llu bytes of a body missing)",
        run->name, (unsigned long long)(run->open - run->kept), (unsigned long long)run->open, first->how,
        (double)first->heard_ns / 1e6, (double)first->closed_ns / 1e6, (unsigned long long)first->left_bytes);
}

static int judge_run(const struct web_run *run, struct tern_error *error)
{
    if (run->damaged)
        return error_set(error, -EBADMSG, NULL, "%s: %llu bodies were not like the first", run->name,
                         (unsigned long long)run->damaged);
    if (run->kept < run->open)
        return lost_connections(run, error);
    return 0;
}

/* ---- --url ---- */

static int read_marks(const char *path, struct web_marks *marks, struct tern_error *error)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;

    if (!file)
        return error_set(error, -errno, NULL, "cannot read %s: %s", path, strerror(errno));
    *marks = (struct web_marks){0};
    while (getline(&line, &room, file) >= 0)
        web_marks_line(marks, line);
    free(line);
    fclose(file);
    return web_marks_finish(marks, error);
}

/* The load has run: its migration beside it. */
static int tell_run(const struct perf_values *values, const struct web_load *load, const struct totals *totals,
                    struct tern_error *error)
{
    struct web_marks marks;
    struct web_run run;
    int r = read_marks(values->events, &marks, error);

    if (!r)
        r = web_run_make(load, &marks, values->name, &run, error);
    if (r) {
        show_load(values, load, totals, NULL, false);
        return r;
    }
    r = judge_load(values->url, totals, error);
    if (!r)
        r = judge_run(&run, error);
    show_load(values, load, totals, &run, !r);
    if (values->plot) {
        struct tern_error plotting;
        int p = web_plot(&run, 1, values->plot, &plotting);

        if (p && !r) {
            *error = plotting;
            r = p;
        }
    }
    web_run_release(&run);
    return r;
}

static int load_web(const struct perf_values *values, struct web_load *load, int signals)
{
    struct tern_error error = {0};
    struct totals totals;
    int r = web_load_run(load, signals, &error);

    if (r)
        return show_error(values->json, &error);
    add_up(load, &totals);
    if (values->events) {
        r = tell_run(values, load, &totals, &error);
        return r ? perf_failed(&error) : PERF_EXIT_OK;
    }
    r = judge_load(values->url, &totals, &error);
    show_load(values, load, &totals, NULL, !r);
    return r ? perf_failed(&error) : PERF_EXIT_OK;
}

static int web_of_url(const struct perf_values *values)
{
    struct web_load *load = calloc(1, sizeof(*load));
    struct tern_error error = {0};
    int signals, r;

    if (!load) {
        error_set(&error, -ENOMEM, NULL, "out of memory for the web clients");
        return show_error(values->json, &error);
    }
    load->n_clients = (uint32_t)values->connections;
    load->duration_ns = values->duration_ns;
    load->slot_ns = SLOT_MS * NS_PER_MS;
    if (web_url_parse(values->url, &load->url, &error)) {
        free(load);
        return perf_usage(&error);
    }
    r = signals_open(&signals, &error);
    if (r) {
        r = show_error(values->json, &error);
    } else {
        r = load_web(values, load, signals);
        close(signals);
    }
    web_load_free(load);
    return r;
}

/* ---- --show ---- */

static int read_run(const char *path, struct web_run *out, struct tern_error *error)
{
    struct json_object *object = json_object_from_file(path);
    int r;

    if (!object)
        return error_set(error, -ENOENT, NULL, "cannot read %s as JSON", path);
    r = web_json_read(object, out, error);
    json_object_put(object);
    if (r)
        error_prefix(error, path);
    return r;
}

/* paths are separated by commas. *n runs are to be released, also on failure. */
static int read_runs(const char *paths, struct web_run *runs, size_t *n, struct tern_error *error)
{
    char *copy = strdup(paths), *state = NULL;
    int r = copy ? 0 : error_set(error, -ENOMEM, NULL, "out of memory for the web runs");

    for (char *path = copy ? strtok_r(copy, ",", &state) : NULL; path && !r; path = strtok_r(NULL, ",", &state)) {
        if (*n == WEB_RUNS_MAX)
            r = error_set(error, -E2BIG, NULL, "option --show: more than %u runs", WEB_RUNS_MAX);
        else
            r = read_run(path, &runs[*n], error);
        *n += !r;
    }
    free(copy);
    return r;
}

static void show_runs(const struct web_run *runs, size_t n, bool json, bool ok)
{
    if (!json) {
        web_show_table(stdout, runs, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct json_object *object = json_object_new_object();

        json_object_object_add(object, "event", json_object_new_string("run"));
        web_json_add(object, &runs[i], true);
        show_json(stdout, object);
    }
    show_json(stdout, json_of_done(ok, NULL));
}

static int web_of_runs(const struct perf_values *values)
{
    struct web_run runs[WEB_RUNS_MAX];
    struct tern_error error = {0};
    size_t n = 0;
    int r = read_runs(values->show, runs, &n, &error), first = r;

    if (!r)
        first = judge_run(&runs[0], &error); /* the others are peers: what they do is shown, and no failure of ours */
    if (!r && values->plot)
        r = web_plot(runs, n, values->plot, &error);
    if (r)
        first = show_error(values->json, &error);
    else
        show_runs(runs, n, values->json, !first);
    for (size_t i = 0; i < n; i++)
        web_run_release(&runs[i]);
    if (!r && first)
        perf_failed(&error);
    return first ? PERF_EXIT_FAILED : PERF_EXIT_OK;
}

/* ---- which of the three ---- */

int cmd_web(const struct perf_values *values, const struct option_texts *texts)
{
    enum perf_command mode = values->show ? PERF_WEB_SHOW : values->url ? PERF_WEB_URL : PERF_WEB_SCRIPT;
    struct tern_error error = {0};

    if (perf_check_mode(texts, mode, &error))
        return perf_usage(&error);
    if (values->plot && (!values->url || values->events) && plot_check(values->plot, &error))
        return show_error(values->json, &error);
    if (values->plot && values->url && !values->events) {
        error_set(&error, -EINVAL, NULL, "option --plot needs --events here");
        return perf_usage(&error);
    }
    if (mode == PERF_WEB_SHOW)
        return web_of_runs(values);
    if (mode == PERF_WEB_URL)
        return web_of_url(values);
    web_script_run(values, texts, &error); /* comes back only when it failed */
    return show_error(values->json, &error);
}
