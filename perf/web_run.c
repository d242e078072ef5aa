/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/web_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/samples.h"
#include "transport/clock.h"
#include "transport/error.h"

#define CALM_WINDOWS 60u

const char *web_phase_name(enum web_phase_kind kind)
{
    static const char *const names[WEB_PHASES] = {"before", "first round", "later rounds", "switchover", "after"};

    return names[kind];
}

double web_run_ratio(const struct web_run *run, enum web_phase_kind kind)
{
    uint64_t before_bps = run->phases[WEB_BEFORE].mean_bps;

    return before_bps ? (double)run->phases[kind].mean_bps / (double)before_bps : 0;
}

/* ---- throughput ---- */

static uint64_t overlap_ns(uint64_t a_begin, uint64_t a_end, uint64_t b_begin, uint64_t b_end)
{
    uint64_t begin = a_begin > b_begin ? a_begin : b_begin, end = a_end < b_end ? a_end : b_end;

    return end > begin ? end - begin : 0;
}

/* A slot's bytes are taken as spread evenly over it: in a phase of few slots that is not exact. */
static void set_phase(struct web_run *run, enum web_phase_kind kind, uint64_t begin_ns, uint64_t end_ns)
{
    double bytes = 0;

    for (uint64_t slot = begin_ns / run->slot_ns; slot < run->n_slots && slot * run->slot_ns < end_ns; slot++) {
        uint64_t at_ns = slot * run->slot_ns;

        bytes += (double)run->slot_bytes[slot] * (double)overlap_ns(at_ns, at_ns + run->slot_ns, begin_ns, end_ns) /
                 (double)run->slot_ns;
    }
    run->phases[kind] = (struct web_phase){begin_ns, end_ns, 0};
    if (end_ns > begin_ns)
        run->phases[kind].mean_bps = (uint64_t)(bytes * 8e9 / (double)(end_ns - begin_ns));
}

/* ---- silence ---- */

static uint64_t longest_silence(const struct web_client_report *client, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t longest_ns = 0;

    for (size_t i = 0; i < client->n_silences; i++) {
        const struct web_silence *s = &client->silences[i];

        if (overlap_ns(s->begin_ns, s->end_ns, from_ns, to_ns) && s->end_ns - s->begin_ns > longest_ns)
            longest_ns = s->end_ns - s->begin_ns;
    }
    return longest_ns;
}

/* A client falls silent, or is heard again. */
struct turn {
    uint64_t at_ns;
    int step;
};

static int compare_turns(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;

    return x->at_ns != y->at_ns ? (x->at_ns > y->at_ns) - (x->at_ns < y->at_ns) : x->step - y->step;
}

/* How long all of n_heard clients were silent at once, at most. turns are sorted. */
static uint64_t longest_common(const struct turn *turns, size_t n, int n_heard)
{
    uint64_t longest_ns = 0;
    int silent = 0;

    for (size_t i = 0; i < n; i++) {
        silent += turns[i].step;
        if (silent == n_heard && i + 1 < n && turns[i + 1].at_ns - turns[i].at_ns > longest_ns)
            longest_ns = turns[i + 1].at_ns - turns[i].at_ns;
    }
    return longest_ns;
}

static uint64_t common_silence(const struct web_load *load, uint64_t from_ns, uint64_t to_ns)
{
    size_t n = 0, room = 0;
    uint64_t longest_ns = 0;
    struct turn *turns;
    int n_heard = 0;

    for (uint32_t i = 0; i < load->n_clients; i++)
        room += 2 * load->clients[i].n_silences;
    turns = calloc(room + 1, sizeof(*turns));
    for (uint32_t i = 0; turns && i < load->n_clients; i++) {
        const struct web_client_report *client = &load->clients[i];

        n_heard += client->bytes > 0;
        for (size_t k = 0; k < client->n_silences; k++) {
            const struct web_silence *s = &client->silences[k];

            if (!overlap_ns(s->begin_ns, s->end_ns, from_ns, to_ns))
                continue;
            turns[n++] = (struct turn){s->begin_ns, 1};
            turns[n++] = (struct turn){s->end_ns, -1};
        }
    }
    if (turns && n_heard) {
        qsort(turns, n, sizeof(*turns), compare_turns);
        longest_ns = longest_common(turns, n, n_heard);
    }
    free(turns);
    return longest_ns;
}

struct web_gap web_gap_between(const struct web_load *load, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t longest[WEB_CLIENTS_MAX];
    struct web_gap gap = {0};
    size_t n = 0;

    for (uint32_t i = 0; i < load->n_clients; i++)
        if (load->clients[i].bytes)
            longest[n++] = longest_silence(&load->clients[i], from_ns, to_ns);
    if (n) {
        gap.worst_ns = samples_worst(longest, n, false);
        gap.median_ns = samples_median(longest, n);
        gap.all_ns = common_silence(load, from_ns, to_ns);
    }
    return gap;
}

