/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/qemu_commands.h"
#include "tools/tern/request.h"

int cmd_cancel(const struct cli_invocation *invocation)
{
    int status = request_target(invocation->values, "a migration is");

    if (status)
        return status;
    if (invocation->values->qmp)
        return qemu_cancel(invocation->values);
    /* The answer comes when the migration has ended: after a commit that takes until the peer is found again. */
    return request_command(invocation, "cancel", NULL, 60000);
}
