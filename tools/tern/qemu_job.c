/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/qemu_job.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tools/common/report.h"
#include "tools/qemu/migration_status.h"
#include "tools/qemu/qemu_vm.h"
#include "tools/tern/render.h"
#include "tools/tern/request.h"
#include "tools/tern/say.h"
#include "tools/tern/tell.h"
#include "transport/error.h"

struct qemu_job {
    const struct cli_values *values;
    enum tern_side side;
    struct qemu_vm *vm;
    struct tern_options options;
    struct tern_source *source;
    struct tern_destination *destination;
    struct tern_result result;
    struct tern_error error;
    int code;
    struct render render;
    int signal_fd, ended_fd;
};

/* ---- in the engine's threads ---- */

static void print_json(struct json_object *object)
{
    puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    fflush(stdout);
}

static void on_event(void *opaque, const struct tern_event *event)
{
    struct qemu_job *job = opaque;
    struct json_object *object = json_of_event(event);

    if (!job->values->quiet && job->values->json)
        print_json(object);
    else if (!job->values->quiet && (job->side == TERN_SIDE_SOURCE || event->kind == TERN_EVENT_WARNING))
        render_event(&job->render, object); /* the source shows how it goes */
    json_object_put(object);
}

static void *run_engine(void *opaque)
{
    struct qemu_job *job = opaque;
    uint64_t one = 1;
    ssize_t n;

    job->code = job->source ? tern_source_run(job->source, &job->result, &job->error)
                            : tern_destination_run(job->destination, &job->result, &job->error);
    n = write(job->ended_fd, &one, sizeof(one));
    (void)n;
    return NULL;
}

/* ---- in ours ---- */

/* Signals are taken from a descriptor, in this thread only; made before any other thread. */
static int open_descriptors(struct qemu_job *job, struct tern_error *error)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    job->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    job->ended_fd = eventfd(0, EFD_CLOEXEC);
    if (job->signal_fd < 0 || job->ended_fd < 0)
        return error_set(error, -errno, NULL, "cannot make a descriptor: %s", strerror(errno));
    return 0;
}

static void take_signal(struct qemu_job *job)
{
    struct signalfd_siginfo taken;

    if (read(job->signal_fd, &taken, sizeof(taken)) != sizeof(taken))
        return;
    if (job->source)
        tern_source_cancel(job->source);
    else
        tern_destination_cancel(job->destination);
}

static int run(struct qemu_job *job)
{
    struct pollfd p[2] = {{.fd = job->signal_fd, .events = POLLIN}, {.fd = job->ended_fd, .events = POLLIN}};
    pthread_t thread;
    int r = pthread_create(&thread, NULL, run_engine, job);

    if (r)
        return error_set(&job->error, -r, NULL, "cannot start a thread: %s", strerror(r));
    while (!p[1].revents) {
        poll(p, 2, -1);
        if (p[0].revents)
            take_signal(job);
    }
    pthread_join(thread, NULL);
    render_end(&job->render);
    return job->code;
}

static int open_session(struct qemu_job *job)
{
    const struct cli_values *values = job->values;
    const struct host_port *at = job->side == TERN_SIDE_SOURCE ? &values->to : &values->listen;

    tern_options_init(&job->options);
    migration_values_apply(&values->migration, &job->options);
    job->options.host = *at->host ? at->host : NULL;
    job->options.port = at->has_port ? at->port : (uint16_t)values->port;
    if (!job->options.port)
        job->options.port = UINT16_MAX; /* any free one */
    job->options.on_event = on_event;
    job->options.event_opaque = job;
    if (job->side == TERN_SIDE_SOURCE)
        return tern_source_create(qemu_vm_describe(job->vm), &job->options, &job->source, &job->error);
    return tern_destination_create(qemu_vm_describe(job->vm), &job->options, &job->destination, &job->error);
}

static const char *state_of(const struct qemu_job *job)
{
    if (job->result.outcome == TERN_OUTCOME_IN_DOUBT)
        return "paused";
    if (job->side == TERN_SIDE_DESTINATION)
        return job->result.outcome == TERN_OUTCOME_MIGRATED ? "active" : "inactive";
    return job->result.outcome == TERN_OUTCOME_MIGRATED ? "inactive" : "active";
}

/* The destination has its own few words for people; a source's end is told as that of any other. */
static int tell(struct qemu_job *job, struct json_object *done)
{
    const struct cli_values *values = job->values;
    char to[HOST_PORT_TEXT_BYTES];

    if (job->side == TERN_SIDE_DESTINATION && !values->json && job->result.outcome == TERN_OUTCOME_MIGRATED) {
        if (!values->quiet)
            printf("the guest runs here, received from %s over %s\n", job->result.peer, job->result.transport);
        return CLI_EXIT_OK;
    }
    if (job->side == TERN_SIDE_DESTINATION && !values->json) {
        say_error(&job->error);
        return job->result.outcome == TERN_OUTCOME_IN_DOUBT ? CLI_EXIT_IN_DOUBT : CLI_EXIT_FAILED;
    }
    host_port_text(job->options.host ? job->options.host : "", job->options.port, to);
    return tell_migration(values, to, done, &job->error);
}

