/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/lent_ram.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
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
    struct tern_error late = {0};
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
    if (lent_ram_end(&ram->process, out, uffd, &late) && error)
        snprintf(error->hint, sizeof(error->hint), "%.*s", (int)sizeof(error->hint) - 1, late.message);
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
        error_prefix(error, "QEMU has kept a userfaultfd, which does no harm");
    return r;
}

/* returns  1, 0, or -errno */
static int has_userfaultfd(const struct process *process)
{
    int folder = openat(process->folder, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = folder < 0 ? -errno : 0;
    DIR *list = folder < 0 ? NULL : fdopendir(folder);
    struct dirent *entry;

    if (!list && folder >= 0) {
        r = -ENOMEM;
        close(folder);
    }
    while (list && !r && (entry = readdir(list)))
        r = is_userfaultfd(dirfd(list), entry->d_name);
    if (list)
        closedir(list);
    return r;
}

bool lent_ram_is_registered(const char *smaps)
{
    for (const char *line = smaps; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *flag = strncmp(line, "VmFlags:", 8) ? NULL : strstr(line, " um"), *end = strchrnul(line, '\n');

        if (flag && flag < end && (flag[3] == ' ' || flag[3] == '\n' || !flag[3]))
            return true;
    }
    return false;
}

/* QEMU itself has one only while it migrates. smaps takes the kernel its time: only where there is one. */
int lent_ram_stands(const struct process *process, struct tern_error *error)
{
    int r = has_userfaultfd(process);
    char *smaps;

    if (r < 0)
        return error_set(error, r, "run tern as root, or as QEMU's user",
                         "cannot see whether all memory of process %d has been read from its image: %s",
                         (int)process->pid, strerror(-r));
    if (!r)
        return 0;
    r = process_read(process, "smaps", &smaps, error);
    if (r)
        return r;
    r = lent_ram_is_registered(smaps);
    free(smaps);
    return r;
}

int lent_ram_refuse(const struct process *process, struct tern_error *error)
{
    int r = lent_ram_stands(process, error);

    if (r <= 0)
        return r;
    return error_set(error, -EBUSY, "wait for it; if no tern process reads it any more, this QEMU can only be ended",
                     "a part of the guest's memory has not been read from its image");
}
