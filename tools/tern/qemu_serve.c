/* SPDX-License-Identifier: BSD-2-Clause */
/* What a tern that migrates a QEMU answers to other terns meanwhile: how it goes; that it gives up; that all else has
 * to wait. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tools/common/options_json.h"
#include "tools/qemu/guardian.h"
#include "tools/tern/qemu_job_internal.h"
#include "transport/error.h"

#define LINGER_MS 2000

struct serve_command {
    const char *name;
    const char *verb; /* as people say it */
    unsigned options;
    int (*run)(struct qemu_job *job, uint64_t client, struct tern_error *error);
};

static const char *state_name(const struct qemu_job *job)
{
    if (qemu_vm_runs(job->vm))
        return "active";
    return job->side == TERN_SIDE_SOURCE ? "paused" : "inactive";
}

static int serve_status(struct qemu_job *job, uint64_t client, struct tern_error *error)
{
    struct json_object *done = json_object_new_object();

    (void)error;
    json_object_object_add(done, "state", json_object_new_string(state_name(job)));
    json_object_object_add(done, "in_doubt", json_object_new_boolean(false));
    ongoing_describe(&job->ongoing, job->of_image || job->side == TERN_SIDE_SOURCE, done);
    control_server_answer(job->server, client, NULL, done);
    json_object_put(done);
    return 0;
}

static int serve_cancel(struct qemu_job *job, uint64_t client, struct tern_error *error)
{
    int r;

    if (qemu_job_runs_resumed(job))
        return error_set(error, -EALREADY, "'tern status --qmp' shows what is left",
                         "too late to cancel: the guest runs, the rest of its memory is being read");
    r = ongoing_cancelled_by(&job->ongoing, client, error);
    if (!r)
        qemu_job_cancel(job);
    return r;
}

static const char *doing(const struct qemu_job *job)
{
    if (job->of_image)
        return job->side == TERN_SIDE_SOURCE ? "suspended" : "resumed";
    return job->side == TERN_SIDE_SOURCE ? "migrated" : "received";
}

static int refuse(struct qemu_job *job, uint64_t client, struct tern_error *error)
{
    bool too_late = qemu_job_runs_resumed(job); /* to cancel it */

    (void)client;
    return error_set(error, -EBUSY, too_late ? "wait for its end" : "wait for its end, or 'tern cancel' it",
                     "the guest is being %s (%s)", doing(job), state_name(job));
}

/* clang-format off */
static const struct serve_command commands[] = {
    {"status", "ask", CLI_REQUEST_PLAIN, serve_status},
    {"cancel", "cancel", CLI_REQUEST_PLAIN, serve_cancel},
    {"pause", "pause", CLI_REQUEST_PLAIN, refuse},
    {"cont", "continue", CLI_REQUEST_PLAIN, refuse},
    {"resolve", "resolve", CLI_REQUEST_RESOLVE, refuse},
};
/* clang-format on */

static int dispatch(struct qemu_job *job, uint64_t client, const char *name, struct json_object *request,
                    struct tern_error *error)
{
    struct option_texts texts;

    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
        int r;

        if (strcmp(commands[i].name, name))
            continue;
        r = options_from_json(&cli_options, commands[i].options, request, "command", &texts, error);
        if (!r)
            r = commands[i].run(job, client, error);
        if (r == -EBUSY && commands[i].run == refuse) {
            char text[64];

            snprintf(text, sizeof(text), "cannot %s", commands[i].verb);
            error_prefix(error, text);
        }
        return r;
    }
    return error_set(error, -ENOSYS, "status, cancel, pause, cont and resolve are known", "unknown command '%.60s'",
                     name);
}

static void on_request(void *opaque, uint64_t client, const char *command, struct json_object *request)
{
    struct qemu_job *job = opaque;
    struct tern_error error = {0};

    if (dispatch(job, client, command, request, &error))
        control_server_answer(job->server, client, &error, NULL);
}

/* A client's end changes nothing: the migration is this process's own. */
static void on_gone(void *opaque, uint64_t client)
{
    (void)opaque;
    (void)client;
}

static const struct control_handlers handlers = {on_request, on_gone};

int qemu_serve_open(struct qemu_job *job, struct tern_error *error)
{
    char path[512];
    int r;

    snprintf(path, sizeof(path), "%.*s" QEMU_CONTROL_SUFFIX, (int)sizeof(path) - 16, job->values->qmp);
    r = control_server_create(path, &handlers, job, &job->server, error);
    if (r == -EADDRINUSE)
        return error_set(error, -EBUSY, "'tern status --qmp' shows how it goes, 'tern cancel --qmp' ends it",
                         "a tern process is migrating the QEMU at %s already", job->values->qmp);
    return r;
}

static void take_signal(struct qemu_job *job)
{
    struct signalfd_siginfo taken;

    if (read(job->signal_fd, &taken, sizeof(taken)) != sizeof(taken))
        return;
    if (qemu_job_runs_resumed(job))
        fprintf(stderr, "warning: the guest runs, and needs the rest of its memory: it is read to the end\n");
    else
        qemu_job_cancel(job);
}

void qemu_serve(struct qemu_job *job)
{
    while (!atomic_load(&job->ended)) {
        int r = control_server_turn(job->server, job->signal_fd, -1);

        if (r > 0)
            take_signal(job);
        else if (r < 0) /* it cannot be served; the migration goes on */
            poll(NULL, 0, 100);
    }
}

void qemu_serve_close(struct qemu_job *job)
{
    if (!job->server)
        return;
    control_server_hang_up(job->server);
    ongoing_answer_cancels(&job->ongoing, job->server, job->side == TERN_SIDE_SOURCE, job->result.outcome);
    control_server_destroy(job->server, LINGER_MS);
    job->server = NULL;
}
