/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tools/common/options_json.h"
#include "tools/common/report.h"
#include "tools/common/signals.h"
#include "tools/tern/render.h"
#include "tools/tern/request.h"
#include "tools/tern/say.h"
#include "transport/error.h"

/* One job as this client sees it. */
struct watch {
    const struct cli_values *values;
    struct request request;
    struct request cancel; /* fd -1 until the user interrupts */
    struct render render;
    struct tern_error error;  /* of the error event */
    struct json_object *done; /* owned */
    int signal_fd;
};

/* The first interrupt asks the VM process to cancel; a second one ends this program the usual way. */
static void interrupted(struct watch *watch)
{
    struct signalfd_siginfo taken;
    sigset_t set;

    if (read(watch->signal_fd, &taken, sizeof(taken)) != sizeof(taken))
        return;
    close(watch->signal_fd);
    watch->signal_fd = -1;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    render_end(&watch->render);
    if (!watch->values->quiet)
        fprintf(stderr, "cancelling\n");
    request_open(watch->values->vm, "cancel", NULL, &watch->cancel, NULL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void take_event(struct watch *watch, struct json_object *event, const char *line)
{
    const char *kind = json_member_text(event, "event");
    bool is_error = !strcmp(kind, "error"), is_done = !strcmp(kind, "done");

    if (watch->values->json && (is_error || is_done || !watch->values->quiet)) {
        puts(line);
        fflush(stdout);
    }
    if (is_error)
        json_read_error(event, &watch->error);
    else if (is_done)
        watch->done = json_object_get(event);
    else if (!watch->values->json && !watch->values->quiet)
        render_event(&watch->render, event);
}

/* Until the done event. The VM process bounds the migration, so this waits without a limit of its own. */
static int follow(struct watch *watch, struct tern_error *error)
{
    while (!watch->done) {
        struct json_object *event;
        const char *line;
        int r = request_next(&watch->request, watch->signal_fd, UINT64_MAX, &event, &line, error);

        if (r == -EINTR) {
            interrupted(watch);
            continue;
        }
        if (r)
            return r;
        take_event(watch, event, line);
        json_object_put(event);
    }
    return 0;
}

static int open_watch(struct watch *watch, const struct cli_invocation *invocation, enum tell_job job,
                      struct tern_error *error)
{
    const struct cli_values *values = invocation->values;
    struct json_object *members = json_object_new_object();
    int r = signals_open(&watch->signal_fd, error);

    options_to_json(&cli_options, job == TELL_SUSPEND ? CLI_REQUEST_SUSPEND : CLI_REQUEST_MIGRATE, invocation->texts,
                    members);
    if (!r)
        r = request_open(values->vm, job == TELL_SUSPEND ? "suspend" : "migrate", members, &watch->request, error);
    json_object_put(members);
    return r;
}

static void close_watch(struct watch *watch)
{
    request_close(&watch->request);
    request_close(&watch->cancel);
    if (watch->signal_fd >= 0)
        close(watch->signal_fd);
    json_object_put(watch->done);
}

/* No answer came: say so in the form that was asked for. */
static int lost(const struct watch *watch, enum tell_job job, struct tern_error *error)
{
    if (error->code == -ECONNRESET)
        snprintf(error->hint, sizeof(error->hint), "%s",
                 job == TELL_SUSPEND ? "'tern image' says whether the image is whole"
                                     : "ask 'tern status' at the destination whether the guest runs there");
    if (watch->values->json)
        request_print_json(error, NULL);
    else
        say_error(error);
    return CLI_EXIT_FAILED;
}

int watch_job(const struct cli_invocation *invocation, enum tell_job job, const char *to)
{
    const struct cli_values *values = invocation->values;
    struct watch watch = {.values = values, .request.fd = -1, .cancel.fd = -1, .signal_fd = -1};
    struct tern_error error = {0};
    int r, status;

    render_init(&watch.render, stderr);
    r = open_watch(&watch, invocation, job, &error);
    if (!r)
        r = follow(&watch, &error);
    render_end(&watch.render);
    status = r ? lost(&watch, job, &error) : tell_end(values, job, to, watch.done, &watch.error);
    close_watch(&watch);
    return status;
}
