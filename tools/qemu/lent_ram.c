/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/lent_ram.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/qemu/inject.h"
#include "transport/error.h"

#define CLOSE_TRIES 3

static void describe(const struct guest_ram *ram, struct lent_ram *out)
{
    *out = (struct lent_ram){.theirs = -1, .n_regions = ram->n_regions};
    for (uint32_t i = 0; i < ram->n_regions; i++) {
        const struct tern_region *region = &ram->regions[i];

        memcpy(out->regions[i].name, region->name, sizeof(region->name));
        out->regions[i].guest_address = region->guest_address;
        out->regions[i].length_bytes = region->length_bytes;
        out->regions[i].page_bytes = region->page_bytes;
        out->regions[i].address = ram->places[i].remote_address;
    }
}

static int enlist(const struct lent_ram *lent, int uffd, struct tern_error *error)
{
    struct uffdio_api api = {.api = UFFD_API};

    if (ioctl(uffd, UFFDIO_API, &api))
        return error_set(error, -errno, NULL, "no userfaultfd of this version: %s", strerror(errno));
    for (uint32_t i = 0; i < lent->n_regions; i++) {
        struct uffdio_register request = {.range = {lent->regions[i].address, lent->regions[i].length_bytes},
                                          .mode = UFFDIO_REGISTER_MODE_MISSING};

        if (ioctl(uffd, UFFDIO_REGISTER, &request))
            return error_set(error, -errno, NULL, "userfaultfd does not take the guest's RAM '%s': %s",
                             lent->regions[i].name, strerror(errno));
    }
    return 0;
}

int lent_ram_begin(const struct guest_ram *ram, struct lent_ram *out, int *uffd_out, struct tern_error *error)
{
    int uffd = -1, r;

    for (uint32_t i = 0; i < ram->n_regions; i++)
        if (ram->regions[i].page_bytes > TERN_PAGE_BYTES)
            return error_set(error, -EOPNOTSUPP, NULL, "the guest's RAM '%s' is in huge pages", ram->regions[i].name);
    describe(ram, out);
    r = inject_kept_userfaultfd(&ram->process, &uffd, &out->theirs, error);
    if (r)
        return r;
    r = enlist(out, uffd, error);
    if (!r) {
        *uffd_out = uffd;
        return 0;
    }
    lent_ram_end(&ram->process, out, uffd, NULL);
    close(uffd);
    return r;
}

int lent_ram_empty(const struct guest_ram *ram, struct tern_error *error)
{
    for (uint32_t i = 0; i < ram->n_regions; i++)
        if (fallocate(ram->places[i].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)ram->places[i].file_offset,
                      (off_t)ram->regions[i].length_bytes))
            return error_set(error, -errno, NULL, "cannot empty the guest's RAM '%s': %s", ram->regions[i].name,
                             strerror(errno));
    return 0;
}

static bool is_userfaultfd(int folder, const char *name)
{
    static const char kind[] = "anon_inode:[userfaultfd]";
    char target[sizeof(kind)];
    ssize_t n = readlinkat(folder, name, target, sizeof(target));

    return n == sizeof(kind) - 1 && !memcmp(target, kind, (size_t)n);
}

/* QEMU may have given the number to another file since: that one is left alone. */
static bool has_theirs(const struct process *process, int theirs)
{
    char name[32];

    snprintf(name, sizeof(name), "fd/%d", theirs);
    return is_userfaultfd(process->folder, name);
}

int lent_ram_end(const struct process *process, const struct lent_ram *lent, int uffd, struct tern_error *error)
{
    int r = -ETIMEDOUT;

    for (uint32_t i = 0; i < lent->n_regions; i++) {
        struct uffdio_range range = {lent->regions[i].address, lent->regions[i].length_bytes};

        ioctl(uffd, UFFDIO_UNREGISTER, &range); /* wakes whoever waits */
    }
    if (!has_theirs(process, lent->theirs))
        return 0;
    for (int i = 0; i < CLOSE_TRIES && r == -ETIMEDOUT; i++)
        r = inject_close(process, lent->theirs, error);
    if (r)
        error_prefix(error,
                     "all is there, but QEMU has kept a userfaultfd, and tern will think that a part is missing");
    return r;
}

/* QEMU itself has one only while it migrates. */
bool lent_ram_stands(const struct process *process)
{
    int folder = openat(process->folder, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = folder < 0 ? NULL : fdopendir(folder);
    struct dirent *entry;
    bool found = false;

    if (!list && folder >= 0)
        close(folder);
    while (list && !found && (entry = readdir(list)))
        found = is_userfaultfd(dirfd(list), entry->d_name);
    if (list)
        closedir(list);
    return found;
}

int lent_ram_refuse(const struct process *process, struct tern_error *error)
{
    if (!lent_ram_stands(process))
        return 0;
    return error_set(error, -EBUSY, "wait for it; if no tern process reads it any more, this QEMU can only be ended",
                     "a part of the guest's memory has not been read from its image");
}
