/* SPDX-License-Identifier: BSD-2-Clause */
/* How a program says on stderr that something failed: one line, side, message, what to do. */
#ifndef TOOLS_COMMON_ERROR_LINE_H
#define TOOLS_COMMON_ERROR_LINE_H

#include "transport/tern_error.h"

/* "tern: destination: cannot register 512 MiB: ...; run 'ulimit -l unlimited'" */
void error_line(const char *program, const struct tern_error *error);

#endif
