/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU's RAM lent to a session that resumes its guest, as tern_vm.lend_memory has it, with a guardian who knows at
 * each step what would be left to do. */
#ifndef TOOLS_QEMU_LENDING_H
#define TOOLS_QEMU_LENDING_H

#include "tools/qemu/guardian.h"
#include "tools/qemu/guest_ram.h"

struct lending;

/* lending_begin: memory->image_fd is given, the rest is written. qmp is used here only; ram, guardian (may be NULL):
 * borrowed until its end.
 * errors   nothing has changed: those of qemu_refuse_lending, lent_ram_begin, guardian_lend */
int lending_begin(struct qmp *qmp, const struct guest_ram *ram, struct guardian *guardian,
                  struct tern_lent_memory *memory, struct lending **out, struct tern_error *error);
/* lending_end: all is there. errors as of lent_ram_end; it is over all the same */
int lending_end(struct lending *lending, int image_fd, struct tern_error *error);
/* lending_abandon: what is missing cannot come: QEMU's own descriptor makes who touches it wait. Takes NULL. */
void lending_abandon(struct lending *lending);

#endif