/* The windows that fit between from_ns and to_ns, the latest ones. */
static struct web_gap calm_gap(const struct web_load *load, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t median[CALM_WINDOWS], worst[CALM_WINDOWS], all[CALM_WINDOWS];
    size_t n = 0;

    for (; n < CALM_WINDOWS && to_ns >= from_ns + WEB_GAP_NS; to_ns -= WEB_GAP_NS, n++) {
        struct web_gap gap = web_gap_between(load, to_ns - WEB_GAP_NS, to_ns);

        median[n] = gap.median_ns;
        worst[n] = gap.worst_ns;
        all[n] = gap.all_ns;
    }
    if (!n)
        return (struct web_gap){0};
    return (struct web_gap){samples_median(median, n), samples_median(worst, n), samples_median(all, n)};
}

/* ---- all of it ---- */

/* Not only by what was under way when the guest ran again. */
static bool goes_on(const struct web_connection *c, uint64_t runs_ns)
{
    uint64_t left_ns = c->closed_ns > runs_ns ? c->closed_ns - runs_ns : 0;

    if (!c->error) /* its last answer came whole */
        return true;
    return c->error == -ECANCELED && left_ns &&
           c->heard_ns > runs_ns + (left_ns / 2 < WEB_GAP_NS ? left_ns / 2 : WEB_GAP_NS);
}

static void how_lost(const struct web_connection *c, char how[WEB_HOW_BYTES])
{
    switch (c->error) {
    case -ECANCELED:
        snprintf(how, WEB_HOW_BYTES, "silent");
        break;
    case -ESHUTDOWN:
        snprintf(how, WEB_HOW_BYTES, "closed by the server");
        break;
    case -EPROTO:
        snprintf(how, WEB_HOW_BYTES, "another answer than 200: '%s'", c->answer);
        break;
    default:
        snprintf(how, WEB_HOW_BYTES, "%s", strerror(-c->error));
    }
}

static void add_loss(struct web_run *run, const struct web_connection *c, uint64_t stop_ns)
{
    struct web_loss *loss = &run->losses[run->n_losses];

    if (run->n_losses == WEB_LOSSES_MAX)
        return;
    how_lost(c, loss->how);
    loss->heard_ns = (int64_t)(c->heard_ns - stop_ns);
    loss->closed_ns = (int64_t)(c->closed_ns - stop_ns);
    loss->left_bytes = c->left_bytes;
    run->n_losses++;
}

static void count_connections(const struct web_load *load, uint64_t stop_ns, uint64_t runs_ns, struct web_run *run)
{
    for (uint32_t i = 0; i < load->n_clients; i++) {
        const struct web_client_report *client = &load->clients[i];

        run->bodies += client->bodies;
        run->damaged += client->damaged;
        for (size_t k = 0; k < client->n_connections; k++) {
            const struct web_connection *c = &client->connections[k];
            bool open = c->opened_ns < stop_ns && c->closed_ns > stop_ns;

            run->open += open;
            if (open && goes_on(c, runs_ns))
                run->kept++;
            else if (open)
                add_loss(run, c, stop_ns);
        }
    }
}

int web_run_make(const struct web_load *load, const struct web_marks *marks, const char *name, struct web_run *out,
                 struct tern_error *error)
{
    struct web_run run = {.slot_ns = load->slot_ns, .connections = load->n_clients};
    uint64_t zero_ns = load->begin_wall_ns, begin_ns = marks->begin_ns - zero_ns, stop_ns = marks->stop_ns - zero_ns,
             runs_ns = marks->runs_ns - zero_ns;
    uint64_t warm_ns = begin_ns > 2 * WEB_WARM_NS ? WEB_WARM_NS : begin_ns / 2;

    if (marks->begin_ns <= zero_ns || runs_ns >= load->elapsed_ns)
        return error_set(error, -ERANGE, "let the clients begin before the migration, and go on after it",
                         "the migration began before its clients did, or ended after them");
    run.n_slots = load->elapsed_ns / load->slot_ns < load->n_slots ? load->elapsed_ns / load->slot_ns : load->n_slots;
    run.slot_bytes = calloc(load->n_slots + 1, sizeof(*run.slot_bytes));
    if (!run.slot_bytes)
        return error_set(error, -ENOMEM, NULL, "out of memory for a web load's slots");
    web_load_slots(load, run.slot_bytes);
    snprintf(run.name, sizeof(run.name), "%s", name ? name : "migration");
    run.begin_ns = begin_ns;
    run.downtime_ns = marks->downtime_ns;
    set_phase(&run, WEB_BEFORE, warm_ns, begin_ns);
    set_phase(&run, WEB_FIRST_ROUND, marks->rounds_ns - zero_ns, marks->first_round_ns - zero_ns);
    set_phase(&run, WEB_LATER_ROUNDS, marks->first_round_ns - zero_ns, stop_ns);
    set_phase(&run, WEB_SWITCHOVER, stop_ns, runs_ns);
    set_phase(&run, WEB_AFTER, runs_ns, run.n_slots * run.slot_ns);
    run.gap = web_gap_between(load, stop_ns, stop_ns + WEB_GAP_NS);
    run.calm = calm_gap(load, warm_ns, begin_ns);
    count_connections(load, stop_ns, runs_ns, &run);
    *out = run;
    return 0;
}

void web_run_release(struct web_run *run)
{
    free(run->slot_bytes);
    run->slot_bytes = NULL;
}
