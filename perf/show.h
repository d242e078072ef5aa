/* SPDX-License-Identifier: BSD-2-Clause */
/* How runs are told, as text or as JSON: each one, and at the end the median and the worst of all. */
#ifndef PERF_SHOW_H
#define PERF_SHOW_H

#include <json-c/json.h>
#include <stdio.h>

#include <json-c/json.h>

#include "perf/side.h"

/* One migration; a side that ran on another host is NULL. */
struct run {
    const struct side_report *source, *destination;
};

/* The figures that are summed up, of a source's report. */
enum figure {
    FIGURE_TOTAL_NS,
    FIGURE_FIRST_ROUND_BPS,
    FIGURE_MEAN_BPS,
    FIGURE_DOWNTIME_NS,
    FIGURE_BEYOND_BYTES,
    FIGURES,
};

uint64_t figure_of(enum figure figure, const struct side_report *report);

/* show_run: one line. number counts from 1. */
void show_run(FILE *out, bool json, uint64_t number, const struct run *run);
/* show_summary: of n reports of sources; median and worst. */
void show_summary(FILE *out, bool json, const struct side_report *reports, size_t n);
/* The same for a destination, which has no figures of its own but its memory. */
void show_received(FILE *out, bool json, size_t n);
/* show_number: with three digits after the point. */
struct json_object *show_number(double value);
/* show_json: one line; object is consumed. */
void show_json(FILE *out, struct json_object *object);
/* show_error: on stdout as JSON, else on stderr; returns the exit status. */
int show_error(bool json, const struct tern_error *error);

#endif
