/* SPDX-License-Identifier: BSD-2-Clause */
/* The dirty tracker of a QEMU that nobody patched: the best that this kernel has. */
#ifndef TOOLS_QEMU_REMOTE_TRACKER_H
#define TOOLS_QEMU_REMOTE_TRACKER_H

#include "tools/qemu/guardian.h"
#include "tools/qemu/guest_ram.h"

/* remote_tracker_create: remote_uffd, else remote_soft_dirty; nothing happens to QEMU before its start.
 * reporter     a device of QEMU that reports free pages, or NULL
 * drained      disks are read past the page cache: around it a drained_tracker, which qmp and guardian are for
 * errors       -ENOTSUP this kernel has neither, or what is in the way of the one it has, by name */
int remote_tracker_create(const struct guest_ram *ram, const char *reporter, bool drained, struct qmp *qmp,
                          struct guardian *guardian, struct tern_tracker *out, struct tern_error *error);

/* remote_tracker_rest: the guest stands still for its switchover from now on, or does not any more. */
void remote_tracker_rest(struct tern_tracker *tracker, bool rests);

/* What tracking cost QEMU so far. */
struct remote_tracker_cost {
    uint64_t stopped_ns;   /* for how long it, or a thread of it, stood still, at most */
    bool every_round;      /* and that in every round; else once */
    uint32_t n_distrusted; /* rounds in which every page counted as written, the host being short of memory */
};

struct remote_tracker_cost remote_tracker_cost(const struct tern_tracker *tracker);

#endif
