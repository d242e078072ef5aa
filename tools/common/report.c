/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/units.h"
#include "transport/clock.h"
#include "transport/error.h"

static void add_text(struct json_object *object, const char *name, const char *text)
{
    if (text && *text)
        json_object_object_add(object, name, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *name, uint64_t value)
{
    json_object_object_add(object, name, json_object_new_uint64(value));
}

/* Microseconds are kept exactly, so that sums of them hold when a reader adds the decimals up. */
static struct json_object *ms_of_us(uint64_t us)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu.%03llu", (unsigned long long)(us / 1000), (unsigned long long)(us % 1000));
    return json_object_new_double_s((double)us / 1000, text);
}

struct json_object *json_of_ms(uint64_t ns)
{
    return ms_of_us((ns + 500) / 1000);
}

/* The wall clock, which two hosts may share; not for differences on one of them. */
static void add_time(struct json_object *object)
{
    json_object_object_add(object, "time_ms", json_of_ms(clock_wall_ns()));
}

const char *phase_name(enum tern_phase phase)
{
    switch (phase) {
    case TERN_PHASE_INITIATE:
        return "initiate";
    case TERN_PHASE_PRE_COPY:
        return "pre-copy";
    case TERN_PHASE_STOP_AND_COPY:
        return "stop-and-copy";
    case TERN_PHASE_COMMIT:
        return "commit";
    case TERN_PHASE_ACTIVATE:
        return "activate";
    }
    return "unknown";
}

const char *side_name(enum tern_side side)
{
    return side == TERN_SIDE_SOURCE ? "source" : side == TERN_SIDE_DESTINATION ? "destination" : "";
}

const char *outcome_name(enum tern_outcome outcome)
{
    switch (outcome) {
    case TERN_OUTCOME_MIGRATED:
        return "migrated";
    case TERN_OUTCOME_IN_DOUBT:
        return "in-doubt";
    case TERN_OUTCOME_SUSPENDED:
        return "suspended";
    case TERN_OUTCOME_RESUMED:
        return "resumed";
    case TERN_OUTCOME_FAILED:
        break;
    }
    return "failed";
}

static void add_counts(struct json_object *object, const struct tern_event *event)
{
    add_number(object, "round", event->round);
    add_number(object, "bytes_sent", event->bytes_sent);
    add_number(object, "pages_sent", event->pages_sent);
    add_number(object, "zero_pages", event->zero_pages);
    add_number(object, "bytes_left", event->bytes_left);
    add_number(object, "round_bytes", event->round_bytes);
    json_object_object_add(object, "round_ms", json_of_ms(event->round_ns));
    add_number(object, "rate_bps", event->rate_bps);
    add_number(object, "dirty_pages_ps", event->dirty_pages_ps);
    json_object_object_add(object, "predicted_downtime_ms", json_of_ms(event->predicted_downtime_ns));
    add_number(object, "throttle_percent", event->throttle_percent);
}

struct json_object *json_of_event(const struct tern_event *event)
{
    static const char *const names[] = {
        [TERN_EVENT_PHASE] = "phase",     [TERN_EVENT_ROUND] = "round",       [TERN_EVENT_PROGRESS] = "progress",
        [TERN_EVENT_WARNING] = "warning", [TERN_EVENT_STOPPING] = "stopping",
    };
    struct json_object *object = json_object_new_object();

    add_text(object, "event", names[event->kind]);
    add_text(object, "side", side_name(event->side));
    add_text(object, "phase", phase_name(event->phase));
    json_object_object_add(object, "elapsed_ms", json_of_ms(event->elapsed_ns));
    add_time(object);
    if (event->kind == TERN_EVENT_PHASE)
        add_number(object, "phase_number", event->phase);
    if (event->kind == TERN_EVENT_ROUND || event->kind == TERN_EVENT_PROGRESS)
        add_counts(object, event);
    add_text(object, "transport", event->transport);
    add_text(object, "device", event->device);
    add_text(object, event->kind == TERN_EVENT_WARNING ? "message" : "text", event->text);
    return object;
}

struct json_object *json_of_error(const struct tern_error *error)
{
    struct json_object *object = json_object_new_object();
    const char *name = strerrorname_np(-error->code);

    add_text(object, "event", "error");
    add_text(object, "side", side_name(error->side));
    add_text(object, "code", name ? name : "EIO");
    json_object_object_add(object, "message", json_object_new_string(error->message));
    add_text(object, "hint", error->hint);
    add_time(object);
    return object;
}

struct json_object *json_of_done(bool ok, struct json_object *done)
{
    struct json_object *object = json_object_new_object();

    add_text(object, "event", "done");
    json_object_object_add(object, "ok", json_object_new_boolean(ok));
    if (done) {
        json_object_object_foreach(done, name, value) json_object_object_add(object, name, json_object_get(value));
    }
    add_time(object);
    return object;
}

/* Each member is the difference of rounded sums, so the rounded members add up to the rounded whole. */
static struct json_object *ledger_object(const struct tern_ledger *ledger)
{
    const struct {
        const char *name;
        uint64_t ns;
    } entries[] = {
        {"stop_ms", ledger->stop_ns},
        {"last_scan_ms", ledger->last_scan_ns},
        {"last_write_ms", ledger->last_write_ns},
        {"fence_ms", ledger->fence_ns},
        {"state_ms", ledger->state_ns},
        {"commit_ms", ledger->commit_ns},
        {"activate_ms", ledger->activate_ns},
    };
    struct json_object *object = json_object_new_object();
    uint64_t sum_ns = 0;

    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        uint64_t before_us = (sum_ns + 500) / 1000;

