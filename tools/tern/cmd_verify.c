/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/request.h"

int cmd_verify(const struct cli_invocation *invocation)
{
    /* Every word of the guest's memory is read: a second for some GiB. */
    return request_command(invocation, "verify", NULL, 600000);
}
