/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading what soft_dirty_refuse decides by, from /proc/PID. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/qemu/soft_dirty.h"
#include "transport/error.h"

static int read_descriptors(const struct process *process, struct soft_dirty_facts *out, struct tern_error *error)
{
    int folder = openat(process->folder, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = folder < 0 ? NULL : fdopendir(folder);
    struct dirent *entry;

    if (!list) {
        int r = -errno;

        if (folder >= 0)
            close(folder);
        return error_set(error, r, "run tern as root, or as QEMU's user", "cannot see what process %d has open: %s",
                         (int)process->pid, strerror(-r));
    }
    while ((entry = readdir(list))) {
        char target[64];
        ssize_t n = readlinkat(folder, entry->d_name, target, sizeof(target) - 1);

        if (n < 0)
            continue;
        target[n] = 0;
        if (!strncmp(target, "/dev/vhost", 10))
            memcpy(out->kernel_writer, target, (size_t)n + 1);
        out->has_io_uring |= !strcmp(target, "anon_inode:[io_uring]");
    }
    closedir(list);
    return 0;
}

/* A context of Linux AIO is a mapping: "/[aio] (deleted)". */
static int read_mappings(const struct process *process, struct soft_dirty_facts *out, struct tern_error *error)
{
    struct mapping mapping;
    const char *at;
    char *maps;
    int r = process_read(process, "maps", &maps, error);

    if (r)
        return r;
    for (at = maps; mapping_next(&at, &mapping);)
        out->has_linux_aio |= mapping.path_length >= 6 && !strncmp(mapping.path, "/[aio]", 6);
    free(maps);
    return 0;
}

int soft_dirty_facts_read(const struct guest_ram *ram, struct soft_dirty_facts *out, struct tern_error *error)
{
    char *smaps;
    int r;

    *out = (struct soft_dirty_facts){.huge_region = UINT32_MAX};
    r = read_descriptors(&ram->process, out, error);
    if (!r)
        r = read_mappings(&ram->process, out, error);
    if (!r)
        r = process_read(&ram->process, "smaps", &smaps, error);
    if (r)
        return r;
    for (uint32_t i = ram->n_regions; i > 0; i--)
        if (soft_dirty_may_be_huge(smaps, ram->places[i - 1].remote_address))
            out->huge_region = i - 1;
    free(smaps);
    return 0;
}