        sum_ns += entries[i].ns;
        json_object_object_add(object, entries[i].name, ms_of_us((sum_ns + 500) / 1000 - before_us));
    }
    return object;
}

/* On a host with several nodes only. */
static struct json_object *numa_object(const struct tern_result *result)
{
    struct json_object *object = json_object_new_object(), *nodes = json_object_new_array(),
                       *workers = json_object_new_array();

    for (uint32_t i = 0; i < result->n_nodes; i++) {
        struct json_object *node = json_object_new_object();

        add_number(node, "node", result->nodes[i].node);
        add_number(node, "pages", result->nodes[i].pages);
        json_object_array_add(nodes, node);
    }
    for (uint32_t i = 0; i < result->n_workers; i++) {
        struct json_object *worker = json_object_new_object();

        add_number(worker, "lane", result->workers[i].lane);
        add_number(worker, "node", result->workers[i].node);
        add_text(worker, "rail", result->workers[i].rail);
        add_number(worker, "pages_sent", result->workers[i].pages_sent);
        add_number(worker, "away_pages", result->workers[i].away_pages);
        json_object_array_add(workers, worker);
    }
    json_object_object_add(object, "nodes", nodes);
    json_object_object_add(object, "sampled", json_object_new_boolean(result->nodes_sampled));
    if (result->n_workers)
        json_object_object_add(object, "workers", workers);
    else
        json_object_put(workers);
    return object;
}

struct json_object *json_of_result(const struct tern_result *result)
{
    struct json_object *object = json_object_new_object();

    add_text(object, "outcome", outcome_name(result->outcome));
    json_object_object_add(object, "transport", json_object_new_string(result->transport));
    add_text(object, "transport_reason", result->transport_reason);
    json_object_object_add(object, "device", json_object_new_string(result->device));
    add_text(object, "tracker", result->tracker);
    add_text(object, "peer", result->peer);
    add_number(object, "lanes", result->lanes);
    json_object_object_add(object, "total_ms", json_of_ms(result->total_ns));
    json_object_object_add(object, "setup_ms", json_of_ms(result->setup_ns));
    json_object_object_add(object, "downtime_ms", json_of_ms(result->downtime_ns));
    json_object_object_add(object, "downtime", ledger_object(&result->ledger));
    add_number(object, "rounds", result->rounds);
    add_number(object, "bytes_sent", result->bytes_sent);
    add_number(object, "pages_sent", result->pages_sent);
    add_number(object, "zero_pages", result->zero_pages);
    add_number(object, "memory_bytes", result->memory_bytes);
    add_number(object, "mean_bps", result->mean_bps);
    add_number(object, "first_round_bps", result->first_round_bps);
    add_number(object, "registered_bytes", result->registered_bytes);
    json_object_object_add(object, "register_ms", json_of_ms(result->register_ns));
    add_number(object, "ring_bytes", result->ring_bytes);
    add_number(object, "peer_ring_bytes", result->peer_ring_bytes);
    add_number(object, "write_bytes", result->write_bytes);
    add_number(object, "queue_depth", result->queue_depth);
    add_number(object, "signal_every", result->signal_every);
    add_number(object, "tune_samples", result->tune_samples);
    json_object_object_add(object, "tune_ms", json_of_ms(result->tune_ns));
    json_object_object_add(object, "verified", json_object_new_boolean(result->verified));
    if (result->n_nodes)
        json_object_object_add(object, "numa", numa_object(result));
    return object;
}

char *report_nodes(const struct tern_result *result, char *text, size_t capacity)
{
    size_t used = 0;

    text[0] = 0;
    for (uint32_t i = 0; i < result->n_nodes && used < capacity; i++) {
        char pages[UNITS_TEXT_BYTES];

        used += (size_t)snprintf(text + used, capacity - used, "%snode %u: %s%s pages", i ? ", " : "",
                                 result->nodes[i].node, result->nodes_sampled ? "about " : "",
                                 units_count(result->nodes[i].pages, pages));
    }
    return text;
}

const char *json_member_text(struct json_object *object, const char *name)
{
    struct json_object *member;

    return json_object_object_get_ex(object, name, &member) && json_object_is_type(member, json_type_string)
               ? json_object_get_string(member)
               : "";
}

uint64_t json_member_number(struct json_object *object, const char *name)
{
    struct json_object *member;

    return json_object_object_get_ex(object, name, &member) ? json_object_get_uint64(member) : 0;
}

double json_member_double(struct json_object *object, const char *name)
{
    struct json_object *member;

    return json_object_object_get_ex(object, name, &member) ? json_object_get_double(member) : 0;
}

bool json_member_flag(struct json_object *object, const char *name)
{
    struct json_object *member;

    return json_object_object_get_ex(object, name, &member) && json_object_get_boolean(member);
}

/* The errno of a name; names are few, so all are tried. */
static int errno_of(const char *name)
{
    for (int code = 1; code < 134; code++) {
        const char *known = strerrorname_np(code);

        if (known && !strcmp(known, name))
            return code;
    }
    return EIO;
}

void json_read_error(struct json_object *event, struct tern_error *error)
{
    const char *side = json_member_text(event, "side");
    const char *hint = json_member_text(event, "hint");

    error_set(error, -errno_of(json_member_text(event, "code")), NULL, "%s", json_member_text(event, "message"));
    snprintf(error->hint, sizeof(error->hint), "%s", hint);
    if (!strcmp(side, "source"))
        error_side(error, TERN_SIDE_SOURCE);
    else if (!strcmp(side, "destination"))
        error_side(error, TERN_SIDE_DESTINATION);
}
