/* SPDX-License-Identifier: BSD-2-Clause */
/* The rounds of a migration that was run here, and what it would have taken at best. */
#ifndef PERF_SHOW_ROUNDS_H
#define PERF_SHOW_ROUNDS_H

#include <json-c/json.h>
#include <stdio.h>

#include "perf/side.h"

/* What was sent, at the fastest round's rate without a pause.
 * last_bytes   of it, sent while the guest stood still */
struct minimum {
    uint64_t total_ns, downtime_ns, last_bytes;
};

/* minimum_of: all 0 where no round told a rate. */
struct minimum minimum_of(const struct side_report *report);

/* rounds_json: an array, the caller's. */
struct json_object *rounds_json(const struct side_report *report);
void rounds_table(FILE *out, const struct side_report *report);
/* rounds_draw: what was left to send over time, a curve a run. */
int rounds_draw(const char *file, const struct side_report *reports, size_t n, struct tern_error *error);

#endif
