/* SPDX-License-Identifier: BSD-2-Clause */
/* QEMU says which memory the guest sees where (ram_layout.c) and, by gpa2hva, at which address of its own;
 * /proc/PID/maps says which file is mapped there. Two backends may have files of the same name and length: only the
 * address tells. */
#include "tools/qemu/guest_ram.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "transport/error.h"

/* ---- asking QEMU ---- */

static int ask_layout(struct qmp *qmp, struct ram_layout *out, struct tern_error *error)
{
    struct json_object *memdevs = NULL, *summary = NULL;
    char *mtree = NULL;
    int r = qmp_command(qmp, "query-memdev", NULL, QMP_TIMEOUT_MS, &memdevs, error);

    if (!r)
        r = qmp_command(qmp, "query-memory-size-summary", NULL, QMP_TIMEOUT_MS, &summary, error);
    if (!r)
        r = qmp_human(qmp, "info mtree -f", QMP_TIMEOUT_MS, &mtree, error);
    if (!r)
        r = ram_layout_decide(memdevs, summary, mtree, out, error);
    json_object_put(memdevs);
    json_object_put(summary);
    free(mtree);
    return r;
}

static int ask_address(struct qmp *qmp, const struct ram_layout *layout, const struct ram_part *part,
                       uint64_t *address_out, struct tern_error *error)
{
    const char *id = layout->backends[part->backend].id;
    char line[64], *answer;
    int r;

    snprintf(line, sizeof(line), "gpa2hva 0x%" PRIx64, part->visible_address);
    r = qmp_human(qmp, line, QMP_TIMEOUT_MS, &answer, error);
    if (r)
        return r;
    if (ram_host_address(answer, id, address_out))
        *address_out -= part->visible_address - part->guest_address;
    else
        r = error_set(error, -EAGAIN, "try again when the guest has booted", "QEMU does not say where it has '%s': %s",
                      id, answer);
    free(answer);
    return r;
}

/* ---- opening the files ---- */

static bool is_file(int fd, const struct mapping *mapping)
{
    struct stat found;

    return !fstat(fd, &found) && found.st_ino == mapping->inode && major(found.st_dev) == mapping->device_major &&
           minor(found.st_dev) == mapping->device_minor;
}

