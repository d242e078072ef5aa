/* SPDX-License-Identifier: BSD-2-Clause */
/* The VM process's jobs: a thread that runs the engine or a verification, and what follows from its end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/options_json.h"
#include "tools/common/report.h"
#include "tools/common/units.h"
#include "tools/tern/say.h"
#include "tools/tern/suspended_note.h"
#include "tools/tern/vm_process_internal.h"
#include "transport/error.h"

/* ---- in the job's thread, or in the engine's ---- */

/* A guest that runs out of its image, while the rest of it is read. */
static void note_resumed(struct vm_process *process, const struct tern_event *event)
{
    char took[UNITS_TEXT_BYTES];

    if (process->job.kind != JOB_RESUME || event->kind != TERN_EVENT_PHASE || event->phase != TERN_PHASE_ACTIVATE)
        return;
    atomic_store(&process->resumed, true);
    suspended_note_clear(process->values->control);
    process_say(process, "the guest runs here, resumed from %s in %s", process->values->image,
                units_duration(event->elapsed_ns, took));
}

/* From here on nobody continues it: under the lock, so that who is just doing so comes before the engine's pause. */
static void note_stopping(struct vm_process *process)
{
    pthread_mutex_lock(&process->lock);
    process->stopping = true;
    pthread_mutex_unlock(&process->lock);
}

static void on_event(void *opaque, const struct tern_event *event)
{
    struct vm_process *process = opaque;
    struct json_object *object;

    if (event->kind == TERN_EVENT_STOPPING) {
        note_stopping(process);
        return;
    }
    object = json_of_event(event);
    ongoing_note(&process->ongoing, event);
    note_resumed(process, event);
    if (event->kind == TERN_EVENT_WARNING && !process->values->json && !process->values->quiet)
        fprintf(stderr, "warning: %s\n", event->text);
    if (process->job.kind == JOB_DESTINATION && event->kind == TERN_EVENT_PHASE && event->phase == TERN_PHASE_INITIATE)
        process_say(process, "a source has connected");
    if (process->job.client)
        control_server_event(process->server, process->job.client, object,
                             event->kind == TERN_EVENT_PROGRESS ? LINE_PROGRESS : LINE_EVENT);
    process_print(process, object);
    json_object_put(object);
}

static void *run_job(void *opaque)
{
    struct vm_process *process = opaque;
    struct job *job = &process->job;

    job->result.struct_bytes = sizeof(job->result);
    if (job->kind == JOB_SOURCE)
        job->code = process->engine->source_run(job->source, &job->result, &job->error);
    else if (job->kind == JOB_DESTINATION)
        job->code = process->engine->destination_run(job->destination, &job->result, &job->error);
    else if (job->kind == JOB_SUSPEND)
        job->code = process->engine->suspend_run(job->suspend, &job->result, &job->error);
    else if (job->kind == JOB_RESUME)
        job->code = process->engine->resume_run(job->resume, &job->result, &job->error);
    else
        job->code = process->ops->verify(process->guest, job->report, &job->error);
    atomic_store(&process->job_ended, true);
    control_server_wake(process->server);
    return NULL;
}

/* ---- in the serving thread ---- */

/* Everything of the job but its kind, which decides what its thread does. */
static void release_job(struct vm_process *process)
{
    struct job *job = &process->job;

    if (job->source)
        process->engine->source_destroy(job->source);
    if (job->destination)
        process->engine->destination_destroy(job->destination);
    if (job->suspend)
        process->engine->suspend_destroy(job->suspend);
    if (job->resume)
        process->engine->resume_destroy(job->resume);
    json_object_put(job->request);
    json_object_put(job->report);
    ongoing_reset(&process->ongoing);
    *job = (struct job){.kind = JOB_NONE};
}

static int launch(struct vm_process *process, enum job_kind kind, struct tern_error *error)
{
    int r;

    process->job.kind = kind;
    r = pthread_create(&process->job.thread, NULL, run_job, process);
    if (r) {
        release_job(process);
        return error_set(error, -r, NULL, "cannot start a thread: %s", strerror(r));
    }
    return 0;
}

static void fill_options(struct vm_process *process, const struct cli_values *values)
{
    struct tern_options *options = &process->job.options;

    process->engine->options_init(options);
    migration_values_apply(&values->migration, options);
    options->eager = values->eager;
    options->on_event = on_event;
    options->event_opaque = process;
}

static void fill_address(struct vm_process *process, const struct cli_values *values, const struct host_port *at)
{
    struct tern_options *options = &process->job.options;

    fill_options(process, values);
    options->host = *at->host ? at->host : NULL;
    options->port = at->has_port ? at->port : (uint16_t)values->port;
    if (!options->port)
        options->port = UINT16_MAX; /* any free one */
}

