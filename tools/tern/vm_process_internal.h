/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of a VM process, for vm_process.c, vm_job.c and vm_commands.c only. */
#ifndef TOOLS_TERN_VM_PROCESS_INTERNAL_H
#define TOOLS_TERN_VM_PROCESS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "tools/common/control_server.h"
#include "tools/tern/ongoing.h"
#include "tools/tern/vm_process.h"

enum job_kind { JOB_NONE, JOB_SOURCE, JOB_DESTINATION, JOB_VERIFY, JOB_SUSPEND, JOB_RESUME };

/* The one job. Written by the serving thread while no job's thread runs; while one does, by that thread. */
struct job {
    enum job_kind kind;
    pthread_t thread;
    uint64_t client;             /* who waits for the end; 0: nobody */
    struct json_object *request; /* owned; the options' texts live in it */
    struct cli_values values;
    struct tern_options options;
    struct tern_source *source;
    struct tern_destination *destination;
    struct tern_suspend *suspend;
    struct tern_resume *resume;
    struct tern_result result;
    struct tern_error error;
    struct json_object *report; /* owned: a verification's */
    int code;
};

/* A request for a job that waits for the end of a resume, whose guest runs already. */
struct waiting {
    uint64_t client;             /* 0: none */
    struct json_object *request; /* owned */
    int (*start)(struct vm_process *process, uint64_t client, struct json_object *request, struct tern_error *error);
};

struct vm_process {
    const struct cli_values *values;
    const struct engine_ops *engine;
    const struct guest_ops *ops;
    void *guest;
    const char *guest_name;
    struct control_server *server;
    int signal_fd;
    bool inactive; /* receiving or resuming: there is no guest yet */
    bool in_doubt;
    bool ending; /* as soon as the job has ended */
    bool ended;
    int exit_status;
    uint64_t quit_client;         /* answered when all is released */
    uint64_t migrate_client;      /* likewise, with migrated */
    struct json_object *migrated; /* owned */
    char last[512];               /* how the latest migration ended, for status */
    struct job job;
    struct ongoing ongoing; /* of the job, if it is a migration, a suspend or a resume */
    struct waiting waiting;
    atomic_bool resumed; /* the guest runs, although the resume has not ended */
    atomic_bool job_ended;
    atomic_bool guest_ended;
    pthread_mutex_t lock;            /* guards what follows */
    struct tern_error guest_failure; /* code 0: none */
    bool stopping;                   /* a resumed guest misses a part of its memory: it is not to be continued */
};

/* vm_job.c */
int job_start_source(struct vm_process *process, uint64_t client, struct json_object *request,
                     struct tern_error *error);
int job_start_destination(struct vm_process *process, struct tern_error *error);
int job_start_suspend(struct vm_process *process, uint64_t client, struct json_object *request,
                      struct tern_error *error);
int job_start_resume(struct vm_process *process, struct tern_error *error);
int job_start_verify(struct vm_process *process, uint64_t client, struct json_object *request,
                     struct tern_error *error);
/* Is it a job that goes on for a while, and can be given up? */
bool job_is_transfer(const struct vm_process *process);
/* Make a migration give up; harmless if it is too late. */
void job_cancel(struct vm_process *process);
/* The job's thread has ended: act on how. */
void job_conclude(struct vm_process *process);

/* vm_commands.c */
/* The job before it has ended: start what waits for it. */
void commands_start_waiting(struct vm_process *process);
extern const struct control_handlers vm_handlers;

/* vm_process.c */
const char *process_state(const struct vm_process *process);
/* A line for people on stdout, unless --quiet or --json. */
void process_say(const struct vm_process *process, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An object for programs on stdout, with --json. */
void process_print(const struct vm_process *process, struct json_object *event);
void process_end(struct vm_process *process, int exit_status);

#endif
