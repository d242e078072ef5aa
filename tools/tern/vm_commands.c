/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of a VM process's control socket. Each answers now, or leaves that to the end of the job it starts. */
#include <errno.h>
#include <string.h>

#include "tools/common/options_json.h"
#include "tools/common/report.h"
#include "tools/tern/vm_process_internal.h"
#include "transport/error.h"

struct vm_command {
    const char *name;
    unsigned options; /* which members it takes besides command */
    /* returns 0: answered, or will be; -errno: error is the answer */
    int (*run)(struct vm_process *process, uint64_t client, struct json_object *request, struct tern_error *error);
};

static void answer_state(struct vm_process *process, uint64_t client)
{
    struct json_object *done = json_object_new_object();

    json_object_object_add(done, "state", json_object_new_string(process_state(process)));
    control_server_answer(process->server, client, NULL, done);
    json_object_put(done);
}

static const char *job_phrase(const struct vm_process *process)
{
    switch (process->job.kind) {
    case JOB_SOURCE:
        return "is being migrated";
    case JOB_DESTINATION:
        return "is being received";
    case JOB_VERIFY:
        return "is being verified";
    case JOB_SUSPEND:
        return "is being suspended";
    case JOB_RESUME:
        return "is being resumed";
    default:
        return "is idle";
    }
}

/* Its guest runs, and the job only reads what it has not touched yet. */
static bool is_resumed(const struct vm_process *process)
{
    return process->job.kind == JOB_RESUME && atomic_load(&process->resumed);
}

/* Refuse what must not touch the guest now. */
static int refuse_busy(const struct vm_process *process, const char *verb, struct tern_error *error)
{
    if (process->in_doubt)
        return error_set(error, -EBUSY, "ask 'tern status' at both ends, then name the owner with 'tern resolve'",
                         "cannot %s: the guest is paused and its handover is in doubt", verb);
    if (process->job.kind == JOB_VERIFY)
        return error_set(error, -EBUSY, "wait for its end", "cannot %s: the guest %s (%s)", verb, job_phrase(process),
                         process_state(process));
    if (process->job.kind != JOB_NONE && !is_resumed(process))
        return error_set(error, -EBUSY, "wait for its end, or 'tern cancel' it", "cannot %s: the guest %s (%s)", verb,
                         job_phrase(process), process_state(process));
    return 0;
}

static int command_pause(struct vm_process *process, uint64_t client, struct json_object *request,
                         struct tern_error *error)
{
    int r = refuse_busy(process, "pause", error);

    (void)request;
    if (r)
        return r;
    if (!process->ops->runs(process->guest))
        return error_set(error, -EALREADY, NULL, "cannot pause: the guest is paused");
    r = process->ops->pause(process->guest, error);
    if (!r)
        answer_state(process, client);
    return r;
}

static int command_cont(struct vm_process *process, uint64_t client, struct json_object *request,
                        struct tern_error *error)
{
    int r = refuse_busy(process, "continue", error);

    (void)request;
    if (r)
        return r;
    if (process->ops->runs(process->guest))
        return error_set(error, -EALREADY, NULL, "cannot continue: the guest is active");
    pthread_mutex_lock(&process->lock);
    if (process->stopping)
        r = error_set(error, -EBUSY, NULL, "cannot continue: not all of the guest's memory could be resumed");
    else
        r = process->ops->resume(process->guest, error);
    pthread_mutex_unlock(&process->lock);
    if (!r)
        answer_state(process, client);
    return r;
}

static int command_cancel(struct vm_process *process, uint64_t client, struct json_object *request,
                          struct tern_error *error)
{
    int r;

    (void)request;
    if (!job_is_transfer(process) || is_resumed(process))
        return error_set(error, -EALREADY, NULL, "nothing to cancel: no migration is under way, the guest is %s",
                         process_state(process));
    r = ongoing_cancelled_by(&process->ongoing, client, error);
    if (!r)
        job_cancel(process);
    return r;
}

/* start_job: now, or when the memory of a resumed guest is all there. */
static int start_job(struct vm_process *process, uint64_t client, struct json_object *request,
                     int (*start)(struct vm_process *, uint64_t, struct json_object *, struct tern_error *),
                     struct tern_error *error)
{
    if (!is_resumed(process))
        return start(process, client, request, error);
    if (process->waiting.client)
        return error_set(error, -EBUSY, "wait for its end", "another request waits for the end of the guest's resume");
    process->waiting = (struct waiting){client, json_object_get(request), start};
    return 0;
}

void commands_start_waiting(struct vm_process *process)
{
    struct waiting waiting = process->waiting;
    struct tern_error error = {0};
    int r;

    process->waiting = (struct waiting){0};
    if (!waiting.client)
        return;
    if (process->ended || process->ending)
        r = error_set(&error, -ECANCELED, NULL, "the VM process is ending");
    else if (waiting.start != job_start_verify && !process->ops->runs(process->guest))
        r = error_set(&error, -EBUSY, "'tern cont' it first", "the guest was paused meanwhile");
    else
        r = waiting.start(process, waiting.client, waiting.request, &error);
    if (r)
        control_server_answer(process->server, waiting.client, &error, NULL);
    json_object_put(waiting.request);
}

/* What comes back, runs: a paused guest would be started by being moved or suspended. */
static int command_transfer(struct vm_process *process, uint64_t client, struct json_object *request, const char *verb,
                            int (*start)(struct vm_process *, uint64_t, struct json_object *, struct tern_error *),
                            struct tern_error *error)
{
    int r = refuse_busy(process, verb, error);