/* The members of a request into the job's values. */
static int read_request(struct job *job, unsigned command, uint64_t client, struct json_object *request,
                        struct tern_error *error)
{
    struct option_texts texts;
    int r;

    job->request = json_object_get(request);
    job->client = client;
    cli_values_init(&job->values);
    r = options_from_json(&cli_options, command, request, "command", &texts, error);
    return r ? r : options_apply(&cli_options, command, &texts, &job->values, error);
}

int job_start_source(struct vm_process *process, uint64_t client, struct json_object *request, struct tern_error *error)
{
    struct job *job = &process->job;
    int r = read_request(job, CLI_REQUEST_MIGRATE, client, request, error);

    if (!r) {
        fill_address(process, &job->values, &job->values.to);
        r = process->engine->source_create(process->ops->describe(process->guest), &job->options, &job->source, error);
    }
    if (r) {
        release_job(process);
        return r;
    }
    return launch(process, JOB_SOURCE, error);
}

int job_start_destination(struct vm_process *process, struct tern_error *error)
{
    const struct cli_values *values = process->values;
    char address[HOST_PORT_TEXT_BYTES], memory[UNITS_TEXT_BYTES];
    struct job *job = &process->job;
    int r;

    fill_address(process, values, &values->listen);
    r = process->engine->destination_create(process->ops->describe(process->guest), &job->options, &job->destination,
                                            error);
    if (r) {
        release_job(process);
        return r;
    }
    host_port_text(values->listen.host, process->engine->destination_port(job->destination), address);
    process_say(process, "waiting at %s for a guest of %s (%s)", address, units_size(values->memory_bytes, memory),
                process->guest_name);
    return launch(process, JOB_DESTINATION, error);
}

int job_start_suspend(struct vm_process *process, uint64_t client, struct json_object *request,
                      struct tern_error *error)
{
    struct job *job = &process->job;
    int r = read_request(job, CLI_REQUEST_SUSPEND, client, request, error);

    if (!r) {
        fill_options(process, &job->values);
        r = process->engine->suspend_create(process->ops->describe(process->guest), job->values.image, &job->options,
                                            &job->suspend, error);
    }
    if (r) {
        release_job(process);
        return r;
    }
    return launch(process, JOB_SUSPEND, error);
}

int job_start_resume(struct vm_process *process, struct tern_error *error)
{
    struct job *job = &process->job;
    int r;

    fill_options(process, process->values);
    r = process->engine->resume_create(process->ops->describe(process->guest), process->values->image, &job->options,
                                       &job->resume, error);
    if (r) {
        release_job(process);
        return r;
    }
    return launch(process, JOB_RESUME, error);
}

int job_start_verify(struct vm_process *process, uint64_t client, struct json_object *request, struct tern_error *error)
{
    (void)request;
    process->job.client = client;
    process->job.report = json_object_new_object();
    return launch(process, JOB_VERIFY, error);
}

void job_cancel(struct vm_process *process)
{
    if (process->job.kind == JOB_SOURCE)
        process->engine->source_cancel(process->job.source);
    else if (process->job.kind == JOB_DESTINATION)
        process->engine->destination_cancel(process->job.destination);
    else if (process->job.kind == JOB_SUSPEND)
        process->engine->suspend_cancel(process->job.suspend);
    else if (process->job.kind == JOB_RESUME)
        process->engine->resume_cancel(process->job.resume);
}

bool job_is_transfer(const struct vm_process *process)
{
    return process->job.kind != JOB_NONE && process->job.kind != JOB_VERIFY;
}

static const char *failure_name(enum job_kind kind)
{
    return kind == JOB_SUSPEND ? "suspending" : kind == JOB_RESUME ? "resuming" : "the migration";
}

/* In doubt, only the operator's word may end this process: what asked for its end before is refused. */
static void hold_in_doubt(struct vm_process *process)
{
    struct tern_error error;

    process->in_doubt = true;
    process->ending = false;
    error_set(&error, -EBUSY, "'tern resolve' names the owner", "cannot quit: the handover is in doubt");
    if (process->quit_client)
        control_server_answer(process->server, process->quit_client, &error, NULL);
    process->quit_client = 0;
}

/* The guest is elsewhere now: whoever asked for that is answered when all is released. */
static bool has_left(const struct job *job)
{
    return outcome_is_good(job->result.outcome) && (job->kind == JOB_SOURCE || job->kind == JOB_SUSPEND);
}

