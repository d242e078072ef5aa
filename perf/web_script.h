/* SPDX-License-Identifier: BSD-2-Clause */
/* The web experiment is a script, perf/web of tern's own tree: this program becomes it. */
#ifndef PERF_WEB_SCRIPT_H
#define PERF_WEB_SCRIPT_H

#include "perf/cli.h"
#include "transport/tern_error.h"

/* web_script_run: with the options that were given; rates in bits a second, durations in ms, sizes in MiB, as plain
 * numbers. Returns only on failure.
 * errors   -ENOENT this program does not stand in tern's tree */
int web_script_run(const struct perf_values *values, const struct option_texts *texts, struct tern_error *error);

#endif
