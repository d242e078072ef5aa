/* SPDX-License-Identifier: BSD-2-Clause */
/* tern migrate: ask the VM process for a migration, show how it goes, tell how it ended.
 * The VM process owns the migration: if this program dies, it is cancelled unless the commit has been sent. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "migrate/tern.h"
#include "tools/common/options_json.h"
#include "tools/common/report.h"
#include "tools/common/signals.h"
#include "tools/tern/qemu_job.h"
#include "tools/tern/render.h"
#include "tools/tern/request.h"
#include "tools/tern/say.h"
#include "tools/tern/tell.h"
#include "transport/error.h"

/* One migration as this client sees it. */
struct watch {
    const struct cli_values *values;
    struct request request;
    struct request cancel; /* fd -1 until the user interrupts */
    struct render render;
    struct tern_error error;  /* of the error event */
    struct json_object *done; /* owned */
    int signal_fd;
    char to[HOST_PORT_TEXT_BYTES];
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

static int open_watch(struct watch *watch, const struct cli_invocation *invocation, struct tern_error *error)
{
    const struct cli_values *values = invocation->values;
    struct json_object *members = json_object_new_object();
    int r = signals_open(&watch->signal_fd, error);

    host_port_text(values->to.host, values->to.has_port ? values->to.port : (uint16_t)values->port, watch->to);
    options_to_json(&cli_options, CLI_REQUEST_MIGRATE, invocation->texts, members);
    if (!r)
        r = request_open(values->vm, "migrate", members, &watch->request, error);
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
static int lost(const struct watch *watch, struct tern_error *error)
{
    if (error->code == -ECONNRESET)
        snprintf(error->hint, sizeof(error->hint), "ask 'tern status' at the destination whether the guest runs there");
    if (watch->values->json)
        request_print_json(error, NULL);
    else
        say_error(error);
    return CLI_EXIT_FAILED;
}

int cmd_migrate(const struct cli_invocation *invocation)
{
    const struct cli_values *values = invocation->values;
    struct watch watch = {.values = values, .request.fd = -1, .cancel.fd = -1, .signal_fd = -1};
    struct tern_error error = {0};
    int r, status;

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
    render_init(&watch.render, stderr);
    r = open_watch(&watch, invocation, &error);
    if (!r)
        r = follow(&watch, &error);
    render_end(&watch.render);
    status = r ? lost(&watch, &error) : tell_migration(values, watch.to, watch.done, &watch.error);
    close_watch(&watch);
    return status;
}