/* What the client of the job and our own output are told. */
static void report_end(struct vm_process *process)
{
    struct job *job = &process->job;
    bool ok = outcome_is_good(job->result.outcome);
    struct json_object *members = json_of_result(&job->result);
    const char *left = job->kind == JOB_SUSPEND ? "suspended" : "inactive";
    struct json_object *done;

    json_object_object_add(members, "state", json_object_new_string(has_left(job) ? left : process_state(process)));
    if (!ok) {
        struct json_object *event = json_of_error(&job->error);

        process_print(process, event);
        json_object_put(event);
        if (!process->values->json)
            say_error(&job->error);
    }
    done = json_of_done(ok, members);
    process_print(process, done);
    json_object_put(done);
    if (has_left(job)) {
        process->migrate_client = job->client;
        process->migrated = members;
        return;
    }
    if (job->client)
        control_server_answer(process->server, job->client, ok ? NULL : &job->error, members);
    json_object_put(members);
}

static void conclude_source(struct vm_process *process)
{
    const struct job *job = &process->job;
    char to[HOST_PORT_TEXT_BYTES];

    host_port_text(job->options.host, job->options.port, to);
    switch (job->result.outcome) {
    case TERN_OUTCOME_MIGRATED:
        process_say(process, "migrated to %s", to);
        process_end(process, CLI_EXIT_OK);
        break;
    case TERN_OUTCOME_IN_DOUBT:
        hold_in_doubt(process);
        process_say(process, "the handover to %s is in doubt: the guest is paused", to);
        break;
    default:
        process_say(process, "not migrated to %s; the guest is %s", to, process_state(process));
        break;
    }
}

static void conclude_destination(struct vm_process *process)
{
    const struct job *job = &process->job;
    char took[UNITS_TEXT_BYTES], nodes[512];

    switch (job->result.outcome) {
    case TERN_OUTCOME_MIGRATED:
        process->inactive = false;
        suspended_note_clear(process->values->control);
        process_say(process, "the guest runs here, received%s%s over %s in %s", *job->result.peer ? " from " : "",
                    job->result.peer, job->result.transport, units_duration(job->result.total_ns, took));
        if (*report_nodes(&job->result, nodes, sizeof(nodes)))
            process_say(process, "its memory by NUMA node: %s", nodes);
        break;
    case TERN_OUTCOME_IN_DOUBT:
        process->inactive = false;
        hold_in_doubt(process);
        process_say(process, "the handover is in doubt: the guest is whole and paused here");
        break;
    default:
        process_end(process, CLI_EXIT_FAILED);
        break;
    }
}

static void conclude_suspend(struct vm_process *process)
{
    const struct job *job = &process->job;

    if (job->result.outcome != TERN_OUTCOME_SUSPENDED) {
        process_say(process, "not suspended to %s; the guest is %s", job->values.image, process_state(process));
        return;
    }
    suspended_note_write(process->values->control, job->values.image);
    process_say(process, "suspended to %s", job->values.image);
    process_end(process, CLI_EXIT_OK);
}

/* A guest that ran, and was stopped because a part of it is damaged, is none any more. */
static void conclude_resume(struct vm_process *process)
{
    char took[UNITS_TEXT_BYTES];

    if (process->job.result.outcome == TERN_OUTCOME_RESUMED) {
        process->inactive = false;
        process_say(process, "all of its memory is here, in %s", units_duration(process->job.result.total_ns, took));
        return;
    }
    process_end(process, process->ending && atomic_load(&process->resumed) ? CLI_EXIT_OK : CLI_EXIT_FAILED);
}

static void conclude_verify(struct vm_process *process)
{
    struct job *job = &process->job;

    json_object_object_add(job->report, "state", json_object_new_string(process_state(process)));
    control_server_answer(process->server, job->client, job->code ? &job->error : NULL, job->report);
}

void job_conclude(struct vm_process *process)
{
    struct job *job = &process->job;

    pthread_join(job->thread, NULL);
    if (job->kind == JOB_VERIFY) {
        conclude_verify(process);
        release_job(process);
        return;
    }
    if (!outcome_is_good(job->result.outcome) && !job->error.code)
        error_set(&job->error, job->code ? job->code : -EIO, NULL, "%s failed: %s", failure_name(job->kind),
                  strerror(-job->code));
    if (job->kind == JOB_SOURCE)
        conclude_source(process);
    else if (job->kind == JOB_DESTINATION)
        conclude_destination(process);
    else if (job->kind == JOB_SUSPEND)
        conclude_suspend(process);
    else
        conclude_resume(process);
    report_end(process);
    ongoing_answer_cancels(&process->ongoing, process->server, job->kind != JOB_DESTINATION, job->result.outcome);
    snprintf(process->last, sizeof(process->last), "%s%s%s", outcome_name(job->result.outcome),
             outcome_is_good(job->result.outcome) ? "" : ": ",
             outcome_is_good(job->result.outcome) ? "" : job->error.message);
    release_job(process);
    commands_start_waiting(process);
}
