/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU's RAM lent to a session that resumes its guest, as tern_vm.lend_memory has it, with a guardian who knows at
 * each step what would be left to do. */
#ifndef TOOLS_QEMU_LENDING_H
#define TOOLS_QEMU_LENDING_H

#include "tools/qemu/guardian.h"
#include "tools/qemu/guest_ram.h"
#include "tools/qemu/soft_dirty.h"

struct lending;

/* lending_begin: lend it, with every page missing. qmp is used here only; ram, guardian (may be NULL):
 * borrowed until its end.
 * Meanwhile ram's mappings here have no memory (guest_ram_hide). memory->image_fd and notes_fd are given.
 * errors   those of qemu_refuse_lending, lending_refuse_kernel, lent_ram_begin, guardian_lend: the RAM is as other
 * memory again, empty maybe; where QEMU has kept a descriptor, that is told after the reason */
int lending_begin(struct qmp *qmp, const struct guest_ram *ram, struct guardian *guardian,
                  struct tern_lent_memory *memory, struct lending **out, struct tern_error *error);
/* lending_refuse_kernel: what before Linux 6.4 keeps memory from being read while the guest runs. Pure.
 * release  as uname -r says it
 * errors   -EOPNOTSUPP: memory that may become huge pages by itself (khugepaged would fill what is missing with zeros);
 *          a kernel thread that cannot be ended while it waits for memory */
int lending_refuse_kernel(const char *release, const struct soft_dirty_facts *facts, const struct tern_region *regions,
                          struct tern_error *error);

/* lending_goes_on: has anything been put there since it was asked last? As a qmp_set_patience has it: QEMU may be
 * waiting for it. opaque: the struct lending */
bool lending_goes_on(void *opaque);
/* lending_end: all is there. errors as of lent_ram_end; it is over all the same */
int lending_end(struct lending *lending, struct tern_error *error);
/* lending_abandon: what is missing cannot come: QEMU's own descriptor makes who touches it wait. Takes NULL. */
void lending_abandon(struct lending *lending);

#endif
