/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/discard_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "transport/error.h"

#define FILES_MAX  64u
#define NAME_BYTES 64

struct discard_watch {
    int fd;
    uint32_t n_files;
    struct watched {
        int descriptor; /* inotify's */
        char name[NAME_BYTES];
    } files[FILES_MAX];
    const char *seen; /* one of the names */
};

static int add_path(int inotify, int fd)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return inotify_add_watch(inotify, path, IN_MODIFY);
}

/* ---- does the kernel tell of this file? ---- */

/* A memfd of the kind that fd would be if it were one. */
static int own_memfd(const struct statfs *like)
{
    unsigned flags = MFD_CLOEXEC;

    if (like->f_type == HUGETLBFS_MAGIC)
        flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll((uint64_t)like->f_bsize) << MAP_HUGE_SHIFT;
    return memfd_create("tern", flags);
}

/* Nothing is allocated for it. */
static bool tells_of_hole(int fd, off_t page_bytes)
{
    int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    struct inotify_event event;
    bool told;

    told = inotify >= 0 && !ftruncate(fd, page_bytes) && add_path(inotify, fd) >= 0 &&
           !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, page_bytes) &&
           read(inotify, &event, sizeof(event)) == sizeof(event);
    if (inotify >= 0)
        close(inotify);
    return told;
}

/* Files of a mounted file system are opened by a name, and told of. What lives where memfds do is told of as they are:
 * asked of one of our own. */
static bool is_told_of(int fd)
{
    struct stat found, own_found;
    struct statfs system;
    bool told;
    int own;

    if (fstat(fd, &found) || fstatfs(fd, &system))
        return false;
    own = own_memfd(&system);
    if (own < 0)
        return false;
    told = !fstat(own, &own_found) && (own_found.st_dev != found.st_dev || tells_of_hole(own, system.f_bsize));
    close(own);
    return told;
}

/* ---- the watch ---- */

int discard_watch_create(struct discard_watch **out, struct tern_error *error)
{
    struct discard_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return error_set(error, -ENOMEM, NULL, "out of memory for the watch over discards");
    watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch->fd < 0) {
        int r = error_set(error, -errno, "see fs.inotify.max_user_instances", "cannot watch the guest's RAM: %s",
                          strerror(errno));

        free(watch);
        return r;
    }
    *out = watch;
    return 0;
}

void discard_watch_destroy(struct discard_watch *watch)
{
    if (!watch)
        return;
    close(watch->fd);
    free(watch);
}

int discard_watch_add(struct discard_watch *watch, int fd, const char *name, struct tern_error *error)
{
    struct watched *file = &watch->files[watch->n_files];
    int descriptor;

    if (!is_told_of(fd))
        return error_set(error, -EOPNOTSUPP, "use memory-backend-file,share=on,mem-path=/dev/shm/NAME",
                         "Linux does not tell when pages of the guest's RAM '%s' are given back", name);
    if (watch->n_files == FILES_MAX)
        return error_set(error, -E2BIG, NULL, "the guest's RAM is in more than %u files", FILES_MAX);
    descriptor = add_path(watch->fd, fd);
    if (descriptor < 0)
        return error_set(error, -errno, "see fs.inotify.max_user_watches", "cannot watch the guest's RAM '%s': %s",
                         name, strerror(errno));
    for (uint32_t i = 0; i < watch->n_files; i++)
        if (watch->files[i].descriptor == descriptor)
            return 0;
    file->descriptor = descriptor;
    snprintf(file->name, sizeof(file->name), "%s", name);
    watch->n_files++;
    return 0;
}

const char *discard_watch_seen(struct discard_watch *watch)
{
    struct inotify_event event;

    while (!watch->seen && read(watch->fd, &event, sizeof(event)) == sizeof(event)) {
        if (event.mask & IN_Q_OVERFLOW)
            watch->seen = watch->files[0].name;
        for (uint32_t i = 0; i < watch->n_files && event.mask & IN_MODIFY; i++)
            if (watch->files[i].descriptor == event.wd)
                watch->seen = watch->files[i].name;
    }
    return watch->seen;
}
