/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/qemu_job.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/common/report.h"
#include "tools/common/signals.h"
#include "tools/common/units.h"
#include "tools/tern/priority.h"
#include "tools/tern/qemu_job_internal.h"
#include "tools/tern/request.h"
#include "tools/tern/say.h"
#include "tools/tern/suspended_note.h"
#include "tools/tern/tell.h"
#include "transport/error.h"

#define NICE_DEFAULT 15
#define HURRY_ROUND  3 /* after that many the guest writes so fast that copying must not lag behind */

/* ---- in the engine's threads ---- */

/* Once the guest stands still, or if it is to be caught up with. */
static void hurry(struct qemu_job *job, const struct tern_event *event)
{
    bool stands_still = event->kind == TERN_EVENT_PHASE && event->phase >= TERN_PHASE_STOP_AND_COPY;
    bool writes_fast = event->kind == TERN_EVENT_ROUND && event->round >= HURRY_ROUND;

    if (!job->lowered || (!stands_still && !writes_fast))
        return;
    priority_restore();
    job->lowered = false;
}

static void print_json(struct json_object *object)
{
    puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    fflush(stdout);
}

/* The rest of its memory is read while it runs. */
static void note_resumed(struct qemu_job *job, const struct tern_event *event)
{
    char took[UNITS_TEXT_BYTES];

    if (!job->resume || event->kind != TERN_EVENT_PHASE || event->phase != TERN_PHASE_ACTIVATE)
        return;
    if (job->values->json || job->values->quiet)
        return;
    printf("the guest runs here, resumed from %s in %s\n", job->values->image, units_duration(event->elapsed_ns, took));
    fflush(stdout);
}

/* Whatever comes now, its disks are not those of the image any more. */
static void before_run(void *opaque)
{
    const struct qemu_job *job = opaque;

    suspended_note_clear(job->values->qmp);
}

/* Whose events are shown to people: the source's, and those of a resume, but for its few phases. */
static bool is_shown(const struct qemu_job *job, const struct tern_event *event)
{
    return job->side == TERN_SIDE_SOURCE || event->kind == TERN_EVENT_WARNING ||
           (job->resume && event->kind == TERN_EVENT_PROGRESS);
}

static void on_event(void *opaque, const struct tern_event *event)
{
    struct qemu_job *job = opaque;
    struct json_object *object;

    if (event->kind == TERN_EVENT_STOPPING) /* its end will say so */
        return;
    object = json_of_event(event);
    hurry(job, event);
    ongoing_note(&job->ongoing, event);
    note_resumed(job, event);
    if (!job->values->quiet && job->values->json)
        print_json(object);
    else if (!job->values->quiet && is_shown(job, event))
        render_event(&job->render, object);
    json_object_put(object);
}

static void *run_engine(void *opaque)
{
    struct qemu_job *job = opaque;

    if (job->source)
        job->code = tern_source_run(job->source, &job->result, &job->error);
    else if (job->destination)
        job->code = tern_destination_run(job->destination, &job->result, &job->error);
    else if (job->suspend)
        job->code = tern_suspend_run(job->suspend, &job->result, &job->error);
    else
        job->code = tern_resume_run(job->resume, &job->result, &job->error);
    if (job->nice) /* the guest runs, and what is left is to clear up */
        priority_lower_all(job->nice);
    atomic_store(&job->ended, true);
    control_server_wake(job->server);
    return NULL;
}

/* ---- in ours ---- */

void qemu_job_cancel(struct qemu_job *job)
{
    if (job->source)
        tern_source_cancel(job->source);
    else if (job->destination)
        tern_destination_cancel(job->destination);
    else if (job->suspend)
        tern_suspend_cancel(job->suspend);
    else
        tern_resume_cancel(job->resume);
}

static void tell_fate(struct qemu_job *job)
{
    static const char *const words[] = {
        [QEMU_VM_LOST_PAUSED] = "the guest ran and is stopped for good",
        [QEMU_VM_LOST_KILLED] = "the guest ran, and its QEMU was killed, as it did not stop",
        [QEMU_VM_LOST_ENDED] = "QEMU has ended before all of its guest's memory was read",
        [QEMU_VM_KILLED] = "QEMU was killed, as it did not answer"};
    const char *fate = job->vm ? words[qemu_vm_fate(job->vm)] : NULL;

    if (fate && strncmp(job->error.message, fate, strlen(fate)))
        error_prefix(&job->error, fate);
}

static void run(struct qemu_job *job)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, run_engine, job);

    if (r) {
        error_set(&job->error, -r, NULL, "cannot start a thread: %s", strerror(r));
        return;
    }
    qemu_serve(job);
    pthread_join(thread, NULL);
    render_end(&job->render);
    tell_fate(job);
}

