/* SPDX-License-Identifier: BSD-2-Clause */
/* tern migrate: of a VM process, or of a QEMU. */
#include <errno.h>

#include "tools/tern/qemu_job.h"
#include "tools/tern/request.h"
#include "tools/tern/say.h"
#include "tools/tern/watch.h"
#include "transport/error.h"

int cmd_migrate(const struct cli_invocation *invocation)
{
    const struct cli_values *values = invocation->values;
    char to[HOST_PORT_TEXT_BYTES];
    struct tern_error error = {0};
    int status;

    if (values->to.has_port && invocation->texts->text[options_find(&cli_options, CLI_MIGRATE, "port", 4)] &&
        values->port != values->to.port) {
        error_set(&error, -EINVAL, "give one of them", "--to names port %u and --port %lu", values->to.port,
                  (unsigned long)values->port);
        return say_usage(&error);
    }
    status = request_target(values, "a migration is");
    if (status)
        return status;
    if (values->qmp)
        return qemu_migrate(values);
    if (values->keep_source || values->nice != CLI_UNSET) {
        error_set(&error, -EINVAL, NULL, "--%s goes with --qmp", values->keep_source ? "keep-source" : "nice");
        return say_usage(&error);
    }
    host_port_text(values->to.host, values->to.has_port ? values->to.port : (uint16_t)values->port, to);
    return watch_job(invocation, TELL_MIGRATION, to);
}
