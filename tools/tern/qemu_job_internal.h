/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of a QEMU's migration, for qemu_job.c and qemu_serve.c only. */
#ifndef TOOLS_TERN_QEMU_JOB_INTERNAL_H
#define TOOLS_TERN_QEMU_JOB_INTERNAL_H

#include <stdatomic.h>

#include "tools/qemu/qemu_vm.h"
#include "tools/tern/cli.h"
#include "tools/tern/ongoing.h"
#include "tools/tern/render.h"

struct qemu_job {
    const struct cli_values *values;
    enum tern_side side; /* whose guest it is, or will be */
    bool of_image;       /* the other side is a file */
    struct control_server *server;
    struct qemu_vm *vm;
    struct tern_options options;
    struct tern_source *source;
    struct tern_destination *destination;
    struct tern_suspend *suspend;
    struct tern_resume *resume;
    struct tern_result result;
    struct tern_error error;
    int code;
    bool runs;    /* the guest, here, at the end */
    int nice;     /* of the copying; 0: it has that of all else */
    bool lowered; /* priority.h; the engine's threads' from the start of the session on */
    struct render render;
    struct ongoing ongoing;
    int signal_fd;
    atomic_bool ended; /* the engine has */
};

/* Is its guest one that runs out of its image already, while the rest of it is read? */
static inline bool qemu_job_runs_resumed(const struct qemu_job *job)
{
    return job->resume && qemu_vm_runs(job->vm);
}

/* qemu_serve_open: the control socket. errors -EBUSY another tern migrates this QEMU */
int qemu_serve_open(struct qemu_job *job, struct tern_error *error);
/* Until the engine has ended. */
void qemu_serve(struct qemu_job *job);
/* All is released: nobody finds the socket any more, who asked for a cancel is answered. */
void qemu_serve_close(struct qemu_job *job);
void qemu_job_cancel(struct qemu_job *job);

#endif
