/* SPDX-License-Identifier: BSD-2-Clause */
/* Dirty tracking of a QEMU's RAM from outside: an injected userfaultfd protects it asynchronously, PAGEMAP_SCAN fetches
 * and re-arms (Linux 6.7). It sees what the process and KVM on its behalf write; not a vhost-user back end, nor VFIO.
 */
#ifndef TOOLS_QEMU_REMOTE_UFFD_H
#define TOOLS_QEMU_REMOTE_UFFD_H

#include "tools/qemu/guest_ram.h"

/* remote_uffd_create: nothing happens to QEMU before the tracker's start, and nothing stays of it after its stop, or
 * after the end of this process, however it ends. ram      borrowed until tern_tracker_destroy errors   -ENOTSUP this
 * kernel cannot */
int remote_uffd_create(const struct guest_ram *ram, struct tern_tracker *out, struct tern_error *error);

/* For how long QEMU's main thread stood still at the last start. */
uint64_t remote_uffd_stopped_ns(const struct tern_tracker *tracker);

#endif
