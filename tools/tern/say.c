/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/say.h"

#include "tools/common/error_line.h"
#include "tools/tern/cli.h"

int say_error(const struct tern_error *error)
{
    error_line("tern", error);
    return CLI_EXIT_FAILED;
}

int say_usage(const struct tern_error *error)
{
    error_line("tern", error);
    return CLI_EXIT_USAGE;
}
