/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf web: what clients see of a web server, e.g. of one in a guest that migrates. Ends early, with its report,
 * at SIGINT or SIGTERM. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "perf/cli.h"
#include "perf/samples.h"
#include "perf/show.h"
#include "perf/web_load.h"
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

static struct json_object *json_of_load(const struct web_load *load, const struct totals *totals, uint64_t elapsed_ns,
                                        const uint64_t *slots)
{
    struct json_object *members = json_object_new_object(), *list = json_object_new_array(),
                       *silence = json_object_new_object();

    json_object_object_add(members, "connections", json_object_new_uint64(load->n_clients));
    json_object_object_add(members, "elapsed_ms", json_of_ms(elapsed_ns));
    json_object_object_add(members, "bytes", json_object_new_uint64(totals->bytes));
    json_object_object_add(members, "bodies", json_object_new_uint64(totals->bodies));
    json_object_object_add(members, "damaged", json_object_new_uint64(totals->damaged));
    json_object_object_add(members, "failed", json_object_new_uint64(totals->failed));
    json_object_object_add(silence, "median_ms", json_of_ms(totals->silence_median_ns));
    json_object_object_add(silence, "worst_ms", json_of_ms(totals->silence_worst_ns));
    json_object_object_add(silence, "worst_end_ms", json_of_ms(totals->silence_worst_end_ns));
    json_object_object_add(members, "silence", silence);
    json_object_object_add(members, "slot_ms", json_object_new_int(SLOT_MS));
    for (uint64_t i = 0; i < load->n_slots && i * load->slot_ns < elapsed_ns; i++)
        json_object_array_add(list, json_object_new_uint64(slots[i]));
    json_object_object_add(members, "slot_bytes", list);
    return members;
}

static void show_text(const struct perf_values *values, const struct web_load *load, const struct totals *totals,
                      uint64_t elapsed_ns)
{
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES], c[UNITS_TEXT_BYTES];

    printf("%s: %u connection%s for %s\n", values->url, load->n_clients, load->n_clients == 1 ? "" : "s",
           units_duration(elapsed_ns, a));
    printf("  %-18s %s, %s\n", "received", units_size(totals->bytes, a),
           units_rate((uint64_t)((double)totals->bytes * 8e9 / (double)elapsed_ns), b));
    printf("  %-18s %s whole and right, %s damaged; %s requests failed\n", "bodies", units_count(totals->bodies, a),
           units_count(totals->damaged, b), units_count(totals->failed, c));
    printf("  %-18s %s at the median connection, %s at the worst (until %s)\n", "longest silence",
           units_duration(totals->silence_median_ns, a), units_duration(totals->silence_worst_ns, b),
           units_duration(totals->silence_worst_end_ns, c));
}

static void show(const struct perf_values *values, const struct web_load *load, const struct totals *totals,
                 uint64_t elapsed_ns, bool ok)
{
    uint64_t *slots = calloc(load->n_slots, sizeof(*slots));
    struct json_object *members, *done;

    if (!values->json) {
        show_text(values, load, totals, elapsed_ns);
    } else if (slots) {
        web_load_slots(load, slots);
        members = json_of_load(load, totals, elapsed_ns, slots);
        done = json_of_done(ok, members);
        printf("%s\n", json_object_to_json_string_ext(done, JSON_C_TO_STRING_PLAIN));
        json_object_put(done);
        json_object_put(members);
    }
    free(slots);
}

static int judge(const struct perf_values *values, const struct totals *totals)
{
    struct tern_error error = {0};

    if (totals->damaged)
        error_set(&error, -EBADMSG, NULL, "%llu bodies of %s were not like the first",
                  (unsigned long long)totals->damaged, values->url);
    else if (!totals->bodies)
        error_set(&error, -ENODATA, "see that the server answers 200 with a Content-Length", "no body of %s came whole",
                  values->url);
    else
        return PERF_EXIT_OK;
    return perf_failed(&error);
}

static int run(const struct perf_values *values, struct web_load *load, int signals)
{
    struct tern_error error = {0};
    uint64_t begin_ns = clock_now_ns(), elapsed_ns;
    struct totals totals;

    if (web_load_run(load, signals, &error))
        return show_error(values->json, &error);
    elapsed_ns = clock_now_ns() - begin_ns;
    add_up(load, &totals);
    show(values, load, &totals, elapsed_ns, totals.bodies && !totals.damaged);
    return judge(values, &totals);
}

int cmd_web(const struct perf_values *values, const struct option_texts *texts)
{
    struct web_load *load = calloc(1, sizeof(*load));
    struct tern_error error = {0};
    int signals, r;

    (void)texts;
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
        r = run(values, load, signals);
        close(signals);
    }
    web_load_free(load);
    return r;
}
