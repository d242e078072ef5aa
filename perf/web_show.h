/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs of the web experiment side by side: as a table for people, and as one picture. */
#ifndef PERF_WEB_SHOW_H
#define PERF_WEB_SHOW_H

#include <stdio.h>

#include "perf/web_run.h"

#define WEB_RUNS_MAX 6u

/* web_show_table: a column a run. */
void web_show_table(FILE *out, const struct web_run *runs, size_t n);

/* web_plot: throughput over time into an SVG file, a panel a run, all from the migration's begin on, with their phases.
 * errors  as of plot_write */
int web_plot(const struct web_run *runs, size_t n, const char *file, struct tern_error *error);

#endif
