/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/render.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/common/report.h"
#include "tools/common/units.h"

#define COLUMNS_DEFAULT 80
#define LINE_BYTES      256

static uint64_t ns_of(struct json_object *object, const char *name)
{
    double ms = json_member_double(object, name);

    return ms > 0 ? (uint64_t)(ms * 1e6) : 0;
}

void render_init(struct render *render, FILE *out)
{
    struct winsize size;

    *render = (struct render){.out = out, .is_terminal = isatty(fileno(out)), .columns = COLUMNS_DEFAULT};
    if (render->is_terminal && !ioctl(fileno(out), TIOCGWINSZ, &size) && size.ws_col > 20)
        render->columns = size.ws_col;
}

void render_line(struct json_object *event, char *text, size_t text_bytes)
{
    char rate[UNITS_TEXT_BYTES], left[UNITS_TEXT_BYTES], downtime[UNITS_TEXT_BYTES];
    uint64_t round = json_member_number(event, "round");
    uint64_t throttle = json_member_number(event, "throttle_percent");
    uint64_t predicted_ns = ns_of(event, "predicted_downtime_ms");
    size_t n;

    n = (size_t)snprintf(text, text_bytes, "%s", json_member_text(event, "phase"));
    if (round && n < text_bytes)
        n += (size_t)snprintf(text + n, text_bytes - n, ", round %lu, %s, %s left, predicted downtime %s",
                              (unsigned long)round, units_rate(json_member_number(event, "rate_bps"), rate),
                              units_size(json_member_number(event, "bytes_left"), left),
                              predicted_ns ? units_duration(predicted_ns, downtime) : "unknown yet");
    else if (json_member_number(event, "bytes_left") && n < text_bytes) /* a guest that runs out of its image */
        n += (size_t)snprintf(text + n, text_bytes - n, ", %s still to be read",
                              units_size(json_member_number(event, "bytes_left"), left));
    if (throttle && n < text_bytes)
        snprintf(text + n, text_bytes - n, ", guest throttled %lu %%", (unsigned long)throttle);
}

void render_end(struct render *render)
{
    if (render->line_is_open)
        fputs("\r\033[K", render->out);
    fflush(render->out);
    render->line_is_open = false;
}

static void overwrite(struct render *render, struct json_object *event)
{
    char text[LINE_BYTES];

    render_line(event, text, sizeof(text));
    fprintf(render->out, "\r\033[K%.*s", (int)render->columns - 1, text);
    fflush(render->out);
    render->line_is_open = true;
}

static void round_line(struct render *render, struct json_object *event)
{
    char sent[UNITS_TEXT_BYTES], took[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES], left[UNITS_TEXT_BYTES],
        downtime[UNITS_TEXT_BYTES];

    fprintf(render->out, "round %lu: %s in %s, %s; %s left, predicted downtime %s\n",
            (unsigned long)json_member_number(event, "round"),
            units_size(json_member_number(event, "round_bytes"), sent), units_duration(ns_of(event, "round_ms"), took),
            units_rate(json_member_number(event, "rate_bps"), rate),
            units_size(json_member_number(event, "bytes_left"), left),
            units_duration(ns_of(event, "predicted_downtime_ms"), downtime));
}

static void phase_line(struct render *render, struct json_object *event)
{
    const char *transport = json_member_text(event, "transport");
    const char *device = json_member_text(event, "device");

    fputs(json_member_text(event, "phase"), render->out);
    if (*transport)
        fprintf(render->out, " over %s", transport);
    if (*device && strcmp(device, transport))
        fprintf(render->out, " (%s)", device);
    fputc('\n', render->out);
}

void render_event(struct render *render, struct json_object *event)
{
    const char *kind = json_member_text(event, "event");

    if (!strcmp(kind, "warning")) {
        render_end(render);
        fprintf(render->out, "warning: %s\n", json_member_text(event, "message"));
    } else if (render->is_terminal) {
        overwrite(render, event);
    } else if (!strcmp(kind, "round")) {
        round_line(render, event);
    } else if (!strcmp(kind, "phase")) {
        phase_line(render, event);
    }
    fflush(render->out);
}

static void row(FILE *out, const char *label, const char *value)
{
    fprintf(out, "  %-12s %s\n", label, value);
}

/* QEMU is held still once, or, where its kernel can do no better, for every look at its pages. */
static void tracker_row(FILE *out, struct json_object *done)
{
    uint64_t held_ns = ns_of(done, "held_still_ms");
    char text[LINE_BYTES], a[UNITS_TEXT_BYTES];

    snprintf(text, sizeof(text), "%s%s%s%s", json_member_text(done, "tracker"), held_ns ? "; held QEMU still for " : "",
             held_ns ? units_duration(held_ns, a) : "", held_ns ? " at most" : "");
    row(out, "tracker", text);
}

/* Where memory lay here; the destination's own words say where it lies there. */
static void numa_row(FILE *out, struct json_object *done)
{
    struct json_object *numa, *nodes;
    char text[2 * LINE_BYTES], a[UNITS_TEXT_BYTES];
    size_t used = 0;

    if (!json_object_object_get_ex(done, "numa", &numa) || !json_object_object_get_ex(numa, "nodes", &nodes))
        return;
    for (size_t i = 0; i < json_object_array_length(nodes) && used + 64 < sizeof(text); i++) {
        struct json_object *node = json_object_array_get_idx(nodes, i);

        used += (size_t)snprintf(text + used, sizeof(text) - used, "%snode %lu: %s%s pages", i ? ", " : "",
                                 (unsigned long)json_member_number(node, "node"),
                                 json_member_flag(numa, "sampled") ? "about " : "",
                                 units_count(json_member_number(node, "pages"), a));
    }
    row(out, "NUMA", text);
}

