/* SPDX-License-Identifier: BSD-2-Clause */
/* An unmodified QEMU as libtern sees a VMM: its RAM mapped here, its switchover by QMP. Nothing is changed in QEMU
 * before its guest is about to stop (source) or a source was accepted (destination), and what was changed is put back,
 * by a guardian if this process is killed. Where libtern pins the guest's pages, memory that QEMU gives back meanwhile
 * (a balloon) fails the migration before its commit. */
#ifndef TOOLS_QEMU_QEMU_VM_H
#define TOOLS_QEMU_QEMU_VM_H

#include "migrate/tern.h"
#include "tools/qemu/guest_ram.h"
#include "tools/qemu/qmp.h"
#include "tools/qemu/remote_tracker.h"

#define QEMU_VM_KIND "qemu 1" /* tern_vm.kind */

struct qemu_vm;

/* qemu_vm_open: fork the guardian (so: before there are threads), connect to QEMU's QMP socket, find its RAM, clear it
 * (destination).
 * pinned   the guest's pages will be pinned (verbs is asked for): what forbids that is refused now, not when libtern
 *          has chosen
 * errors   those of qmp_connect, guest_ram_open, qemu_refuse and remote_tracker_create (source); -EBUSY its guest does
 * not run (source), it does not wait for a migration (destination), or a part of its memory was not read from its image
 */
int qemu_vm_open(const char *qmp_path, enum tern_side side, bool pinned, struct qemu_vm **out,
                 struct tern_error *error);
/* A guest that was stopped and has not migrated runs again. Takes NULL. */
void qemu_vm_close(struct qemu_vm *vm);

const struct guest_ram *qemu_vm_ram(const struct qemu_vm *vm);
/* The source's own, without the look at discards that the described one takes. */
const struct tern_tracker *qemu_vm_tracker(const struct qemu_vm *vm);
/* Borrowed; valid until close. */
const struct tern_vm *qemu_vm_describe(struct qemu_vm *vm);

/* What tracking its pages cost QEMU so far (source). */
struct remote_tracker_cost qemu_vm_tracking_cost(const struct qemu_vm *vm);

/* Do the virtual CPUs run, as far as this process has had them stopped and run? Any thread. */
bool qemu_vm_runs(const struct qemu_vm *vm);

/* What became of it here, other than being left (destination). The first three: it had run from an image of which a
 * part could not be read. */
enum qemu_vm_fate {
    QEMU_VM_NONE,
    QEMU_VM_LOST_PAUSED, /* the guest is paused for good */
    QEMU_VM_LOST_KILLED, /* it did not stop, and QEMU was killed */
    QEMU_VM_LOST_ENDED,  /* QEMU had ended before */
    QEMU_VM_KILLED,      /* it had not run; QEMU did not answer, and was killed, as its guest must not run */
};
enum qemu_vm_fate qemu_vm_fate(const struct qemu_vm *vm);

/* qemu_vm_before_run: called just before QEMU is told to run the guest (destination), after which it may have run. */
void qemu_vm_before_run(struct qemu_vm *vm, void (*call)(void *opaque), void *opaque);

/* The guest runs elsewhere now: end this QEMU, or keep it, stopped (source). At a destination the guest stays at the
 * source: a QEMU that has loaded its state is ended, if need be killed; one that still waits may be used again. */
int qemu_vm_leave(struct qemu_vm *vm, bool keep, struct tern_error *error);

#endif
