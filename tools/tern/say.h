/* SPDX-License-Identifier: BSD-2-Clause */
/* That something failed, on stderr, and the exit status that goes with it. */
#ifndef TOOLS_TERN_SAY_H
#define TOOLS_TERN_SAY_H

#include "transport/tern_error.h"

/* Returns CLI_EXIT_FAILED. */
int say_error(const struct tern_error *error);
/* The same for a usage error. Returns CLI_EXIT_USAGE. */
int say_usage(const struct tern_error *error);

#endif
