/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/options_json.h"
#include "tools/tern/request.h"

int cmd_resolve(const struct cli_invocation *invocation)
{
    struct json_object *members = json_object_new_object();
    int status;

    options_to_json(&cli_options, CLI_REQUEST_RESOLVE, invocation->texts, members);
    status = request_command(invocation, "resolve", members, 10000);
    json_object_put(members);
    return status;
}
