/* SPDX-License-Identifier: BSD-2-Clause */
/* Did anybody discard pages of these files in memory (a balloon: fallocate PUNCH_HOLE, madvise REMOVE)?
 * A discard is an inotify IN_MODIFY of the file, there before the system call returns; what is written through mappings
 * makes none. (The file's ctime does not serve: write faults move it, a hole in hugetlbfs does not.)
 * source: measured on Linux 6.1, 6.12 and 6.18, on tmpfs, hugetlbfs and memfds. One thread at a time. */
#ifndef TOOLS_QEMU_DISCARD_WATCH_H
#define TOOLS_QEMU_DISCARD_WATCH_H

#include "transport/tern_error.h"

struct discard_watch;

int discard_watch_create(struct discard_watch **out, struct tern_error *error);
/* Takes NULL. */
void discard_watch_destroy(struct discard_watch *watch);

/* discard_watch_add: watch a file from now on. One that is watched already keeps its first name.
 * name     what to call it; copied
 * errors   -EOPNOTSUPP the kernel does not tell of this file: a memfd, from Linux 6.14 on */
int discard_watch_add(struct discard_watch *watch, int fd, const char *name, struct tern_error *error);

/* discard_watch_seen: the name of a file that was discarded from since it was added, NULL if none was; stays so.
 * Names the first file where the kernel's queue ran over. */
const char *discard_watch_seen(struct discard_watch *watch);

#endif
