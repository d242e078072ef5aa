/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/say.h"

#include <stdio.h>

#include "tools/common/report.h"
#include "tools/tern/cli.h"

int say_error(const struct tern_error *error)
{
    const char *side = side_name(error->side);

    fprintf(stderr, "tern: %s%s%s%s%s\n", side, *side ? ": " : "", error->message, *error->hint ? "; " : "",
            error->hint);
    return CLI_EXIT_FAILED;
}

int say_usage(const struct tern_error *error)
{
    say_error(error);
    return CLI_EXIT_USAGE;
}
