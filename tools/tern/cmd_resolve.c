/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/options_json.h"
#include "tools/tern/qemu_commands.h"
#include "tools/tern/request.h"

int cmd_resolve(const struct cli_invocation *invocation)
{
    struct json_object *members;
    int status = request_target(invocation->values, "a handover is");

    if (status)
        return status;
    if (invocation->values->qmp)
        return qemu_resolve(invocation->values);
    members = json_object_new_object();
    options_to_json(&cli_options, CLI_REQUEST_RESOLVE, invocation->texts, members);
    status = request_command(invocation, "resolve", members, 10000);
    json_object_put(members);
    return status;
}
