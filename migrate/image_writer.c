/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/image_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/error.h"

#define SUFFIX ".partial"

static int cannot(const char *what, const char *path, struct tern_error *error)
{
    int code = -errno;
    const char *hint = NULL;

    if (code == -ENOSPC || code == -EDQUOT)
        hint = "free space there, or name a file on another disk";
    if (code == -EFBIG)
        hint = "raise the limit of file sizes (ulimit -f), or name a file on another disk";
    return error_set(error, code, hint, "cannot %s %s: %s", what, path, strerror(-code));
}

static int write_all(int fd, const void *bytes, uint64_t length_bytes, uint64_t offset_bytes)
{
    const uint8_t *at = bytes;

    while (length_bytes) {
        ssize_t n = pwrite(fd, at, length_bytes, (off_t)offset_bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n < 0 ? errno : EIO;
            return -1;
        }
        at += n;
        offset_bytes += (uint64_t)n;
        length_bytes -= (uint64_t)n;
    }
    return 0;
}

/* ---- life ---- */

/* Whoever mistypes the name of a disk does not lose it. */
static int check_target(struct image_writer *writer, struct tern_error *error)
{
    uint8_t bytes[IMAGE_ALIGN] = {0};
    struct stat stat;
    ssize_t n = -1;

    if (lstat(writer->path, &stat))
        return errno == ENOENT ? 0 : cannot("look at", writer->path, error);
    if (S_ISREG(stat.st_mode))
        writer->older_fd = open(writer->path, O_RDONLY | O_CLOEXEC);
    if (writer->older_fd >= 0)
        n = pread(writer->older_fd, bytes, sizeof(bytes), 0);
    if (!n || (n >= 8 && image_is_one(bytes)))
        return 0;
    return error_set(error, -EEXIST, "name another file", "%s is there already and is no image of tern's",
                     writer->path);
}

static int open_folder(struct image_writer *writer, struct tern_error *error)
{
    const char *slash = strrchr(writer->path, '/');
    char folder[sizeof(writer->path)] = ".";

    if (slash)
        snprintf(folder, sizeof(folder), "%.*s", slash == writer->path ? 1 : (int)(slash - writer->path), writer->path);
    writer->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (writer->folder_fd < 0)
        return cannot("open the folder", folder, error);
    if (fsync(writer->folder_fd)) /* rather now than when the guest stands still */
        return error_set(error, -errno, "name a file on another disk", "cannot sync the folder %s: %s", folder,
                         strerror(errno));
    return 0;
}

/* Left by a suspend that was cut short: nothing where the head would be, or an image (an older one, exchanged). */
static bool is_left_over(int fd)
{
    static const uint8_t zeros[IMAGE_ALIGN];
    uint8_t bytes[IMAGE_ALIGN] = {0};
    ssize_t n = pread(fd, bytes, sizeof(bytes), 0);

    return n >= 0 && (!memcmp(bytes, zeros, sizeof(zeros)) || image_is_one(bytes));
}

/* Without unlinking it. */
static void leave_partial(struct image_writer *writer)
{
    close(writer->fd);
    writer->fd = -1;
}

