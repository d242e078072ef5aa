/* SPDX-License-Identifier: BSD-2-Clause */
/* status, pause, cont, cancel and resolve of a QEMU: asked of the tern that migrates it, if there is one, else done
 * here over QMP. */
#ifndef TOOLS_TERN_QEMU_COMMANDS_H
#define TOOLS_TERN_QEMU_COMMANDS_H

#include <json-c/json.h>

#include "tools/tern/cli.h"

/* qemu_status: done_out is the caller's, as a VM process would have answered. errors -ENOENT nobody is there */
int qemu_status(const struct cli_values *values, struct json_object **done_out, struct tern_error *error);

/* Each returns the exit status, having told what came of it. */
int qemu_pause(const struct cli_values *values);
int qemu_cont(const struct cli_values *values);
int qemu_cancel(const struct cli_values *values);
int qemu_resolve(const struct cli_values *values);

#endif
