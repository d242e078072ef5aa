/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/error_line.h"

#include <stdio.h>

#include "tools/common/report.h"

void error_line(const char *program, const struct tern_error *error)
{
    const char *side = side_name(error->side);

    fprintf(stderr, "%s: %s%s%s%s%s\n", program, side, *side ? ": " : "", error->message, *error->hint ? "; " : "",
            error->hint);
}
