/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/request.h"

int cmd_quit(const struct cli_invocation *invocation)
{
    return request_command(invocation, "quit", NULL, 60000);
}