static int open_session(struct qemu_job *job)
{
    const struct cli_values *values = job->values;
    const struct host_port *at = job->side == TERN_SIDE_SOURCE ? &values->to : &values->listen;
    const struct tern_vm *vm = qemu_vm_describe(job->vm);

    tern_options_init(&job->options);
    migration_values_apply(&values->migration, &job->options);
    job->options.on_event = on_event;
    job->options.event_opaque = job;
    if (job->of_image && job->side == TERN_SIDE_SOURCE)
        return tern_suspend_create(vm, values->image, &job->options, &job->suspend, &job->error);
    if (job->of_image) {
        job->options.eager = values->eager;
        qemu_vm_before_run(job->vm, before_run, job);
        return tern_resume_create(vm, values->image, &job->options, &job->resume, &job->error);
    }
    job->options.host = *at->host ? at->host : NULL;
    job->options.port = at->has_port ? at->port : (uint16_t)values->port;
    if (!job->options.port)
        job->options.port = UINT16_MAX; /* any free one */
    if (job->side == TERN_SIDE_SOURCE)
        return tern_source_create(vm, &job->options, &job->source, &job->error);
    return tern_destination_create(vm, &job->options, &job->destination, &job->error);
}

static const char *state_of(const struct qemu_job *job)
{
    bool good = outcome_is_good(job->result.outcome);

    if (job->side == TERN_SIDE_SOURCE && good)
        return job->of_image ? "suspended" : "inactive";
    if (job->side == TERN_SIDE_DESTINATION && job->result.outcome == TERN_OUTCOME_FAILED)
        return qemu_vm_fate(job->vm) == QEMU_VM_LOST_PAUSED ? "paused" : "inactive";
    return job->runs ? "active" : "paused";
}

static int tell_resumed(const struct qemu_job *job)
{
    char took[UNITS_TEXT_BYTES];

    if (!job->values->quiet && !strcmp(job->result.device, "lazy"))
        printf("all of its memory is here, in %s\n", units_duration(job->result.total_ns, took));
    return CLI_EXIT_OK;
}

/* The destination has its own few words for people; a source's end is told as that of any other. */
static int tell(struct qemu_job *job, struct json_object *done)
{
    const struct cli_values *values = job->values;
    char to[HOST_PORT_TEXT_BYTES], nodes[512];

    if (!values->json && job->result.outcome == TERN_OUTCOME_RESUMED)
        return tell_resumed(job);
    if (job->side == TERN_SIDE_DESTINATION && !values->json && job->result.outcome == TERN_OUTCOME_MIGRATED) {
        if (!values->quiet)
            printf("the guest runs here, received from %s over %s\n", job->result.peer, job->result.transport);
        if (!values->quiet && *report_nodes(&job->result, nodes, sizeof(nodes)))
            printf("its memory by NUMA node: %s\n", nodes);
        return CLI_EXIT_OK;
    }
    if (job->side == TERN_SIDE_DESTINATION && !values->json) {
        say_error(&job->error);
        return job->result.outcome == TERN_OUTCOME_IN_DOUBT ? CLI_EXIT_IN_DOUBT : CLI_EXIT_FAILED;
    }
    if (job->of_image)
        return tell_end(values, TELL_SUSPEND, values->image, done, &job->error);
    host_port_text(job->options.host ? job->options.host : "", job->options.port, to);
    return tell_end(values, TELL_MIGRATION, to, done, &job->error);
}

/* For how long tern held QEMU still is to be known, and so is why a migration had so much to send. */
static void add_tracking_cost(struct qemu_job *job, struct json_object *members)
{
    struct remote_tracker_cost cost;
    struct tern_event event = {.kind = TERN_EVENT_WARNING};
    char text[160];

    if (job->side != TERN_SIDE_SOURCE)
        return;
    cost = qemu_vm_tracking_cost(job->vm);
    json_object_object_add(members, "held_still_ms", json_of_ms(cost.stopped_ns));
    if (!cost.n_distrusted)
        return;
    snprintf(text, sizeof(text), "this host was short of memory: in %u rounds every page counted as written",
             cost.n_distrusted);
    event.text = text;
    on_event(job, &event);
}

/* The members of done: while the VM is still there to be asked. */
static struct json_object *describe_end(struct qemu_job *job)
{
    struct json_object *members;

    job->runs = qemu_vm_runs(job->vm);
    members = json_of_result(&job->result);
    json_object_object_add(members, "state", json_object_new_string(state_of(job)));
    add_tracking_cost(job, members);
    return members;
}

static int conclude(struct qemu_job *job, struct json_object *members)
{
    bool ok = outcome_is_good(job->result.outcome);
    struct json_object *done = json_of_done(ok, members), *event;
    int status;

    if (job->values->json && !ok) {
        event = json_of_error(&job->error);
        print_json(event);
        json_object_put(event);
    }
    if (job->values->json)
        print_json(done);
    status = tell(job, done);
    json_object_put(done);
    return status;
}

