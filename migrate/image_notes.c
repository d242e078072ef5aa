/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/image_notes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/error.h"

int image_notes_create(uint64_t n_groups, int *fd_out, struct tern_error *error)
{
    int fd = memfd_create("tern notes", MFD_CLOEXEC), r = fd < 0 ? -errno : 0;

    if (!r)
        r = -posix_fallocate(fd, 0, (off_t)n_groups); /* no write to it is to find the host out of memory */
    if (!r) {
        *fd_out = fd;
        return 0;
    }
    if (fd >= 0)
        close(fd);
    return error_set(error, r, NULL, "no memory for notes of what is read: %s", strerror(-r));
}

int image_notes_map(int fd, uint64_t n_groups, _Atomic uint8_t **out, struct tern_error *error)
{
    struct stat found;
    void *notes;

    if (fd >= 0 && (fstat(fd, &found) || (uint64_t)found.st_size < n_groups))
        return error_set(error, -EINVAL, NULL, "the notes of what was read are not of this image");
    notes = mmap(NULL, n_groups, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (notes == MAP_FAILED)
        return error_set(error, -errno, NULL, "cannot map the notes of what is read: %s", strerror(errno));
    *out = notes;
    return 0;
}
