/* SPDX-License-Identifier: BSD-2-Clause */
/* Which disk of the guest's is read into its memory by DMA: past the host's page cache (O_DIRECT), or by a driver that
 * speaks to the disk itself? For refuse.c, and for drained_tracker.h. */
#ifndef TOOLS_QEMU_FACTS_DISKS_H
#define TOOLS_QEMU_FACTS_DISKS_H

#include "tools/qemu/refuse.h"

/* facts_read_disks: ask QEMU, fill dma_disk and direct_disk. */
int facts_read_disks(struct qmp *qmp, struct qemu_facts *out, struct tern_error *error);

/* facts_find_disks: the same of QEMU's answers. Pure.
 * devices  reply to query-block: a device counts while it has a medium
 * nodes    reply to query-named-block-nodes
 * graph    reply to x-debug-query-block-graph: which node is under which; NULL: each node is taken to be under the
 *          first device */
void facts_find_disks(struct json_object *devices, struct json_object *nodes, struct json_object *graph,
                      struct qemu_facts *out);

#endif
