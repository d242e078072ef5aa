/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/tell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/report.h"
#include "tools/tern/render.h"
#include "tools/tern/say.h"

static int tell_failure(const struct cli_values *values, enum tell_job job, const char *state,
                        const struct tern_error *error)
{
    const char *where = job == TELL_MIGRATION ? " at the source" : "";

    if (error->code == -ECANCELED) {
        fprintf(stderr, "tern: cancelled; the guest %s%s\n",
                strcmp(state, "paused") ? "runs on" : "is paused as before", where);
        return CLI_EXIT_FAILED;
    }
    say_error(error);
    if (!values->quiet && !strcmp(state, "active"))
        fprintf(stderr, "the guest runs on%s\n", where);
    return CLI_EXIT_FAILED;
}

int tell_end(const struct cli_values *values, enum tell_job job, const char *to, struct json_object *done,
             const struct tern_error *error)
{
    bool show = !values->json;

    if (json_member_flag(done, "ok")) {
        if (show && !values->quiet)
            render_summary(stdout, to, done);
        return CLI_EXIT_OK;
    }
    if (!strcmp(json_member_text(done, "outcome"), "in-doubt")) {
        if (show)
            say_error(error);
        return CLI_EXIT_IN_DOUBT;
    }
    return show ? tell_failure(values, job, json_member_text(done, "state"), error) : CLI_EXIT_FAILED;
}