/* The lock goes with its owner, so a file without one is nobody's. */
static int open_partial(struct image_writer *writer, struct tern_error *error)
{
    struct stat ours, there;

    writer->fd = open(writer->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (writer->fd < 0)
        return cannot("make", writer->partial, error);
    if (flock(writer->fd, LOCK_EX | LOCK_NB) || fstat(writer->fd, &ours) || stat(writer->partial, &there) ||
        ours.st_ino != there.st_ino || ours.st_dev != there.st_dev) {
        leave_partial(writer);
        return error_set(error, -EBUSY, "wait for its end, or name another file",
                         "another process is writing the image %s", writer->path);
    }
    if (!is_left_over(writer->fd)) {
        leave_partial(writer);
        return error_set(error, -EEXIST, "name another file", "%s is there already and is no image of tern's",
                         writer->partial);
    }
    return ftruncate(writer->fd, 0) ? cannot("empty", writer->partial, error) : 0;
}

/* Some file systems take the flag and fail the first write: so one is made. */
static void open_bulk(struct image_writer *writer)
{
    void *page = aligned_alloc(IMAGE_ALIGN, IMAGE_ALIGN);
    char name[64];
    int fd;

    writer->bulk_fd = writer->fd;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", writer->fd);
    fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (page)
        memset(page, 0, IMAGE_ALIGN);
    if (fd >= 0 && page && pwrite(fd, page, IMAGE_ALIGN, 0) == IMAGE_ALIGN) {
        writer->bulk_fd = fd;
        writer->is_direct = true;
    } else if (fd >= 0) {
        close(fd);
    }
    free(page);
}

int image_writer_open(const char *path, struct image_writer *writer, struct tern_error *error)
{
    int r;

    *writer = IMAGE_WRITER_CLOSED;
    if (!*path || strlen(path) >= sizeof(writer->path))
        return error_set(error, -ENAMETOOLONG, NULL, "the name of the image is empty or too long");
    snprintf(writer->path, sizeof(writer->path), "%s", path);
    snprintf(writer->partial, sizeof(writer->partial), "%s" SUFFIX, path);
    r = check_target(writer, error);
    if (!r)
        r = open_folder(writer, error);
    if (!r)
        r = open_partial(writer, error);
    if (!r)
        open_bulk(writer);
    return r;
}

void image_writer_close(struct image_writer *writer)
{
    if (writer->fd >= 0 && *writer->partial)
        unlink(writer->partial);
    if (writer->bulk_fd >= 0 && writer->bulk_fd != writer->fd)
        close(writer->bulk_fd);
    if (writer->fd >= 0)
        close(writer->fd);
    if (writer->folder_fd >= 0)
        close(writer->folder_fd);
    if (writer->older_fd >= 0)
        close(writer->older_fd);
    writer->fd = writer->bulk_fd = writer->folder_fd = writer->older_fd = -1;
}

/* ---- writing ---- */

int image_writer_reserve(struct image_writer *writer, uint64_t file_bytes, struct tern_error *error)
{
    return ftruncate(writer->fd, (off_t)file_bytes) ? cannot("extend", writer->partial, error) : 0;
}

int image_writer_put(struct image_writer *writer, const struct image_section *section, const void *bytes,
                     struct tern_error *error)
{
    int r = write_all(writer->fd, bytes, section->length_bytes, section->offset_bytes);

    return r ? cannot("write", writer->partial, error) : 0;
}

static int sync_data(const struct image_writer *writer, struct tern_error *error)
{
    return fdatasync(writer->fd) ? cannot("sync", writer->partial, error) : 0;
}

int image_writer_sync(struct image_writer *writer, uint64_t file_bytes, const _Atomic bool *cancelled,
                      struct tern_error *error)
{
    const unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

    for (uint64_t at = 0; at < file_bytes && !writer->is_direct; at += IMAGE_SYNC_BYTES) {
        if (atomic_load(cancelled))
            return error_set(error, -ECANCELED, NULL, "the suspend was cancelled");
        if (sync_file_range(writer->fd, (off_t)at, IMAGE_SYNC_BYTES, all) && errno != ESPIPE && errno != ENOSYS)
            return cannot("sync", writer->partial, error);
    }
    return sync_data(writer, error);
}

/* The older image becomes the partial one, with a lock that keeps others off it. false: that cannot be had here. */
static bool exchange(struct image_writer *writer)
{
    return writer->older_fd >= 0 && !flock(writer->older_fd, LOCK_EX | LOCK_NB) &&
           !renameat2(AT_FDCWD, writer->partial, AT_FDCWD, writer->path, RENAME_EXCHANGE);
}

/* The new one would be there or not after a power cut, while the guest runs on: it is none any more, wherever it is. */
static void take_back(const struct image_writer *writer, bool exchanged)
{
    static const uint8_t zeros[IMAGE_HEAD_BYTES];

    if (!write_all(writer->fd, zeros, sizeof(zeros), 0))
        fdatasync(writer->fd);
    if (exchanged)
        rename(writer->partial, writer->path);
    else
        unlink(writer->path);
}

/* Synced, it gets its name. */
static int put_in_place(struct image_writer *writer, struct tern_error *error)
{
    bool exchanged = exchange(writer);
    int r = 0;

    if (!exchanged && rename(writer->partial, writer->path))
        return cannot("rename into place", writer->partial, error);
    if (fsync(writer->folder_fd)) {
        r = cannot("sync the folder of", writer->path, error);
        take_back(writer, exchanged);
    } else if (exchanged) {
        unlink(writer->partial);
    }
    *writer->partial = 0;
    return r;
}

int image_writer_settle(struct image_writer *writer, uint64_t file_bytes, struct tern_error *error)
{
    static const uint8_t zeros[IMAGE_HEAD_BYTES]; /* so that the head has its blocks */
    int r = image_writer_reserve(writer, file_bytes, error);

    if (!r && write_all(writer->fd, zeros, sizeof(zeros), 0))
        r = cannot("write", writer->partial, error);
    return r ? r : sync_data(writer, error);
}

int image_writer_finish(struct image_writer *writer, const struct image_head *head, struct tern_error *error)
{
    uint8_t bytes[IMAGE_HEAD_BYTES];

    image_put_head(head, bytes);
    if (write_all(writer->fd, bytes, sizeof(bytes), 0))
        return cannot("write", writer->partial, error);
    if (fsync(writer->fd))
        return cannot("sync", writer->partial, error);
    return put_in_place(writer, error);
}
