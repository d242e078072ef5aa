/* SPDX-License-Identifier: BSD-2-Clause */
/* How a migration or a suspend ended, told to people; with --json nothing is said here. */
#ifndef TOOLS_TERN_TELL_H
#define TOOLS_TERN_TELL_H

#include <json-c/json.h>

#include "tools/tern/cli.h"

enum tell_job { TELL_MIGRATION, TELL_SUSPEND };

/* tell_end: to is where it went as the user wrote it; error belongs to a done that is not ok. Returns the exit
 * status. */
int tell_end(const struct cli_values *values, enum tell_job job, const char *to, struct json_object *done,
             const struct tern_error *error);

#endif
