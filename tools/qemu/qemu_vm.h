/* SPDX-License-Identifier: BSD-2-Clause */
/* An unmodified QEMU as libtern sees a VMM: its RAM mapped here, its switchover by QMP. Nothing is changed in QEMU
 * before its guest is to stop (source) or to be loaded (destination), and what was changed is put back. */
#ifndef TOOLS_QEMU_QEMU_VM_H
#define TOOLS_QEMU_QEMU_VM_H

#include "migrate/tern.h"
#include "tools/qemu/guest_ram.h"
#include "tools/qemu/qmp.h"

struct qemu_vm;

/* qemu_vm_open: connect to QEMU's QMP socket, find its RAM.
 * pinned   the guest's pages may be pinned, for RDMA
 * errors   those of qmp_connect, guest_ram_open, qemu_refuse and remote_uffd_create (source); -EBUSY it does not wait
 *          for a migration (destination) */
int qemu_vm_open(const char *qmp_path, enum tern_side side, bool pinned, struct qemu_vm **out,
                 struct tern_error *error);
/* A guest that was stopped and has not migrated runs again. Takes NULL. */
void qemu_vm_close(struct qemu_vm *vm);

const struct guest_ram *qemu_vm_ram(const struct qemu_vm *vm);
/* Borrowed; valid until close. */
const struct tern_vm *qemu_vm_describe(struct qemu_vm *vm);

/* The guest runs elsewhere now: end this QEMU, or keep it, stopped. */
int qemu_vm_leave(struct qemu_vm *vm, bool keep, struct tern_error *error);

#endif
