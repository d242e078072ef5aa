/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/qemu_job.h"

int cmd_resume(const struct cli_invocation *invocation)
{
    return qemu_resume(invocation->values);
}
