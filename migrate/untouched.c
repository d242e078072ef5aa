/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/untouched.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "migrate/tern.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_UFFD_WP (1ull << 57)
#define PAGEMAP_FRAME   ((1ull << 55) - 1)
#define WP_MARKER_FRAME (31u | 1u << 5) /* swap type SWP_PTE_MARKER, offset PTE_MARKER_UFFD_WP: the same since 5.19 */
#define BLOCK_ENTRIES   1024u

struct piece {
    uint64_t start, end, offset; /* addresses; offset of start in the file behind it */
    bool shared, from_file;
};

static void all_touched(uint64_t base, uint64_t from, uint64_t to, uint64_t *touched)
{
    bitmap_set_range(touched, (from - base) / TERN_PAGE_BYTES, (to - from) / TERN_PAGE_BYTES);
}

/* A userfaultfd that write-protects a page which was never there leaves a marker, which looks like a page in swap. Its
 * kind is shown to the privileged only; for others it counts as touched. */
static bool is_touched(uint64_t entry)
{
    bool is_marker = (entry & PAGEMAP_UFFD_WP) && (entry & PAGEMAP_FRAME) == WP_MARKER_FRAME;

    return (entry & PAGEMAP_PRESENT) || ((entry & PAGEMAP_SWAPPED) && !is_marker);
}

/* Private anonymous memory: what is neither present nor swapped out was never written. */
static void touched_by_pagemap(int pagemap, uint64_t base, uint64_t from, uint64_t to, uint64_t *touched)
{
    uint64_t entries[BLOCK_ENTRIES];

    while (from < to) {
        uint64_t n = (to - from) / TERN_PAGE_BYTES;
        ssize_t got;

        if (n > BLOCK_ENTRIES)
            n = BLOCK_ENTRIES;
        got = pread(pagemap, entries, n * 8, (off_t)(from / TERN_PAGE_BYTES * 8));
        if (got != (ssize_t)(n * 8)) {
            all_touched(base, from, to, touched);
            return;
        }
        for (uint64_t i = 0; i < n; i++)
            if (is_touched(entries[i]))
                bitmap_set_range(touched, (from - base) / TERN_PAGE_BYTES + i, 1);
        from += n * TERN_PAGE_BYTES;
    }
}

/* Shared memory: other mappings of the file may have written what this one never saw, so ask the file. */
static void touched_by_file(const struct piece *piece, uint64_t base, uint64_t from, uint64_t to, uint64_t *touched)
{
    char path[64];
    off_t at = (off_t)(piece->offset + (from - piece->start)), end = at + (off_t)(to - from);
    off_t zero = at;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIx64 "-%" PRIx64, piece->start, piece->end);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        all_touched(base, from, to, touched);
        return;
    }
    while (at < end) {
        off_t data = lseek(fd, at, SEEK_DATA), hole;

        if (data < 0 || data >= end)
            break; /* ENXIO: no data from here on */
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0 || hole > end)
            hole = end;
        data &= ~(off_t)(TERN_PAGE_BYTES - 1);
        hole = (hole + TERN_PAGE_BYTES - 1) & ~(off_t)(TERN_PAGE_BYTES - 1);
        all_touched(base, from + (uint64_t)(data - zero), from + (uint64_t)(hole - zero), touched);
        at = hole;
    }
    close(fd);
}

static bool parse_piece(const char *line, struct piece *piece)
{
    unsigned long long inode;
    char permissions[8];

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %llu", &piece->start, &piece->end, permissions,
               &piece->offset, &inode) != 5)
        return false;
    piece->shared = permissions[3] == 's';
    piece->from_file = inode != 0;
    return true;
}

int untouched_pages(const void *base, uint64_t length_bytes, uint64_t *touched, struct tern_error *error)
{
    uint64_t start = (uintptr_t)base, end = start + length_bytes, at = start;
    FILE *maps = fopen("/proc/self/maps", "re");
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    char line[512];

    (void)error;
    while (maps && pagemap >= 0 && at < end && fgets(line, sizeof(line), maps)) {
        struct piece piece;
        uint64_t to;

        if (!parse_piece(line, &piece) || piece.end <= at)
            continue;
        if (piece.start > at)
            break;
        to = piece.end < end ? piece.end : end;
        if (piece.shared)
            touched_by_file(&piece, start, at, to, touched);
        else if (piece.from_file && !strstr(line, "/anon_hugepage"))
            all_touched(start, at, to, touched); /* a private mapping shows the file's data where it was not written */
        else
            touched_by_pagemap(pagemap, start, at, to, touched);
        at = to;
    }
    if (at < end)
        all_touched(start, at, end, touched);
    if (maps)
        fclose(maps);
    if (pagemap >= 0)
        close(pagemap);
    return 0;
}
