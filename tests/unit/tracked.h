/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of dirty trackers: memory of every kind, a tracker over it, and the pages that it must name. */
#ifndef TESTS_UNIT_TRACKED_H
#define TESTS_UNIT_TRACKED_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "migrate/tern.h"
#include "tests/common/huge_pages.h"

#define MIB         (1ull << 20)
#define TRACKED_MAX (16 * MIB / TERN_PAGE_BYTES) /* pages of a region here */

enum kind { ANONYMOUS, TRANSPARENT_HUGE, SHARED, HUGE, HUGE_SHARED };
static const char *const kind_names[] = {"anonymous", "transparent huge", "shared", "2 MiB", "shared 2 MiB"};
#define KINDS 5

/* MAP_FAILED where the machine has no such memory. */
static inline void *map_kind(enum kind kind, uint64_t length)
{
    bool huge = kind == HUGE || kind == HUGE_SHARED;
    void *base;

    if (huge)
        huge_pages_reserve(2 * MIB, 32);
    if (kind == SHARED || kind == HUGE_SHARED) {
        int fd = memfd_create("tracked", MFD_CLOEXEC | (huge ? MFD_HUGETLB | 21u << MAP_HUGE_SHIFT : 0));

        cr_assert_geq(fd, 0);
        cr_assert_eq(ftruncate(fd, (off_t)length), 0);
        base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        return base;
    }
    base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (huge ? MAP_HUGETLB : 0), -1, 0);
    if (!huge && base != MAP_FAILED)
        madvise(base, length, kind == TRANSPARENT_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return base;
}

struct tracked {
    struct tern_region regions[2];
    uint32_t n_regions;
    struct tern_tracker tracker;
    uint64_t got[TRACKED_MAX / 64 + 1]; /* the last word is a guard */
    uint64_t expected[TRACKED_MAX / 64];
};

/* One or two regions, populated in part, and a tracker that was not started. false: no such memory here. */
static inline bool tracked_open(struct tracked *t, enum kind kind, bool force_sync, uint32_t n_regions)
{
    struct tern_error error = {0};
    bool huge = kind == HUGE || kind == HUGE_SHARED;

    memset(t, 0, sizeof(*t));
    t->n_regions = n_regions;
    for (uint32_t i = 0; i < n_regions; i++) {
        uint64_t length = i ? 6 * MIB : 16 * MIB;
        uint8_t *base = map_kind(kind, length);

        if (base == MAP_FAILED && huge)
            return false;
        cr_assert_neq(base, MAP_FAILED);
        for (uint64_t at = 0; at < length / 2; at += 3 * TERN_PAGE_BYTES)
            base[at] = 1;
        /* The first write to a huge page brings, and so names, all of it: another test's matter. */
        for (uint64_t at = 0; at < length && kind == TRANSPARENT_HUGE; at += 2 * MIB)
            base[at] = 1;
        t->regions[i] = (struct tern_region){.base = base,
                                             .guest_address = i * 64 * MIB,
                                             .length_bytes = length,
                                             .page_bytes = huge ? 2 * MIB : TERN_PAGE_BYTES,
                                             .name = "r"};
    }
    cr_assert_eq(tern_tracker_uffd_create(t->regions, n_regions, force_sync, &t->tracker, &error), 0, "%s",
                 error.message);
    return true;
}

static inline void tracked_close(struct tracked *t)
{
    tern_tracker_destroy(&t->tracker);
    for (uint32_t i = 0; i < t->n_regions; i++)
        munmap(t->regions[i].base, t->regions[i].length_bytes);
}

static inline void tracked_start(struct tracked *t)
{
    struct tern_error error = {0};

    cr_assert_eq(t->tracker.ops->start(t->tracker.self, &error), 0, "%s", error.message);
}

/* Write one byte of a page; it is to be found by the next fetch. */
static inline void tracked_write(struct tracked *t, uint32_t region, uint64_t page, uint8_t value)
{
    const struct tern_region *r = &t->regions[region];
    uint64_t unit = r->page_bytes / TERN_PAGE_BYTES;

    ((volatile uint8_t *)r->base)[page * TERN_PAGE_BYTES + 9] = value;
    bitmap_set_range(t->expected, page / unit * unit, unit);
}

static inline void tracked_fetch(struct tracked *t, uint32_t region)
{
    struct tern_error error = {0};

    cr_assert_eq(t->tracker.ops->fetch(t->tracker.self, region, t->got, &error), 0, "%s", error.message);
}

/* The fetch names exactly the pages written since the last one. */
static inline void tracked_exactly(struct tracked *t, uint32_t region, const char *when)
{
    uint64_t n_pages = t->regions[region].length_bytes / TERN_PAGE_BYTES;

    memset(t->got, 0, sizeof(t->got));
    t->got[n_pages / 64] = 0xa5a5;
    tracked_fetch(t, region);
    cr_assert_eq(t->got[n_pages / 64], 0xa5a5, "%s: written behind the bitmap's end", when);
    for (uint64_t page = 0; page < n_pages; page++)
        cr_assert_eq(bitmap_test(t->got, page), bitmap_test(t->expected, page), "%s: page %lu is %s", when, page,
                     bitmap_test(t->expected, page) ? "missed" : "named though not written");
    memset(t->expected, 0, sizeof(t->expected));
}

#endif
