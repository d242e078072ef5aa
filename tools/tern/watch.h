/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration or a suspend as the client of a VM process: ask for it, show how it goes, tell how it ended.
 * The VM process owns it: if this program dies, it is cancelled unless it is too late for that. */
#ifndef TOOLS_TERN_WATCH_H
#define TOOLS_TERN_WATCH_H

#include "tools/tern/tell.h"

/* watch_job: to is where the guest goes, as the user wrote it. returns the exit status */
int watch_job(const struct cli_invocation *invocation, enum tell_job job, const char *to);

#endif
