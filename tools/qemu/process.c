/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"

#define READ_STEP_BYTES 65536

int process_open(pid_t pid, struct process *out, struct tern_error *error)
{
    struct process process = {.pid = pid, .folder = -1, .pidfd = -1};
    char path[32], *name;

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    process.folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    process.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process.folder < 0 || process.pidfd < 0) {
        int r = -errno;

        process_close(&process);
        return error_set(error, r == -ENOENT ? -ESRCH : r, NULL, "cannot look at process %d: %s", (int)pid,
                         strerror(r == -ENOENT ? ESRCH : -r));
    }
    if (!process_read(&process, "comm", &name, NULL)) {
        snprintf(process.name, sizeof(process.name), "%.*s", (int)strcspn(name, "\n"), name);
        free(name);
    }
    *out = process;
    return 0;
}

int process_of_peer(int socket, struct process *out, struct tern_error *error)
{
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);

    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length))
        return error_set(error, -errno, "give tern QEMU's unix socket",
                         "cannot tell who is at the socket's other end: %s", strerror(errno));
    if (peer.pid <= 0)
        return error_set(error, -ESRCH, "run tern where QEMU's process can be seen",
                         "the process at the socket's other end is in another PID namespace");
    return process_open(peer.pid, out, error);
}

void process_close(struct process *process)
{
    if (process->folder >= 0)
        close(process->folder);
    if (process->pidfd >= 0)
        close(process->pidfd);
    process->folder = process->pidfd = -1;
}

/* Alive after it was asked: so its number was nobody else's. */
bool process_is_peer(const struct process *process, int socket)
{
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);

    return !getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) && peer.pid == process->pid &&
           !process_has_ended(process, 0);
}

bool process_has_ended(const struct process *process, int timeout_ms)
{
    struct pollfd p = {.fd = process->pidfd, .events = POLLIN};
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms);

    while (poll(&p, 1, clock_left_ms(deadline_ns)) < 0 && errno == EINTR)
        ;
    return p.revents & POLLIN;
}

int process_read(const struct process *process, const char *name, char **text_out, struct tern_error *error)
{
    int fd = openat(process->folder, name, O_RDONLY | O_CLOEXEC);
    size_t fill = 0, capacity = 0;
    char *text = NULL;
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0) {
        if (capacity - fill < READ_STEP_BYTES) {
            char *larger = realloc(text, capacity += 2 * READ_STEP_BYTES);

            if (!larger) {
                errno = ENOMEM;
                n = -1;
                break;
            }
            text = larger;
        }
        n = read(fd, text + fill, capacity - fill - 1);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            fill += (size_t)n;
    }
    if (n < 0) {
        int r = -errno;

        free(text);
        if (fd >= 0)
            close(fd);
        return error_set(error, r, r == -EACCES || r == -EPERM ? "run tern as root" : NULL,
                         "cannot read %s of process %d: %s", name, (int)process->pid, strerror(-r));
    }
    close(fd);
    text[fill] = 0;
    *text_out = text;
    return 0;
}

bool mapping_next(const char **at, struct mapping *out)
{
    const char *line = *at, *end;
    char flags[5] = "";
    int n = 0;

    if (!*line || sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 "%n", &out->start, &out->end,
                         flags, &out->offset_bytes, &out->device_major, &out->device_minor, &out->inode, &n) < 7)
        return false;
    end = strchrnul(line, '\n');
    out->shared = flags[3] == 's';
    out->executable = flags[2] == 'x';
    out->path = line + n + strspn(line + n, " ");
    out->path_length = out->path < end ? (size_t)(end - out->path) : 0;
    *at = *end ? end + 1 : end;
    return true;
}

static bool same_file(const struct mapping *a, const struct mapping *b)
{
    return a->device_major == b->device_major && a->device_minor == b->device_minor && a->inode == b->inode;
}

/* Shared memory that no file was made for shows as /dev/zero, or as a System V segment. */
static bool has_file(const struct mapping *m)
{
    return m->inode && m->path_length && m->path[0] == '/' &&
           !(m->path_length >= 9 && !strncmp(m->path, "/dev/zero", 9)) &&
           !(m->path_length >= 5 && !strncmp(m->path, "/SYSV", 5));
}

int mapping_cover(const char *maps, uint64_t address, uint64_t length_bytes, struct mapping *out)
{
    uint64_t end = address + length_bytes, covered = 0;
    struct mapping m, first;

    while (mapping_next(&maps, &m)) {
        if (m.end <= address)
            continue;
        if (!covered) {
            if (m.start > address)
                return -EFAULT;
            first = m;
        } else if (m.start != covered) {
            return -EFAULT;
        } else if (!same_file(&first, &m) || m.offset_bytes - first.offset_bytes != m.start - first.start) {
            return -ENXIO;
        }
        if (!m.shared)
            return -ENOTSUP;
        if (!has_file(&m))
            return -ENOENT;
        covered = m.end;
        if (covered >= end) {
            *out = first;
            return 0;
        }
    }
    return -EFAULT;
}
