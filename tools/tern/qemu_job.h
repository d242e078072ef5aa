/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration of an unmodified QEMU, run by this process itself. */
#ifndef TOOLS_TERN_QEMU_JOB_H
#define TOOLS_TERN_QEMU_JOB_H

#include "tools/tern/cli.h"

/* Both return the exit status, having told how it ended. An interrupt cancels. */
int qemu_migrate(const struct cli_values *values);
int qemu_receive(const struct cli_values *values);
int qemu_status(const struct cli_values *values);

#endif
