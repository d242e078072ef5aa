/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/request.h"

int cmd_pause(const struct cli_invocation *invocation)
{
    return request_command(invocation, "pause", NULL, 10000);
}