/* Of this side; nothing over tcp. */
static void registration_row(FILE *out, struct json_object *done)
{
    uint64_t bytes = json_member_number(done, "registered_bytes"), ns = ns_of(done, "register_ms");
    uint64_t ring = json_member_number(done, "ring_bytes"), peer = json_member_number(done, "peer_ring_bytes");
    char text[2 * LINE_BYTES], a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES], c[UNITS_TEXT_BYTES], d[UNITS_TEXT_BYTES];

    if (!bytes && !ring && !peer)
        return;
    snprintf(text, sizeof(text), "%s in %s of threads' time%s%s%s%s%s", units_size(bytes, a), units_duration(ns, b),
             ring ? "; through a ring: here " : "", ring ? units_size(ring, c) : "",
             peer ? (ring ? ", there " : "; through a ring: there ") : "", peer ? units_size(peer, d) : "",
             ring || peer ? ", with a copy each" : "");
    row(out, "registered", text);
}

/* What was chosen, and how; nothing over tcp. */
static void tuning_row(FILE *out, struct json_object *done)
{
    uint64_t bytes = json_member_number(done, "write_bytes"), samples = json_member_number(done, "tune_samples");
    char text[2 * LINE_BYTES], a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES];

    if (!bytes)
        return;
    snprintf(text, sizeof(text), "up to %s each, %lu under way a lane, one completion in %lu (%lu samples in %s)",
             units_size(bytes, a), (unsigned long)json_member_number(done, "queue_depth"),
             (unsigned long)json_member_number(done, "signal_every"), (unsigned long)samples,
             units_duration(ns_of(done, "tune_ms"), b));
    row(out, "writes", text);
}

static bool is_suspend(struct json_object *done)
{
    return !strcmp(json_member_text(done, "outcome"), "suspended");
}

static void how_it_went(FILE *out, struct json_object *done)
{
    char text[2 * LINE_BYTES], a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES], c[UNITS_TEXT_BYTES];
    uint64_t lanes = json_member_number(done, "lanes");
    uint64_t rounds = json_member_number(done, "rounds");
    const char *device = json_member_text(done, "device");
    const char *transport = json_member_text(done, "transport");
    const char *reason = json_member_text(done, "transport_reason");

    if (!strcmp(device, transport))
        device = "";
    snprintf(text, sizeof(text), "%s%s%s, %lu lane%s%s%.128s%s", transport, *device ? " on " : "", device,
             (unsigned long)lanes, lanes == 1 ? "" : "s", *reason ? " (" : "", reason, *reason ? ")" : "");
    row(out, "transport", text);
    tracker_row(out, done);
    snprintf(text, sizeof(text), "%s in %lu round%s, %s pages; %s pages of zeros were not sent",
             units_size(json_member_number(done, "bytes_sent"), a), (unsigned long)rounds, rounds == 1 ? "" : "s",
             units_count(json_member_number(done, "pages_sent"), b),
             units_count(json_member_number(done, "zero_pages"), c));
    row(out, "sent", text);
    row(out, "memory", units_size(json_member_number(done, "memory_bytes"), a));
    numa_row(out, done);
    snprintf(text, sizeof(text), "%s; first round %s", units_rate(json_member_number(done, "mean_bps"), a),
             units_rate(json_member_number(done, "first_round_bps"), b));
    row(out, "mean rate", text);
    registration_row(out, done);
    tuning_row(out, done);
    if (!is_suspend(done)) /* whose digests are in the image */
        row(out, "verified",
            json_member_flag(done, "verified") ? "every page, before the handover" : "no (--verify does)");
    snprintf(text, sizeof(text), "%s, %s of it to connect and prepare", units_duration(ns_of(done, "total_ms"), a),
             units_duration(ns_of(done, "setup_ms"), b));
    row(out, "total time", text);
}

static void ledger(FILE *out, struct json_object *done)
{
    static const struct {
        const char *member;
        const char *label;
        const char *of_suspend; /* if it is another */
    } entries[] = {
        {"stop_ms", "stop the guest", NULL},
        {"last_scan_ms", "find the last dirty pages", NULL},
        {"last_write_ms", "write them", NULL},
        {"fence_ms", "destination has them all", "digests"},
        {"state_ms", "device state", NULL},
        {"commit_ms", "load it, agree, commit", "sync the image, put it in its place"},
        {"activate_ms", "run at the destination", NULL},
    };
    bool suspend = is_suspend(done);
    struct json_object *downtime;

    fprintf(out, "  %-12s %9.3f ms\n", "downtime", json_member_double(done, "downtime_ms"));
    if (!json_object_object_get_ex(done, "downtime", &downtime))
        return;
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]) - suspend; i++) /* that does not run anywhere */
        fprintf(out, "  %12s %9.3f ms  %s\n", "", json_member_double(downtime, entries[i].member),
                suspend && entries[i].of_suspend ? entries[i].of_suspend : entries[i].label);
}

void render_summary(FILE *out, const char *to, struct json_object *done)
{
    fprintf(out, "%s to %s\n", is_suspend(done) ? "suspended" : "migrated", to);
    how_it_went(out, done);
    ledger(out, done);
    fflush(out);
}