/* Nothing was begun. */
static int cannot(const struct qemu_job *job)
{
    if (job->values->json)
        request_print_json(&job->error, NULL);
    else
        say_error(&job->error);
    return CLI_EXIT_FAILED;
}

static void leave_destination(struct qemu_job *job)
{
    qemu_vm_leave(job->vm, false, NULL);
    tell_fate(job);
}

/* The other side has the guest, or is told that it stays there. */
static void leave(struct qemu_job *job)
{
    bool good = outcome_is_good(job->result.outcome), is_source = job->side == TERN_SIDE_SOURCE;
    struct tern_error error = {0};

    if (job->side == TERN_SIDE_DESTINATION && job->result.outcome == TERN_OUTCOME_FAILED)
        leave_destination(job);
    if (job->of_image && is_source && good)
        suspended_note_write(job->values->qmp, job->values->image);
    else if (good)
        suspended_note_clear(job->values->qmp);
    if (is_source && good && qemu_vm_leave(job->vm, job->values->keep_source, &error))
        fprintf(stderr, "warning: the source's QEMU is still there, its guest stopped: %s\n", error.message);
}

static void release(struct qemu_job *job)
{
    tern_source_destroy(job->source);
    tern_destination_destroy(job->destination);
    tern_suspend_destroy(job->suspend);
    tern_resume_destroy(job->resume);
    qemu_vm_close(job->vm);
    job->vm = NULL;
    if (job->signal_fd >= 0)
        close(job->signal_fd);
}

/* With --register ring or odp the guest may give pages back meanwhile, as over tcp. */
static bool will_pin(const struct migration_values *values)
{
    return values->transport == TERN_TRANSPORT_VERBS &&
           (values->registration == TERN_REGISTER_AUTO || values->registration == TERN_REGISTER_PIN);
}

static int start(struct qemu_job *job)
{
    int nice = job->values->nice == CLI_UNSET ? NICE_DEFAULT : (int)job->values->nice;
    int r = signals_open(&job->signal_fd, &job->error);

    if (job->of_image && job->side == TERN_SIDE_DESTINATION) /* its guest waits for what this process reads */
        signals_block_stops();
    job->result.struct_bytes = sizeof(job->result);
    render_init(&job->render, stderr);
    ongoing_init(&job->ongoing);
    if (!r)
        r = qemu_serve_open(job, &job->error);
    if (!r)
        r = qemu_vm_open(job->values->qmp, job->side, !job->of_image && will_pin(&job->values->migration), &job->vm,
                         &job->error);
    if (r == -EBUSY && job->side == TERN_SIDE_SOURCE)
        error_prefix(&job->error, job->of_image ? "cannot suspend" : "cannot migrate");
    if (!r && !(job->of_image && job->side == TERN_SIDE_DESTINATION)) { /* whose guest waits for what is copied */
        /* the guardian and the helpers are there already, the threads that copy are not */
        job->lowered = nice && priority_lower(nice);
        job->nice = job->lowered ? nice : 0;
    }
    if (!r)
        r = open_session(job);
    if (r)
        error_side(&job->error, job->side);
    return r;
}

/* Whoever is told of the end finds QEMU and its sockets free. */
static int finish(struct qemu_job *job, bool began)
{
    struct json_object *members = began ? describe_end(job) : NULL;
    int status;

    if (began)
        leave(job);
    release(job);
    if (job->server)
        control_server_hang_up(job->server);
    status = began ? conclude(job, members) : cannot(job);
    json_object_put(members);
    qemu_serve_close(job);
    ongoing_release(&job->ongoing);
    return status;
}

static int do_job(struct qemu_job *job)
{
    if (start(job))
        return finish(job, false);
    run(job);
    return finish(job, true);
}

int qemu_migrate(const struct cli_values *values)
{
    struct qemu_job job = {.values = values, .side = TERN_SIDE_SOURCE, .signal_fd = -1};

    return do_job(&job);
}

int qemu_suspend(const struct cli_values *values)
{
    struct qemu_job job = {.values = values, .side = TERN_SIDE_SOURCE, .of_image = true, .signal_fd = -1};

    return do_job(&job);
}

int qemu_resume(const struct cli_values *values)
{
    struct qemu_job job = {.values = values, .side = TERN_SIDE_DESTINATION, .of_image = true, .signal_fd = -1};

    return do_job(&job);
}

int qemu_receive(const struct cli_values *values)
{
    struct qemu_job job = {.values = values, .side = TERN_SIDE_DESTINATION, .signal_fd = -1};
    char at[HOST_PORT_TEXT_BYTES];

    if (start(&job))
        return finish(&job, false);
    host_port_text(values->listen.host, tern_destination_port(job.destination), at);
    if (!values->json && !values->quiet) {
        printf("waiting at %s for the guest of a QEMU\n", at);
        fflush(stdout);
    }
    run(&job);
    return finish(&job, true);
}
