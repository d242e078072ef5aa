/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/qemu_commands.h"
#include "tools/tern/request.h"

int cmd_cont(const struct cli_invocation *invocation)
{
    int status = request_target(invocation->values, "what goes on is the guest");

    if (status)
        return status;
    if (invocation->values->qmp)
        return qemu_cont(invocation->values);
    return request_command(invocation, "cont", NULL, 10000);
}
