/* SPDX-License-Identifier: BSD-2-Clause */
/* Another process: which it is, and what it has mapped. Held by its /proc folder and a pidfd, so that a successor under
 * the same number is never taken for it. */
#ifndef TOOLS_QEMU_PROCESS_H
#define TOOLS_QEMU_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "transport/tern_error.h"

struct process {
    pid_t pid;
    int folder; /* owned: /proc/PID */
    int pidfd;  /* owned */
    char name[32];
};

/* process_open: errors -ESRCH no such process. */
int process_open(pid_t pid, struct process *out, struct tern_error *error);
/* process_of_peer: the process at the other end of a unix socket: the one that listened, last of all. QEMU listens
 * itself on a socket that a manager handed to it. */
int process_of_peer(int socket, struct process *out, struct tern_error *error);
/* Takes {.folder = -1, .pidfd = -1}. */
void process_close(struct process *process);

/* process_is_peer: is it the process at the other end of this unix socket, and alive? */
bool process_is_peer(const struct process *process, int socket);
/* process_has_ended: at the latest after that time. */
bool process_has_ended(const struct process *process, int timeout_ms);

/* process_read: the whole of a file in its folder, zero-terminated, the caller's to free. */
int process_read(const struct process *process, const char *name, char **text_out, struct tern_error *error);

/* ---- mappings, a pure part ---- */

struct mapping {
    uint64_t start, end, offset_bytes;
    bool shared, executable;
    uint32_t device_major, device_minor;
    uint64_t inode;
    const char *path; /* in the text that was read; not zero-terminated */
    size_t path_length;
};

/* mapping_next: the next line of /proc/PID/maps. *at moves on; begin with the text's first character. false: no more.
 */
bool mapping_next(const char **at, struct mapping *out);

/* mapping_cover: the one file behind [address, address + length_bytes), be it in several mappings one after the other.
 * *out is the first of them.
 * errors   -EFAULT not all is mapped; -ENXIO in several files or jumping in one; -ENOTSUP not shared; -ENOENT no file
 */
int mapping_cover(const char *maps, uint64_t address, uint64_t length_bytes, struct mapping *out);

#endif
