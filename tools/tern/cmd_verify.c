/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/request.h"

int cmd_verify(const struct cli_invocation *invocation)
{
    /* The payload's whole history is run again, which can take as long as it took the guest. */
    return request_command(invocation, "verify", NULL, 600000);
}
