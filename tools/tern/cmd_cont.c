/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/request.h"

int cmd_cont(const struct cli_invocation *invocation)
{
    return request_command(invocation, "cont", NULL, 10000);
}
