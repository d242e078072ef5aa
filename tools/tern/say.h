/* SPDX-License-Identifier: BSD-2-Clause */
/* What tern says on stderr, and how it says that something failed: one line, side, message, what to do. */
#ifndef TOOLS_TERN_SAY_H
#define TOOLS_TERN_SAY_H

#include "transport/tern_error.h"

/* "tern: destination: cannot register 512 MiB: ...; run 'ulimit -l unlimited'". Returns CLI_EXIT_FAILED. */
int say_error(const struct tern_error *error);
/* The same for a usage error. Returns CLI_EXIT_USAGE. */
int say_usage(const struct tern_error *error);

#endif
