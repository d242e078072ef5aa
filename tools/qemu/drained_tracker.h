/* SPDX-License-Identifier: BSD-2-Clause */
/* A dirty tracker for a guest with disks that are read past the host's page cache (cache=none). The kernel marks a page
 * written when such a read begins, and the data comes later: after the look at the page, perhaps after it was sent. So
 * every look is taken while no read is under way: QEMU stops its guest, which waits for its reads and writes, all
 * regions are looked at by the tracker within, and the guest goes on.
 *
 * Invariant: whenever the guest was stopped here, a guardian would run it again.
 * source: QEMU do_vm_stop() (softmmu/cpus.c), bdrv_drain_all(); pin_user_pages.rst */
#ifndef TOOLS_QEMU_DRAINED_TRACKER_H
#define TOOLS_QEMU_DRAINED_TRACKER_H

#include "tools/qemu/guardian.h"
#include "tools/qemu/guest_ram.h"
#include "tools/qemu/qmp.h"

/* drained_tracker_create:
 * inner    taken over on success, emptied then
 * ram, qmp, guardian   borrowed until tern_tracker_destroy; guardian may be NULL
 * errors   -ENOMEM */
int drained_tracker_create(struct tern_tracker *inner, const struct guest_ram *ram, struct qmp *qmp,
                           struct guardian *guardian, struct tern_tracker *out, struct tern_error *error);

bool drained_tracker_is(const struct tern_tracker *tracker);

/* drained_tracker_rest: the guest stands still by another's word from now on (QEMU's switchover), or does not any more.
 */
void drained_tracker_rest(struct tern_tracker *tracker, bool rests);

/* The tracker within. */
const struct tern_tracker *drained_tracker_inner(const struct tern_tracker *tracker);

/* For how long the guest was stopped for a look, at most. */
uint64_t drained_tracker_stopped_ns(const struct tern_tracker *tracker);

#endif