/* Among QEMU's own descriptors: needs less privilege than map_files. */
static int open_descriptor(const struct process *process, const struct mapping *mapping)
{
    int folder = openat(process->folder, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
    DIR *list = folder < 0 ? NULL : fdopendir(folder);
    struct dirent *entry;

    if (!list) {
        if (folder >= 0)
            close(folder);
        return -1;
    }
    while (fd < 0 && (entry = readdir(list))) {
        struct stat found;

        if (fstatat(folder, entry->d_name, &found, 0) || found.st_ino != mapping->inode || !S_ISREG(found.st_mode))
            continue;
        fd = openat(folder, entry->d_name, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && !is_file(fd, mapping)) {
            close(fd);
            fd = -1;
        }
    }
    closedir(list);
    return fd;
}

static int open_mapping(const struct process *process, const struct mapping *mapping, const char *name, int *fd_out,
                        struct tern_error *error)
{
    char path[64];
    int fd, r;

    snprintf(path, sizeof(path), "map_files/%" PRIx64 "-%" PRIx64, mapping->start, mapping->end);
    fd = openat(process->folder, path, O_RDWR | O_CLOEXEC);
    r = fd < 0 ? -errno : 0;
    if (fd >= 0 && !is_file(fd, mapping)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        fd = open_descriptor(process, mapping);
    if (fd < 0)
        return error_set(error, r ? r : -ENOENT, "run tern as root",
                         "cannot open the file behind the guest's RAM '%s': %s", name, strerror(r ? -r : ENOENT));
    *fd_out = fd;
    return 0;
}

/* Only memory that never meets a disk can be write-protected by userfaultfd. */
static int find_page_bytes(int fd, const char *name, const char *file, uint64_t *page_bytes_out,
                           struct tern_error *error)
{
    struct statfs found;

    if (fstatfs(fd, &found))
        return error_set(error, -errno, NULL, "cannot examine the file behind the guest's RAM '%s': %s", name,
                         strerror(errno));
    if (found.f_type == HUGETLBFS_MAGIC)
        *page_bytes_out = (uint64_t)found.f_bsize;
    else if (found.f_type == TMPFS_MAGIC)
        *page_bytes_out = TERN_PAGE_BYTES;
    else
        return error_set(error, -ENOTSUP, "put it in /dev/shm, in hugetlbfs or in a memfd",
                         "the guest's RAM '%s' is in %s, which is not a file in memory", name, file);
    return 0;
}

static int map_region(struct tern_region *region, const struct guest_ram_place *place, struct tern_error *error)
{
    void *base;

    if (region->length_bytes % region->page_bytes || place->file_offset % region->page_bytes)
        return error_set(error, -ENOTSUP, "take smaller pages, or another max-ram-below-4g",
                         "the guest's RAM '%s' is cut in the middle of a page of %" PRIu64 " KiB", region->name,
                         region->page_bytes >> 10);
    base = mmap(NULL, region->length_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, place->fd,
                (off_t)place->file_offset);
    if (base == MAP_FAILED)
        return error_set(error, -errno, NULL, "cannot map the guest's RAM '%s': %s", region->name, strerror(errno));
    region->base = base;
    region->file_fd = place->fd;
    region->file_offset_bytes = place->file_offset;
    return 0;
}

/* ---- one part ---- */

static int refuse_mapping(int code, const struct process *process, const struct ram_part *part, uint64_t address,
                          struct tern_error *error)
{
    static const char hint[] = "use -object memory-backend-file,share=on (or memory-backend-memfd)";

    if (code == -ENOTSUP)
        return error_set(error, code, hint, "the guest's RAM '%s' is not shared memory", part->name);
    if (code == -ENOENT)
        return error_set(error, -ENOTSUP, hint, "the guest's RAM '%s' is in no file", part->name);
    if (code == -ENXIO)
        return error_set(error, -ENOTSUP, NULL, "the guest's RAM '%s' is in several files", part->name);
    return error_set(error, -ESRCH, "give tern QEMU's own socket, without a proxy",
                     "process %d (%s) at the QMP socket's other end does not have the guest's RAM '%s' at 0x%" PRIx64,
                     (int)process->pid, process->name, part->name, address);
}

static int open_part(struct guest_ram *ram, struct qmp *qmp, const char *maps, uint32_t i, struct tern_error *error)
{
    const struct ram_part *part = &ram->layout.parts[i];
    struct guest_ram_place *place = &ram->places[i];
    struct tern_region *region = &ram->regions[i];
    struct mapping mapping;
    int r = ask_address(qmp, &ram->layout, part, &place->remote_address, error);

    if (r)
        return r;
    r = mapping_cover(maps, place->remote_address, part->length_bytes, &mapping);
    if (r)
        return refuse_mapping(r, &ram->process, part, place->remote_address, error);
    memcpy(place->backend, ram->layout.backends[part->backend].id, sizeof(place->backend));
    snprintf(place->file, sizeof(place->file), "%.*s", (int)mapping.path_length, mapping.path);
    place->file_offset = mapping.offset_bytes + (place->remote_address - mapping.start);
    region->guest_address = part->guest_address;
    region->length_bytes = part->length_bytes;
    memcpy(region->name, part->name, sizeof(region->name));
    r = open_mapping(&ram->process, &mapping, part->name, &place->fd, error);
    if (!r)
        r = find_page_bytes(place->fd, part->name, place->file, &region->page_bytes, error);
    return r ? r : map_region(region, place, error);
}

/* ---- all of it ---- */

int guest_ram_open(struct qmp *qmp, struct guest_ram **out, struct tern_error *error)
{
    struct guest_ram *ram = calloc(1, sizeof(*ram));
    char *maps = NULL;
    int r;

    if (!ram)
        return error_set(error, -ENOMEM, NULL, "out of memory for the guest's layout");
    ram->process.folder = ram->process.pidfd = -1;
    for (uint32_t i = 0; i < RAM_PARTS_MAX; i++)
        ram->places[i].fd = -1;
    r = process_of_peer(qmp_fd(qmp), &ram->process, error);
    if (!r)
        r = ask_layout(qmp, &ram->layout, error);
    if (!r)
        r = process_read(&ram->process, "maps", &maps, error);
    for (; !r && ram->n_regions < ram->layout.n_parts; ram->n_regions++)
        r = open_part(ram, qmp, maps, ram->n_regions, error);
    free(maps);
    if (r) {
        guest_ram_close(ram);
        return r;
    }
    *out = ram;
    return 0;
}

void guest_ram_close(struct guest_ram *ram)
{
    if (!ram)
        return;
    for (uint32_t i = 0; i < RAM_PARTS_MAX; i++) {
        if (ram->regions[i].base)
            munmap(ram->regions[i].base, ram->regions[i].length_bytes);
        if (ram->places[i].fd >= 0)
            close(ram->places[i].fd);
    }
    process_close(&ram->process);
    free(ram);
}

int guest_ram_hide(const struct guest_ram *ram, struct tern_error *error)
{
    for (uint32_t i = 0; i < ram->n_regions; i++)
        if (mmap(ram->regions[i].base, ram->regions[i].length_bytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
            return error_set(error, -errno, NULL, "cannot unmap the guest's RAM '%s': %s", ram->regions[i].name,
                             strerror(errno));
    return 0;
}

int guest_ram_show(const struct guest_ram *ram, struct tern_error *error)
{
    for (uint32_t i = 0; i < ram->n_regions; i++)
        if (mmap(ram->regions[i].base, ram->regions[i].length_bytes, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, ram->places[i].fd,
                 (off_t)ram->places[i].file_offset) == MAP_FAILED)
            return error_set(error, -errno, NULL, "cannot map the guest's RAM '%s': %s", ram->regions[i].name,
                             strerror(errno));
    return 0;
}

int guest_ram_check(const struct guest_ram *ram, struct qmp *qmp, struct tern_error *error)
{
    struct ram_layout *now = malloc(sizeof(*now));
    int r;

    if (!now)
        return error_set(error, -ENOMEM, NULL, "out of memory for the guest's layout");
    r = ask_layout(qmp, now, error);
    if (!r && !ram_layout_equal(&ram->layout, now, error))
        r = -ESTALE;
    free(now);
    return r;
}
