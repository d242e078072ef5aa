/* SPDX-License-Identifier: BSD-2-Clause */
/* The process that a VM is: a guest, its control socket, and at most one job at a time (a migration away, one
 * towards here, into or out of an image, or a verification), each job in a thread of its own.
 *
 *   receive: inactive --migrated--> active          failed: the process ends with 1
 *   resume:  inactive --its state is there--> active, while its memory is still read (the job goes on meanwhile)
 *   run:     active <--pause, cont--> paused         migrated away or suspended: the process ends with 0
 *   both:    a handover cut short: paused, in doubt; only resolve leads out of it
 *
 * Invariant: the guest is never run while in doubt but by resolve; nothing but the engine touches it during a
 * migration; what needs a job waits for the end of a resume. Knows the guest and the engine by their tables only, so
 * both can be replaced in tests. */
#ifndef TOOLS_TERN_VM_PROCESS_H
#define TOOLS_TERN_VM_PROCESS_H

#include <json-c/json.h>
#include <stdbool.h>

#include "migrate/tern.h"
#include "tools/tern/cli.h"

/* What the process needs of a guest. All but runs and status are called by one thread at a time.
 * runs      its virtual CPUs run; any thread
 * describe  borrowed; valid while the guest lives
 * status    add members for 'tern status'; any thread, must not wait for the guest
 * verify    check the guest's memory, add members; the guest may be running */
struct guest_ops {
    bool (*runs)(void *guest);
    int (*pause)(void *guest, struct tern_error *error);
    int (*resume)(void *guest, struct tern_error *error);
    const struct tern_vm *(*describe)(void *guest);
    void (*status)(void *guest, struct json_object *into);
    int (*verify)(void *guest, struct json_object *into, struct tern_error *error);
};

/* The part of tern.h that is used. */
struct engine_ops {
    void (*options_init)(struct tern_options *options);
    int (*source_create)(const struct tern_vm *vm, const struct tern_options *options, struct tern_source **out,
                         struct tern_error *error);
    int (*source_run)(struct tern_source *source, struct tern_result *result, struct tern_error *error);
    void (*source_cancel)(struct tern_source *source);
    void (*source_destroy)(struct tern_source *source);
    int (*destination_create)(const struct tern_vm *vm, const struct tern_options *options,
                              struct tern_destination **out, struct tern_error *error);
    uint16_t (*destination_port)(const struct tern_destination *destination);
    int (*destination_run)(struct tern_destination *destination, struct tern_result *result, struct tern_error *error);
    void (*destination_cancel)(struct tern_destination *destination);
    void (*destination_destroy)(struct tern_destination *destination);
    int (*suspend_create)(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                          struct tern_suspend **out, struct tern_error *error);
    int (*suspend_run)(struct tern_suspend *suspend, struct tern_result *result, struct tern_error *error);
    void (*suspend_cancel)(struct tern_suspend *suspend);
    void (*suspend_destroy)(struct tern_suspend *suspend);
    int (*resume_create)(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                         struct tern_resume **out, struct tern_error *error);
    int (*resume_run)(struct tern_resume *resume, struct tern_result *result, struct tern_error *error);
    void (*resume_cancel)(struct tern_resume *resume);
    void (*resume_destroy)(struct tern_resume *resume);
};

extern const struct engine_ops engine_libtern;

struct vm_process;

/* vm_process_create: open the control socket; nothing is served yet. SIGINT and SIGTERM are blocked from here on, in
 * threads made later too, and end the process's turn in vm_process_run.
 * values   of vm run or vm receive; borrowed */
int vm_process_create(const struct cli_values *values, const struct engine_ops *engine, struct vm_process **out,
                      struct tern_error *error);
/* The guest and what it is called in messages; borrowed. Before vm_process_run. */
void vm_process_set_guest(struct vm_process *process, const struct guest_ops *ops, void *guest, const char *name);
/* Where the guest comes from. */
enum vm_process_start { VM_PROCESS_RUN, VM_PROCESS_RECEIVE, VM_PROCESS_RESUME };

/* Serve until the guest has migrated away, has been suspended, has ended, or is to be ended. Unless it runs already
 * (RUN), it is waited for or read first.
 * returns  the exit status of the program */
int vm_process_run(struct vm_process *process, enum vm_process_start start);
/* The guest has ended by itself; failure may be NULL. Any thread. */
void vm_process_guest_ended(struct vm_process *process, const struct tern_error *failure);
/* vm_process_destroy: the guest has been released by then. Removes the socket, then gives those who asked for the
 * guest's leaving (migrate, quit) their answers. Takes NULL. */
void vm_process_destroy(struct vm_process *process);

#endif
