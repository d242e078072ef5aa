/* SPDX-License-Identifier: BSD-2-Clause */
/* A userfaultfd over the memory of another process, which lends it by one system call that its main thread is made to
 * run (about 0.3 ms). Done by a child process of ours, so that our own end, kill -9 included, never leaves that thread
 * stopped or in the middle of it.
 * errors   of all: -EPERM not allowed to trace it; -ESRCH it has ended; -ETIMEDOUT it cannot be stopped; -ENOSYS it is
 *          forbidden userfaultfd. Its registers and signal mask are then as they were
 * blocks   at most 7 s, where the thread does not stop */
#ifndef TOOLS_QEMU_INJECT_H
#define TOOLS_QEMU_INJECT_H

#include "tools/qemu/process.h"

/* inject_userfaultfd:
 * fd_out       ours; the other process keeps none
 * stopped_ns   for how long its main thread stood still */
int inject_userfaultfd(const struct process *process, int *fd_out, uint64_t *stopped_ns, struct tern_error *error);

/* inject_kept_userfaultfd: it sees what the kernel touches for the other process, too.
 * theirs_out   the other process's own descriptor of it: when ours ends, it stays */
int inject_kept_userfaultfd(const struct process *process, int *fd_out, int *theirs_out, struct tern_error *error);
/* inject_close: close a descriptor of the other process. */
int inject_close(const struct process *process, int theirs, struct tern_error *error);

#endif
