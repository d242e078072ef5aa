/* SPDX-License-Identifier: BSD-2-Clause */
/* Being asked to end (SIGINT, SIGTERM), as something to poll for. */
#ifndef TOOLS_COMMON_SIGNALS_H
#define TOOLS_COMMON_SIGNALS_H

#include "transport/tern_error.h"

/* signals_open: block both in this thread and in those that it will make, and give a non-blocking signalfd, the
 * caller's, that has them. */
int signals_open(int *fd_out, struct tern_error *error);

/* signals_block_stops: from now on the terminal's keys do not stop or dump this process (Ctrl-Z, Ctrl-\): somebody
 * waits for what it does. This thread, and those that it makes. */
void signals_block_stops(void);

#endif
