/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks of what a caller hands over: the VM and the options. Pure. */
#ifndef MIGRATE_VM_H
#define MIGRATE_VM_H

#include "migrate/tern.h"

#define STATE_CAPACITY_DEFAULT (1ull << 20)
#define STATE_CAPACITY_MAX     (1ull << 30)

/* vm_check: 0, or -EINVAL with the member that is wrong. */
int vm_check(const struct tern_vm *vm, enum tern_side side, struct tern_error *error);
uint64_t vm_memory_bytes(const struct tern_vm *vm);
uint64_t vm_state_capacity(const struct tern_vm *vm);

/* options_take: check, copy what the caller's version has, and replace zeros by the defaults.
 * Strings stay the caller's. */
int options_take(const struct tern_options *given, enum tern_side side, struct tern_options *out,
                 struct tern_error *error);

/* chunk_bytes_for: at least 16 MiB, and so that a guest has 4096 chunks at most. */
uint64_t chunk_bytes_for(uint64_t memory_bytes);

/* VM_ASK: call a callback of the VMM or of its tracker. Where it failed and did not say why, *error names it.
 * returns  0 or -errno, also where the callback returned what is neither */
#define VM_ASK(call, name, side, error) (vm_ask(error), vm_answered((call), (name), (side), (error)))
void vm_ask(struct tern_error *error);
int vm_answered(int r, const char *name, enum tern_side side, struct tern_error *error);

#endif
