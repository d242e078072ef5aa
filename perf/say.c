/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>

#include "perf/cli.h"
#include "tools/common/report.h"

int perf_failed(const struct tern_error *error)
{
    const char *side = side_name(error->side);

    fprintf(stderr, "tern-perf: %s%s%s%s%s\n", side, *side ? ": " : "", error->message, *error->hint ? "; " : "",
            error->hint);
    return PERF_EXIT_FAILED;
}

int perf_usage(const struct tern_error *error)
{
    perf_failed(error);
    return PERF_EXIT_USAGE;
}
