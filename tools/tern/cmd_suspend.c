/* SPDX-License-Identifier: BSD-2-Clause */
/* tern suspend: of a VM process, or of a QEMU. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/tern/qemu_job.h"
#include "tools/tern/request.h"
#include "tools/tern/say.h"
#include "tools/tern/watch.h"
#include "transport/error.h"

/* The VM process has a folder of its own: it is told the whole path. */
static int absolute_path(const char *path, char absolute[PATH_MAX], struct tern_error *error)
{
    char here[PATH_MAX];
    int n;

    if (*path != '/' && !getcwd(here, sizeof(here)))
        return error_set(error, -errno, NULL, "cannot tell the present folder: %s", strerror(errno));
    n = *path == '/' ? snprintf(absolute, PATH_MAX, "%s", path) : snprintf(absolute, PATH_MAX, "%s/%s", here, path);
    return n < PATH_MAX ? 0 : error_set(error, -ENAMETOOLONG, NULL, "the name of the image is too long");
}

static int vm_suspend(const struct cli_invocation *invocation)
{
    int option = options_find(&cli_options, CLI_SUSPEND, "to", 2);
    struct option_texts texts = *invocation->texts;
    struct cli_invocation resolved = {invocation->values, &texts};
    struct tern_error error = {0};
    char path[PATH_MAX];

    if (absolute_path(invocation->values->image, path, &error))
        return say_error(&error);
    texts.text[option] = path;
    return watch_job(&resolved, TELL_SUSPEND, invocation->values->image);
}

int cmd_suspend(const struct cli_invocation *invocation)
{
    const struct cli_values *values = invocation->values;
    int status = request_target(values, "a suspend is");
    struct tern_error error;

    if (status)
        return status;
    if (values->qmp)
        return qemu_suspend(values);
    if (values->nice != CLI_UNSET) {
        error_set(&error, -EINVAL, NULL, "--nice goes with --qmp");
        return say_usage(&error);
    }
    return vm_suspend(invocation);
}
