/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration, a suspend or a resume of an unmodified QEMU, run by this process itself. QEMU's QMP socket serves one
 * client at a time, so while it runs this process answers for QEMU at a control socket beside that: PATH.tern
 * (QEMU_CONTROL_SUFFIX). It is not the VM process's: that lives before and after its migrations and starts them on
 * request, this one is a single one.
 */
#ifndef TOOLS_TERN_QEMU_JOB_H
#define TOOLS_TERN_QEMU_JOB_H

#include "tools/tern/cli.h"

/* Each returns the exit status, having told how it ended. An interrupt cancels. */
int qemu_migrate(const struct cli_values *values);
int qemu_receive(const struct cli_values *values);
int qemu_suspend(const struct cli_values *values);
int qemu_resume(const struct cli_values *values);

#endif
