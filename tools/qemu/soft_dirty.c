/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/soft_dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/tern.h"
#include "transport/error.h"

/* ---- the bits ---- */

void soft_dirty_split(const uint64_t *entries, uint64_t n_pages, uint64_t *written, uint64_t *present)
{
    for (uint64_t from = 0; from < n_pages; from += 64) {
        uint64_t n = n_pages - from < 64 ? n_pages - from : 64, dirty = 0, there = 0;

        for (uint64_t i = 0; i < n; i++) {
            dirty |= (entries[from + i] >> 55 & 1) << i;
            there |= (entries[from + i] >> 63) << i;
        }
        written[from / 64] = dirty;
        present[from / 64] = there;
    }
}

void soft_dirty_merge(const uint64_t *written, const uint64_t *present, uint64_t *before, uint64_t *dirty,
                      uint64_t n_words)
{
    for (uint64_t i = 0; i < n_words; i++) {
        dirty[i] |= written[i] | (before[i] & ~present[i]);
        before[i] = present[i];
    }
}

/* Linux 5.8 counts by kind; before, all kinds are one. */
uint64_t soft_dirty_reclaims(const char *vmstat)
{
    static const char *const by_kind[] = {"pgscan_anon ", "pswpout "}, *const all[] = {"pgscan_kswapd ",
                                                                                       "pgscan_direct ", "pswpout "};
    bool knows_kinds = strstr(vmstat, "\npgscan_anon ");
    const char *const *names = knows_kinds ? by_kind : all;
    size_t n = knows_kinds ? 2 : 3;
    uint64_t sum = 0;

    for (const char *line = vmstat; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        for (size_t i = 0; i < n; i++)
            if (!strncmp(line, names[i], strlen(names[i])))
                sum += strtoull(line + strlen(names[i]), NULL, 10);
    return sum;
}

/* ---- does this kernel do it ---- */

static bool is_written(int pagemap, const void *page)
{
    uint64_t entry = 0;

    return pread(pagemap, &entry, sizeof(entry), (off_t)((uintptr_t)page / TERN_PAGE_BYTES * sizeof(entry))) ==
               sizeof(entry) &&
           (entry & SOFT_DIRTY_WRITTEN);
}

/* A page that was written before, and one that was only read, both written again: in memory like a guest's. */
static bool sees_writes(int pagemap, int clear, volatile uint8_t *pages)
{
    volatile uint8_t *other = pages + TERN_PAGE_BYTES;

    *pages = 1;
    if (pwrite(clear, "4", 1, 0) != 1 || is_written(pagemap, (const void *)pages))
        return false;
    (void)*other;
    if (is_written(pagemap, (const void *)other))
        return false;
    *pages = 2;
    *other = 2;
    return is_written(pagemap, (const void *)pages) && is_written(pagemap, (const void *)other);
}

bool soft_dirty_works(void)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int clear = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    void *pages = mmap(NULL, 2 * TERN_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool works = pagemap >= 0 && clear >= 0 && pages != MAP_FAILED && sees_writes(pagemap, clear, pages);

    if (pages != MAP_FAILED)
        munmap(pages, 2 * TERN_PAGE_BYTES);
    if (pagemap >= 0)
        close(pagemap);
    if (clear >= 0)
        close(clear);
    return works;
}

/* ---- what is in the way ---- */

bool soft_dirty_may_be_huge(const char *smaps, uint64_t address)
{
    bool here = false;

    for (const char *line = smaps; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        uint64_t start, end;

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
            here = start <= address && address < end;
        else if (here && !strncmp(line, "THPeligible:", 12))
            return strtoul(line + 12, NULL, 10) > 0;
        else if (here && !strncmp(line, "ShmemPmdMapped:", 15) && strtoul(line + 15, NULL, 10) > 0)
            return true;
    }
    return false;
}

int soft_dirty_refuse(const struct soft_dirty_facts *facts, const struct tern_region *regions, uint32_t n_regions,
                      struct tern_error *error)
{
    for (uint32_t i = 0; i < n_regions; i++)
        if (regions[i].page_bytes > TERN_PAGE_BYTES)
            return error_set(error, -ENOTSUP, "put it in /dev/shm or in a memfd of normal pages",
                             "the guest's RAM '%s' is in huge pages, which kernels before Linux 6.7 do not track",
                             regions[i].name);
    if (facts->huge_region < n_regions)
        return error_set(error, -ENOTSUP,
                         "write never to /sys/kernel/mm/transparent_hugepage/shmem_enabled, or mount "
                         "without huge=, before QEMU starts",
                         "the guest's RAM '%s' may get transparent huge pages, which kernels before Linux 6.7 do not "
                         "track well",
                         regions[facts->huge_region].name);
    if (facts->kernel_writer[0])
        return error_set(
            error, -ENOTSUP, "start QEMU without it (vhost=off), or take Linux 6.7",
            "QEMU has %s open: the kernel writes the guest's memory, which cannot be held still on kernels "
            "before Linux 6.7",
            facts->kernel_writer);
    if (facts->has_io_uring || facts->has_linux_aio)
        return error_set(error, -ENOTSUP, "start QEMU with aio=threads for its disks, or take Linux 6.7",
                         "QEMU has a disk with %s: the kernel writes the guest's memory, which cannot be held still on "
                         "kernels before Linux 6.7",
                         facts->has_io_uring ? "aio=io_uring" : "aio=native");
    return 0;
}
