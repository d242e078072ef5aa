/* SPDX-License-Identifier: BSD-2-Clause */
/* A process that reads and clears the soft-dirty bits of QEMU's RAM in one step as QEMU sees it: it holds QEMU's
 * threads still meanwhile. A process of its own, so that neither our end nor a stop of ours (Ctrl-Z) falls into that
 * time; if it ends itself, the kernel lets the threads go. Forked once, before there are links: it has none of their
 * descriptors, and memory registered for RDMA is never shared with it. */
#ifndef TOOLS_QEMU_SOFT_DIRTY_HELPER_H
#define TOOLS_QEMU_SOFT_DIRTY_HELPER_H

#include "tools/qemu/guest_ram.h"

struct soft_dirty_helper;

/* soft_dirty_helper_create: nothing happens to QEMU yet. ram is borrowed until destroy. */
int soft_dirty_helper_create(const struct guest_ram *ram, struct soft_dirty_helper **out, struct tern_error *error);
/* Takes NULL. It ends by itself if we end without this. */
void soft_dirty_helper_destroy(struct soft_dirty_helper *helper);

/* soft_dirty_helper_turn: read, and clear. Then soft_dirty_helper_written and _present are bitmaps of a region's pages
 * as they were read; valid until the next turn. errors   of freeze_hold, reading and clearing; -EPIPE the helper is
 * gone; nothing was cleared but for -EPIPE blocks   30 s at most */
int soft_dirty_helper_turn(struct soft_dirty_helper *helper, struct tern_error *error);
const uint64_t *soft_dirty_helper_written(const struct soft_dirty_helper *helper, uint32_t region);
const uint64_t *soft_dirty_helper_present(const struct soft_dirty_helper *helper, uint32_t region);

/* For how long QEMU stood still, at most. */
uint64_t soft_dirty_helper_stopped_ns(const struct soft_dirty_helper *helper);
/* For tests. */
pid_t soft_dirty_helper_pid(const struct soft_dirty_helper *helper);

#endif