static int conclude(struct qemu_job *job)
{
    struct json_object *members = json_of_result(&job->result), *done, *event;
    bool ok = job->result.outcome == TERN_OUTCOME_MIGRATED;
    int status;

    json_object_object_add(members, "state", json_object_new_string(state_of(job)));
    done = json_of_done(ok, members);
    if (job->values->json && !ok) {
        event = json_of_error(&job->error);
        print_json(event);
        json_object_put(event);
    }
    if (job->values->json)
        print_json(done);
    status = tell(job, done);
    json_object_put(done);
    json_object_put(members);
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

static void release(struct qemu_job *job)
{
    tern_source_destroy(job->source);
    tern_destination_destroy(job->destination);
    qemu_vm_close(job->vm);
    if (job->signal_fd >= 0)
        close(job->signal_fd);
    if (job->ended_fd >= 0)
        close(job->ended_fd);
}

static int start(struct qemu_job *job)
{
    int r = open_descriptors(job, &job->error);

    job->result.struct_bytes = sizeof(job->result);
    render_init(&job->render, stderr);
    if (!r)
        r = qemu_vm_open(job->values->qmp, job->side, job->values->migration.transport != TERN_TRANSPORT_TCP, &job->vm,
                         &job->error);
    if (!r)
        r = open_session(job);
    if (r)
        error_side(&job->error, job->side);
    return r;
}

int qemu_migrate(const struct cli_values *values)
{
    struct qemu_job job = {.values = values, .side = TERN_SIDE_SOURCE, .signal_fd = -1, .ended_fd = -1};
    struct tern_error error = {0};
    int status;

    if (start(&job)) {
        status = cannot(&job);
        release(&job);
        return status;
    }
    run(&job);
    if (job.result.outcome == TERN_OUTCOME_MIGRATED && qemu_vm_leave(job.vm, values->keep_source, &error))
        fprintf(stderr, "warning: the source's QEMU is still there, its guest stopped: %s\n", error.message);
    status = conclude(&job);
    release(&job);
    return status;
}

int qemu_receive(const struct cli_values *values)
{
    struct qemu_job job = {.values = values, .side = TERN_SIDE_DESTINATION, .signal_fd = -1, .ended_fd = -1};
    char at[HOST_PORT_TEXT_BYTES];
    int status;

    if (start(&job)) {
        status = cannot(&job);
        release(&job);
        return status;
    }
    host_port_text(values->listen.host, tern_destination_port(job.destination), at);
    if (!values->json && !values->quiet) {
        printf("waiting at %s for the guest of a QEMU\n", at);
        fflush(stdout);
    }
    run(&job);
    status = conclude(&job);
    release(&job);
    return status;
}

/* QEMU's run states in our words. */
static const char *state_name(const char *run_state)
{
    if (!strcmp(run_state, "running"))
        return "active";
    return !strcmp(run_state, "inmigrate") || !strcmp(run_state, "postmigrate") ? "inactive" : "paused";
}

int qemu_status(const struct cli_values *values)
{
    struct tern_error error = {0};
    struct json_object *members = json_object_new_object(), *done;
    struct qmp *qmp = NULL;
    char state[32] = "", migration[32] = "";
    int r = qmp_connect(values->qmp, QMP_TIMEOUT_MS, &qmp, &error);

    if (r == -ENOENT || r == -ECONNREFUSED) /* nobody there is an answer too */
        r = 0;
    else if (!r)
        r = qemu_run_state(qmp, state, &error);
    if (!r && qmp)
        r = migration_status(qmp, migration, NULL, &error);
    qmp_close(qmp);
    json_object_object_add(members, "state", json_object_new_string(*state ? state_name(state) : "inactive"));
    if (*state) {
        json_object_object_add(members, "qemu", json_object_new_string(state));
        json_object_object_add(members, "qemu_migration", json_object_new_string(migration));
    }
    done = json_of_done(!r, r ? NULL : members);
    if (values->json) {
        request_print_json(r ? &error : NULL, done);
    } else if (r) {
        say_error(&error);
    } else if (!values->quiet) {
        puts(json_member_text(members, "state"));
        if (*state)
            printf("%-12s %s\n", "qemu", state);
    }
    json_object_put(done);
    json_object_put(members);
    return r ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}
