/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/untouched.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "migrate/dirty/uffd_abi.h"
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

/* The first page of [from, to) that is present or in swap (or marked); to if there is none. errors -errno: before
 * Linux 6.7 */
static int64_t first_in_pagemap(int pagemap, uint64_t from, uint64_t to)
{
    struct page_region found;
    struct pm_scan_arg arg = {
        .size = sizeof(arg),
        .start = from,
        .end = to,
        .vec = (uintptr_t)&found,
        .vec_len = 1,
        .max_pages = 1,
        .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        .return_mask = PAGE_IS_PRESENT,
    };
    int n = ioctl(pagemap, PAGEMAP_SCAN, &arg);

    return n < 0 ? -errno : (int64_t)(n ? found.start : to);
}

/* Private anonymous memory: what is neither present nor swapped out was never written. */
static void touched_by_pagemap(int pagemap, uint64_t base, uint64_t from, uint64_t to, uint64_t *touched)
{
    uint64_t entries[BLOCK_ENTRIES];

    while (from < to) {
        int64_t first = first_in_pagemap(pagemap, from, to);
        uint64_t n;
        ssize_t got;

        if (first > 0)
            from = (uint64_t)first;
        n = (to - from) / TERN_PAGE_BYTES;
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

static int open_file(const struct piece *piece)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIx64 "-%" PRIx64, piece->start, piece->end);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Shared memory: other mappings of the file may have written what this one never saw, so ask the file. */
static void touched_by_file(const struct piece *piece, uint64_t base, uint64_t from, uint64_t to, uint64_t *touched)
{
    off_t at = (off_t)(piece->offset + (from - piece->start)), end = at + (off_t)(to - from);
    off_t zero = at;
    int fd = open_file(piece);

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

/* What is to be known of the memory: pages or units, into their bitmap. */
struct question {
    uint64_t start;   /* of the memory */
    uint64_t *bitmap; /* of pages or of units */
    bool units;
};

static void all_of(const struct question *question, uint64_t from, uint64_t to)
{
    uint64_t unit_bytes = question->units ? UNTOUCHED_UNIT_BYTES : TERN_PAGE_BYTES;
    uint64_t first = (from - question->start) / unit_bytes;

    bitmap_set_range(question->bitmap, first, (to - question->start + unit_bytes - 1) / unit_bytes - first);
}

/* The address of the first data of [from, to); to: there is none. */
static uint64_t first_data(const struct piece *piece, int fd, int pagemap, uint64_t from, uint64_t to)
{
    int64_t at;

    if (!piece->shared) {
        at = first_in_pagemap(pagemap, from, to);
        return at < 0 ? from : (uint64_t)at;
    }
    at = lseek(fd, (off_t)(piece->offset + (from - piece->start)), SEEK_DATA);
    if (at < 0)
        return errno == ENXIO ? to : from;
    return piece->start + ((uint64_t)at - piece->offset) < to ? piece->start + ((uint64_t)at - piece->offset) : to;
}

static void touched_units(const struct question *question, const struct piece *piece, int pagemap, uint64_t from,
                          uint64_t to)
{
    int fd = piece->shared ? open_file(piece) : -1;

    if (piece->shared && fd < 0) {
        all_of(question, from, to);
        return;
    }
    while (from < to) {
        uint64_t unit = (from - question->start) / UNTOUCHED_UNIT_BYTES;

        if (!bitmap_test(question->bitmap, unit)) {
            from = first_data(piece, fd, pagemap, from, to);
            if (from >= to)
                break;
            unit = (from - question->start) / UNTOUCHED_UNIT_BYTES;
            bitmap_set_range(question->bitmap, unit, 1);
        }
        from = question->start + (unit + 1) * UNTOUCHED_UNIT_BYTES;
    }
    if (fd >= 0)
        close(fd);
}

static void ask_piece(const struct question *question, const struct piece *piece, const char *line, int pagemap,
                      uint64_t from, uint64_t to)
{
    /* A private mapping shows the file's data where it was not written. */
    if (!piece->shared && piece->from_file && !strstr(line, "/anon_hugepage"))
        all_of(question, from, to);
    else if (question->units)
        touched_units(question, piece, pagemap, from, to);
    else if (piece->shared)
        touched_by_file(piece, question->start, from, to, question->bitmap);
    else
        touched_by_pagemap(pagemap, question->start, from, to, question->bitmap);
}

static void ask(const struct question *question, uint64_t length_bytes)
{
    uint64_t end = question->start + length_bytes, at = question->start;
    FILE *maps = fopen("/proc/self/maps", "re");
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    char line[512];

    while (maps && pagemap >= 0 && at < end && fgets(line, sizeof(line), maps)) {
        struct piece piece;
        uint64_t to;

        if (!parse_piece(line, &piece) || piece.end <= at)
            continue;
        if (piece.start > at)
            break;
        to = piece.end < end ? piece.end : end;
        ask_piece(question, &piece, line, pagemap, at, to);
        at = to;
    }
    if (at < end)
        all_of(question, at, end);
    if (maps)
        fclose(maps);
    if (pagemap >= 0)
        close(pagemap);
}

int untouched_pages(const void *base, uint64_t length_bytes, uint64_t *touched, struct tern_error *error)
{
    (void)error;
    ask(&(struct question){(uintptr_t)base, touched, false}, length_bytes);
    return 0;
}

void untouched_units(const void *base, uint64_t length_bytes, uint64_t *units)
{
    ask(&(struct question){(uintptr_t)base, units, true}, length_bytes);
}
