/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/cli.h"
#include "tools/common/error_line.h"

int perf_failed(const struct tern_error *error)
{
    error_line("tern-perf", error);
    return PERF_EXIT_FAILED;
}

int perf_usage(const struct tern_error *error)
{
    error_line("tern-perf", error);
    return PERF_EXIT_USAGE;
}
