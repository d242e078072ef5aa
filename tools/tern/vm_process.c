/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tools/common/report.h"
#include "tools/common/signals.h"
#include "tools/tern/say.h"
#include "tools/tern/suspended_note.h"
#include "tools/tern/vm_process_internal.h"
#include "transport/error.h"

/* What is left to say to clients when the process ends is written within this time. */
#define LINGER_MS 2000

const char *process_state(const struct vm_process *process)
{
    if (process->inactive && !atomic_load(&process->resumed))
        return "inactive";
    return !process->in_doubt && process->ops->runs(process->guest) ? "active" : "paused";
}

void process_say(const struct vm_process *process, const char *format, ...)
{
    va_list args;

    if (process->values->quiet || process->values->json)
        return;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

void process_print(const struct vm_process *process, struct json_object *event)
{
    const char *kind = json_member_text(event, "event");

    if (!process->values->json || (process->values->quiet && strcmp(kind, "error") && strcmp(kind, "done")))
        return;
    puts(json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    fflush(stdout);
}

void process_end(struct vm_process *process, int exit_status)
{
    process->ended = true;
    process->exit_status = exit_status;
}

int vm_process_create(const struct cli_values *values, const struct engine_ops *engine, struct vm_process **out,
                      struct tern_error *error)
{
    struct vm_process *process = calloc(1, sizeof(*process));
    int r;

    if (!process)
        return error_set(error, -ENOMEM, NULL, "no memory for the VM process");
    pthread_mutex_init(&process->lock, NULL);
    ongoing_init(&process->ongoing);
    process->values = values;
    process->engine = engine;
    process->signal_fd = -1;
    r = signals_open(&process->signal_fd, error);
    if (!r)
        r = control_server_create(values->control, &vm_handlers, process, &process->server, error);
    if (r) {
        vm_process_destroy(process);
        return r;
    }
    *out = process;
    return 0;
}

void vm_process_set_guest(struct vm_process *process, const struct guest_ops *ops, void *guest, const char *name)
{
    process->ops = ops;
    process->guest = guest;
    process->guest_name = name;
}

void vm_process_guest_ended(struct vm_process *process, const struct tern_error *failure)
{
    pthread_mutex_lock(&process->lock);
    if (failure)
        process->guest_failure = *failure;
    pthread_mutex_unlock(&process->lock);
    atomic_store(&process->guest_ended, true);
    control_server_wake(process->server);
}

/* The guest ended by itself. During a migration the engine finds out on its own, and the job's end comes first. */
static void conclude_guest(struct vm_process *process)
{
    struct tern_error failure;

    pthread_mutex_lock(&process->lock);
    failure = process->guest_failure;
    pthread_mutex_unlock(&process->lock);
    if (failure.code)
        say_error(&failure);
    else
        process_say(process, "the guest has ended");
    process_end(process, failure.code ? CLI_EXIT_FAILED : CLI_EXIT_OK);
}

static void take_signal(struct vm_process *process)
{
    struct signalfd_siginfo info;

    if (read(process->signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    process->ending = true;
    job_cancel(process);
}

static void turn(struct vm_process *process)
{
    int r = control_server_turn(process->server, process->signal_fd, -1);

    if (r == 1)
        take_signal(process);
    if (atomic_exchange(&process->job_ended, false))
        job_conclude(process);
    if (process->ended || process->job.kind != JOB_NONE)
        return;
    if (atomic_load(&process->guest_ended))
        conclude_guest(process);
    else if (process->ending)
        process_end(process, process->inactive ? CLI_EXIT_FAILED : CLI_EXIT_OK);
    else if (r < 0)
        process_end(process, CLI_EXIT_FAILED);
}

int vm_process_run(struct vm_process *process, enum vm_process_start start)
{
    struct tern_error error = {0};
    int r = 0;

    process->inactive = start != VM_PROCESS_RUN;
    if (start == VM_PROCESS_RUN)
        suspended_note_clear(process->values->control); /* another guest goes by this name now */
    else
        r = start == VM_PROCESS_RECEIVE ? job_start_destination(process, &error) : job_start_resume(process, &error);
    if (r)
        return say_error(&error);
    while (!process->ended)
        turn(process);
    return process->exit_status;
}

/* Whoever is told that the VM is gone finds it gone: no socket, no guest. */
static void answer_last(struct vm_process *process)
{
    if (process->migrate_client)
        control_server_answer(process->server, process->migrate_client, NULL, process->migrated);
    if (process->quit_client)
        control_server_answer(process->server, process->quit_client, NULL, NULL);
    json_object_put(process->migrated);
}

void vm_process_destroy(struct vm_process *process)
{
    if (!process)
        return;
    if (process->server) {
        control_server_hang_up(process->server);
        answer_last(process);
        control_server_destroy(process->server, LINGER_MS);
    }
    if (process->signal_fd >= 0)
        close(process->signal_fd);
    json_object_put(process->waiting.request);
    pthread_mutex_destroy(&process->lock);
    ongoing_release(&process->ongoing);
    free(process);
}
