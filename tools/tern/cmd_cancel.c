/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/request.h"

int cmd_cancel(const struct cli_invocation *invocation)
{
    /* The answer comes when the migration has ended: after a commit that takes until the peer is found again. */
    return request_command(invocation, "cancel", NULL, 60000);
}