    if (!r && !process->ops->runs(process->guest))
        r = error_set(error, -EBUSY, "'tern cont' it first", "cannot %s: the guest is paused", verb);
    return r ? r : start_job(process, client, request, start, error);
}

static int command_migrate(struct vm_process *process, uint64_t client, struct json_object *request,
                           struct tern_error *error)
{
    return command_transfer(process, client, request, "migrate", job_start_source, error);
}

static int command_suspend(struct vm_process *process, uint64_t client, struct json_object *request,
                           struct tern_error *error)
{
    return command_transfer(process, client, request, "suspend", job_start_suspend, error);
}

static int command_verify(struct vm_process *process, uint64_t client, struct json_object *request,
                          struct tern_error *error)
{
    int r = refuse_busy(process, "verify", error);

    return r ? r : start_job(process, client, request, job_start_verify, error);
}

static int command_resolve(struct vm_process *process, uint64_t client, struct json_object *request,
                           struct tern_error *error)
{
    struct option_texts texts;
    struct cli_values values;
    int r;

    if (!process->in_doubt)
        return error_set(error, -EALREADY, NULL, "nothing to resolve: no handover is in doubt, the guest is %s",
                         process_state(process));
    cli_values_init(&values);
    r = options_from_json(&cli_options, CLI_REQUEST_RESOLVE, request, "command", &texts, error);
    if (!r)
        r = options_apply(&cli_options, CLI_REQUEST_RESOLVE, &texts, &values, error);
    if (!r && values.owner == CLI_OWNER_HERE)
        r = process->ops->resume(process->guest, error);
    if (r)
        return r;
    process->in_doubt = false;
    if (values.owner == CLI_OWNER_THERE) {
        process->inactive = true;
        process_say(process, "resolved: the guest belongs to the other side");
        process_end(process, CLI_EXIT_OK);
    } else {
        process_say(process, "resolved: the guest runs here");
    }
    answer_state(process, client);
    return 0;
}

static int command_quit(struct vm_process *process, uint64_t client, struct json_object *request,
                        struct tern_error *error)
{
    (void)request;
    if (process->in_doubt)
        return error_set(error, -EBUSY, "'tern resolve' names the owner",
                         "cannot quit: this may be the only copy of a guest whose handover is in doubt");
    if (process->quit_client)
        return error_set(error, -EALREADY, NULL, "the VM process is ending already");
    process->quit_client = client;
    process->ending = true;
    job_cancel(process);
    return 0;
}

static int command_status(struct vm_process *process, uint64_t client, struct json_object *request,
                          struct tern_error *error)
{
    struct json_object *done = json_object_new_object();
    struct json_object *guest = json_object_new_object();

    (void)request;
    (void)error;
    json_object_object_add(done, "state", json_object_new_string(process_state(process)));
    json_object_object_add(done, "in_doubt", json_object_new_boolean(process->in_doubt));
    if (job_is_transfer(process))
        ongoing_describe(&process->ongoing, process->job.kind != JOB_DESTINATION, done);
    process->ops->status(process->guest, guest);
    json_object_object_add(done, "guest", guest);
    if (*process->last)
        json_object_object_add(done, "last", json_object_new_string(process->last));
    control_server_answer(process->server, client, NULL, done);
    json_object_put(done);
    return 0;
}

static const struct vm_command commands[] = {
    {"status", CLI_REQUEST_PLAIN, command_status},     {"pause", CLI_REQUEST_PLAIN, command_pause},
    {"cont", CLI_REQUEST_PLAIN, command_cont},         {"cancel", CLI_REQUEST_PLAIN, command_cancel},
    {"migrate", CLI_REQUEST_MIGRATE, command_migrate}, {"verify", CLI_REQUEST_PLAIN, command_verify},
    {"resolve", CLI_REQUEST_RESOLVE, command_resolve}, {"quit", CLI_REQUEST_PLAIN, command_quit},
    {"suspend", CLI_REQUEST_SUSPEND, command_suspend},
};

static int dispatch(struct vm_process *process, uint64_t client, const char *name, struct json_object *request,
                    struct tern_error *error)
{
    struct option_texts texts;

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        int r;

        if (strcmp(commands[i].name, name))
            continue;
        r = options_from_json(&cli_options, commands[i].options, request, "command", &texts, error);
        return r ? r : commands[i].run(process, client, request, error);
    }
    return error_set(error, -ENOSYS,
                     "status, pause, cont, cancel, migrate, suspend, verify, resolve and quit are known",
                     "unknown command '%.60s'", name);
}

static void on_request(void *opaque, uint64_t client, const char *command, struct json_object *request)
{
    struct vm_process *process = opaque;
    struct tern_error error = {0};

    if (!dispatch(process, client, command, request, &error))
        return;
    error_side(&error, process->inactive ? TERN_SIDE_DESTINATION : TERN_SIDE_NONE);
    control_server_answer(process->server, client, &error, NULL);
}

static void on_gone(void *opaque, uint64_t client)
{
    struct vm_process *process = opaque;

    if ((process->job.kind == JOB_SOURCE || process->job.kind == JOB_SUSPEND) && process->job.client == client)
        job_cancel(process);
    if (process->waiting.client == client) {
        json_object_put(process->waiting.request);
        process->waiting = (struct waiting){0};
    }
    if (process->quit_client == client)
        process->quit_client = 0; /* it ends all the same */
}

const struct control_handlers vm_handlers = {on_request, on_gone};
