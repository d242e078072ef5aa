/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/web_show.h"

#include <string.h>

#include "tools/common/units.h"

#define LABEL_WIDTH 26
#define CELL_WIDTH  30

typedef void write_cell(char *text, size_t room, const struct web_run *run, int kind);

static void row(FILE *out, const char *label, const struct web_run *runs, size_t n, write_cell *write, int kind)
{
    char text[96];

    fprintf(out, "%-*s", LABEL_WIDTH, label);
    for (size_t i = 0; i < n; i++) {
        write(text, sizeof(text), &runs[i], kind);
        fprintf(out, i + 1 < n ? "%-*s" : "%.*s", i + 1 < n ? CELL_WIDTH : (int)sizeof(text), text);
    }
    fputc('\n', out);
}

static void name_cell(char *text, size_t room, const struct web_run *run, int kind)
{
    (void)kind;
    snprintf(text, room, "%s", run->name);
}

static void phase_cell(char *text, size_t room, const struct web_run *run, int kind)
{
    const struct web_phase *phase = &run->phases[kind];
    char rate[UNITS_TEXT_BYTES], length[UNITS_TEXT_BYTES];

    if (phase->end_ns <= phase->begin_ns) {
        snprintf(text, room, "-");
        return;
    }
    units_duration(phase->end_ns - phase->begin_ns, length);
    if (phase->end_ns - phase->begin_ns < run->slot_ns) /* the slots do not tell */
        snprintf(text, room, "%-17sin %s", "-", length);
    else
        snprintf(text, room, "%-10s %.2f  in %s", units_rate(phase->mean_bps, rate),
                 web_run_ratio(run, (enum web_phase_kind)kind), length);
}

static void downtime_cell(char *text, size_t room, const struct web_run *run, int kind)
{
    char length[UNITS_TEXT_BYTES];

    (void)kind;
    snprintf(text, room, "%s", units_duration(run->downtime_ns, length));
}

/* The members of struct web_gap. */
enum gap_kind { GAP_MEDIAN, GAP_WORST, GAP_ALL };

static uint64_t gap_ns(const struct web_gap *gap, int kind)
{
    return kind == GAP_MEDIAN ? gap->median_ns : kind == GAP_WORST ? gap->worst_ns : gap->all_ns;
}

static void gap_cell(char *text, size_t room, const struct web_run *run, int kind)
{
    char gap[UNITS_TEXT_BYTES], calm[UNITS_TEXT_BYTES];

    units_duration(gap_ns(&run->gap, kind), gap);
    units_duration(gap_ns(&run->calm, kind), calm);
    snprintf(text, room, "%-10s (calm: %s)", gap, calm);
}

static void kept_cell(char *text, size_t room, const struct web_run *run, int kind)
{
    (void)kind;
    snprintf(text, room, "%llu of %llu", (unsigned long long)run->kept, (unsigned long long)run->open);
}

static void bodies_cell(char *text, size_t room, const struct web_run *run, int kind)
{
    char right[UNITS_TEXT_BYTES], damaged[UNITS_TEXT_BYTES];

    (void)kind;
    snprintf(text, room, "%s right, %s damaged", units_count(run->bodies, right), units_count(run->damaged, damaged));
}

void web_show_table(FILE *out, const struct web_run *runs, size_t n)
{
    row(out, "throughput, / before", runs, n, name_cell, 0);
    for (int kind = 0; kind < WEB_PHASES; kind++) {
        char label[LABEL_WIDTH];

        snprintf(label, sizeof(label), "  %s", web_phase_name((enum web_phase_kind)kind));
        row(out, label, runs, n, phase_cell, kind);
    }
    row(out, "downtime", runs, n, downtime_cell, 0);
    fprintf(out, "longest time without a byte in the second from the stop on (calm: in a second before)\n");
    row(out, "  median connection", runs, n, gap_cell, GAP_MEDIAN);
    row(out, "  worst connection", runs, n, gap_cell, GAP_WORST);
    row(out, "  all connections at once", runs, n, gap_cell, GAP_ALL);
    row(out, "open connections went on", runs, n, kept_cell, 0);
    row(out, "bodies", runs, n, bodies_cell, 0);
}
