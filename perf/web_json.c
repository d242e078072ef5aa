/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/web_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/show.h"
#include "tools/common/report.h"
#include "transport/clock.h"
#include "transport/error.h"

/* ---- writing ---- */

struct json_object *web_json_slots(const uint64_t *slot_bytes, uint64_t n_slots)
{
    struct json_object *list = json_object_new_array();

    for (uint64_t i = 0; i < n_slots; i++)
        json_object_array_add(list, json_object_new_uint64(slot_bytes[i]));
    return list;
}

static struct json_object *json_of_gap(const struct web_gap *gap)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "median_ms", json_of_ms(gap->median_ns));
    json_object_object_add(object, "worst_ms", json_of_ms(gap->worst_ns));
    json_object_object_add(object, "all_ms", json_of_ms(gap->all_ns));
    return object;
}

static struct json_object *json_of_phase(const struct web_run *run, enum web_phase_kind kind)
{
    const struct web_phase *phase = &run->phases[kind];
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "phase", json_object_new_string(web_phase_name(kind)));
    json_object_object_add(object, "begin_ms", json_of_ms(phase->begin_ns));
    json_object_object_add(object, "end_ms", json_of_ms(phase->end_ns));
    json_object_object_add(object, "mean_bps", json_object_new_uint64(phase->mean_bps));
    json_object_object_add(object, "ratio", show_number(web_run_ratio(run, kind)));
    return object;
}

static struct json_object *json_of_losses(const struct web_run *run)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < run->n_losses; i++) {
        const struct web_loss *loss = &run->losses[i];
        struct json_object *object = json_object_new_object();

        json_object_object_add(object, "how", json_object_new_string(loss->how));
        json_object_object_add(object, "heard_ms", show_number((double)loss->heard_ns / 1e6));
        json_object_object_add(object, "closed_ms", show_number((double)loss->closed_ns / 1e6));
        json_object_object_add(object, "left_bytes", json_object_new_uint64(loss->left_bytes));
        json_object_array_add(list, object);
    }
    return list;
}

void web_json_add(struct json_object *object, const struct web_run *run, bool slots)
{
    struct json_object *phases = json_object_new_array();

    json_object_object_add(object, "name", json_object_new_string(run->name));
    json_object_object_add(object, "connections", json_object_new_uint64(run->connections));
    json_object_object_add(object, "bodies", json_object_new_uint64(run->bodies));
    json_object_object_add(object, "damaged", json_object_new_uint64(run->damaged));
    json_object_object_add(object, "open_connections", json_object_new_uint64(run->open));
    json_object_object_add(object, "kept_connections", json_object_new_uint64(run->kept));
    json_object_object_add(object, "lost_connections", json_of_losses(run));
    json_object_object_add(object, "migration_begin_ms", json_of_ms(run->begin_ns));
    json_object_object_add(object, "downtime_ms", json_of_ms(run->downtime_ns));
    json_object_object_add(object, "gap", json_of_gap(&run->gap));
    json_object_object_add(object, "calm_gap", json_of_gap(&run->calm));
    for (int kind = 0; kind < WEB_PHASES; kind++)
        json_object_array_add(phases, json_of_phase(run, (enum web_phase_kind)kind));
    json_object_object_add(object, "phases", phases);
    if (!slots)
        return;
    json_object_object_add(object, "slot_ms", json_object_new_uint64(run->slot_ns / NS_PER_MS));
    json_object_object_add(object, "slot_bytes", web_json_slots(run->slot_bytes, run->n_slots));
}

/* ---- reading ---- */

static uint64_t ns_member(struct json_object *object, const char *name)
{
    double ms = json_member_double(object, name);

    return ms > 0 ? (uint64_t)(ms * 1e6 + 0.5) : 0;
}

static struct web_gap gap_member(struct json_object *object, const char *name)
{
    struct json_object *gap = NULL;

    json_object_object_get_ex(object, name, &gap);
    return (struct web_gap){ns_member(gap, "median_ms"), ns_member(gap, "worst_ms"), ns_member(gap, "all_ms")};
}

static bool list_member(struct json_object *object, const char *name, struct json_object **out)
{
    return json_object_object_get_ex(object, name, out) && json_object_is_type(*out, json_type_array);
}

/* The losses of object, as far as there are any. */
static void read_losses(struct json_object *object, struct web_run *run)
{
    struct json_object *list;

    if (!list_member(object, "lost_connections", &list))
        return;
    for (size_t n = json_object_array_length(list); run->n_losses < n && run->n_losses < WEB_LOSSES_MAX;) {
        struct json_object *from = json_object_array_get_idx(list, run->n_losses);
        struct web_loss *loss = &run->losses[run->n_losses++];

        snprintf(loss->how, sizeof(loss->how), "%s", json_member_text(from, "how"));
        loss->heard_ns = (int64_t)(json_member_double(from, "heard_ms") * 1e6);
        loss->closed_ns = (int64_t)(json_member_double(from, "closed_ms") * 1e6);
        loss->left_bytes = json_member_number(from, "left_bytes");
    }
}

int web_json_read(struct json_object *object, struct web_run *out, struct tern_error *error)
{
    struct json_object *slots, *phases;
    struct web_run run = {.slot_ns = json_member_number(object, "slot_ms") * NS_PER_MS};

    if (!list_member(object, "slot_bytes", &slots) || !list_member(object, "phases", &phases) ||
        json_object_array_length(phases) != WEB_PHASES || !run.slot_ns)
        return error_set(error, -EINVAL, "it is what 'tern-perf web --url --events --json' prints last",
                         "no web run with a migration in it");
    run.n_slots = json_object_array_length(slots);
    run.slot_bytes = calloc(run.n_slots + 1, sizeof(*run.slot_bytes));
    if (!run.slot_bytes)
        return error_set(error, -ENOMEM, NULL, "out of memory for a web load's slots");
    for (size_t i = 0; i < run.n_slots; i++)
        run.slot_bytes[i] = json_object_get_uint64(json_object_array_get_idx(slots, i));
    for (size_t i = 0; i < WEB_PHASES; i++) {
        struct json_object *phase = json_object_array_get_idx(phases, i);

        run.phases[i] = (struct web_phase){ns_member(phase, "begin_ms"), ns_member(phase, "end_ms"),
                                           json_member_number(phase, "mean_bps")};
    }
    snprintf(run.name, sizeof(run.name), "%s", json_member_text(object, "name"));
    run.begin_ns = ns_member(object, "migration_begin_ms");
    run.downtime_ns = ns_member(object, "downtime_ms");
    run.gap = gap_member(object, "gap");
    run.calm = gap_member(object, "calm_gap");
    run.connections = json_member_number(object, "connections");
    run.open = json_member_number(object, "open_connections");
    run.kept = json_member_number(object, "kept_connections");
    run.bodies = json_member_number(object, "bodies");
    run.damaged = json_member_number(object, "damaged");
    read_losses(object, &run);
    *out = run;
    return 0;
}
