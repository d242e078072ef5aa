/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks of what a caller hands over: the VM and the options. Pure. */
#ifndef MIGRATE_VM_H
#define MIGRATE_VM_H

#include "migrate/tern.h"
#include "transport/link.h"

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

/* chunk_bytes_for: a power of two from 2 MiB. A small guest is cut into some 64 chunks, so that threads share its
 * registration and sending begins early; a larger one into chunks of 16 MiB, then into 4096 at most, or as few as the
 * device takes; no chunk is larger than the device takes, or it is the smallest. Edges are multiples of 2 MiB, so pages
 * of that size are registered as such; of a page of 1 GiB each chunk registers a part, which costs an entry of the
 * device's table a chunk and pins no more than what was asked for. source: ibv_query_device(3) */
uint64_t chunk_bytes_for(uint64_t memory_bytes, const struct link_limits *limits);
/* chunk_bytes_agreed: at the destination: what the source proposed, unless this side's device takes no chunks so large
 * or so many; then what it takes. */
uint64_t chunk_bytes_agreed(uint64_t proposed_bytes, uint64_t memory_bytes, const struct link_limits *limits);

/* VM_ASK: call a callback of the VMM or of its tracker. Where it failed and did not say why, *error names it.
 * returns  0 or -errno, also where the callback returned what is neither */
#define VM_ASK(call, name, side, error) (vm_ask(error), vm_answered((call), (name), (side), (error)))
void vm_ask(struct tern_error *error);
int vm_answered(int r, const char *name, enum tern_side side, struct tern_error *error);

#endif
