/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/qemu_commands.h"
#include "tools/tern/request.h"

int cmd_pause(const struct cli_invocation *invocation)
{
    int status = request_target(invocation->values, "a pause is");

    if (status)
        return status;
    if (invocation->values->qmp)
        return qemu_pause(invocation->values);
    return request_command(invocation, "pause", NULL, 10000);
}
