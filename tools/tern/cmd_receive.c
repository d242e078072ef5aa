/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/qemu_job.h"

int cmd_receive(const struct cli_invocation *invocation)
{
    return qemu_receive(invocation->values);
}
