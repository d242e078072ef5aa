/* SPDX-License-Identifier: BSD-2-Clause */
/* When a migration's phases were, from the lines that were written of it: tern migrate's --json, or what a QMP monitor
 * of a QEMU that migrates by itself said (its events, and an answer to query-migrate). Reads text, does no I/O.
 * source: DESIGN.md, the command line; QEMU qapi/migration.json (MIGRATION, MIGRATION_PASS), qapi/run-state.json */
#ifndef PERF_WEB_MARKS_H
#define PERF_WEB_MARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/tern_error.h"

/* Since 1970; 0: not seen. */
struct web_marks {
    uint64_t begin_ns;       /* somebody asked for it */
    uint64_t rounds_ns;      /* the first round begins */
    uint64_t first_round_ns; /* it has ended */
    uint64_t stop_ns;        /* the guest stands still from here */
    uint64_t runs_ns;        /* to here */
    uint64_t downtime_ns;    /* as the migration tells of itself */
    bool failed;
};

/* web_marks_line: take one line. What is no JSON object, or says nothing of this, is passed over. */
void web_marks_line(struct web_marks *marks, const char *line);

/* web_marks_finish: after the last line. Marks that follow from others are filled in.
 * errors   -EREMOTEIO the migration failed; -ENODATA there is no switchover in it, or marks are not in order */
int web_marks_finish(struct web_marks *marks, struct tern_error *error);

#endif
