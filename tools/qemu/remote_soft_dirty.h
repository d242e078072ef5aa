/* SPDX-License-Identifier: BSD-2-Clause */
/* Dirty tracking of a QEMU's RAM from outside on kernels that have no better: the soft-dirty bits of its page table,
 * read and cleared while all its threads are held still for a few milliseconds, at each fetch. It sees what the process
 * and KVM on its behalf write; for the kernel's own threads, which cannot be held still, see soft_dirty_refuse.
 * Invariant: a page written before the first fetch of a sweep over the regions is reported in that sweep. */
#ifndef TOOLS_QEMU_REMOTE_SOFT_DIRTY_H
#define TOOLS_QEMU_REMOTE_SOFT_DIRTY_H

#include "tools/qemu/guest_ram.h"

/* remote_soft_dirty_create: nothing happens to QEMU before the tracker's start, and nothing stays of it after its stop,
 * or after the end of this process, however it ends.
 * ram          borrowed until tern_tracker_destroy
 * errors       -ENOTSUP this kernel cannot, or what is in the way, by name
 * Fetch: one turn serves a sweep over the regions, by ascending number. */
int remote_soft_dirty_create(const struct guest_ram *ram, struct tern_tracker *out, struct tern_error *error);

bool remote_soft_dirty_is(const struct tern_tracker *tracker);
/* For how long QEMU stood still, at most. */
uint64_t remote_soft_dirty_stopped_ns(const struct tern_tracker *tracker);
/* How many turns took every page as written, because the host was short of memory (soft_dirty.h). */
uint32_t remote_soft_dirty_distrusted(const struct tern_tracker *tracker);
/* The process that holds QEMU still; for tests. */
pid_t remote_soft_dirty_helper(const struct tern_tracker *tracker);

#endif
