/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/dirty/uffd_area.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "migrate/bitmap.h"
#include "migrate/dirty/uffd_abi.h"
#include "migrate/tern.h"
#include "migrate/untouched.h"
#include "transport/error.h"

#define SCAN_REGIONS 1024u
#define UNIT_WORDS   (UNTOUCHED_UNIT_BYTES / TERN_PAGE_BYTES / 64)

static uint64_t n_units(const struct uffd_area *area)
{
    return (area->length_bytes + UNTOUCHED_UNIT_BYTES - 1) / UNTOUCHED_UNIT_BYTES;
}

int uffd_area_init(struct uffd_area *area, const void *local, uint64_t address, uint64_t length_bytes, bool huge,
                   const char *name, struct tern_error *error)
{
    *area = (struct uffd_area){.local = local, .address = address, .length_bytes = length_bytes, .name = name};
    area->protected = calloc(bitmap_words(n_units(area)), sizeof(uint64_t));
    area->found = calloc(bitmap_words(n_units(area)), sizeof(uint64_t));
    if (!area->protected || !area->found) {
        uffd_area_free(area);
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    }
    if (huge)
        bitmap_set_range(area->protected, 0, n_units(area));
    return 0;
}

void uffd_area_free(struct uffd_area *area)
{
    free(area->protected);
    free(area->found);
    *area = (struct uffd_area){0};
}

/* Bytes [from, to) of the area; bitmap is that of from's page on. */
static int scan(const struct uffd_area *area, int pagemap, uint64_t from, uint64_t to, uint64_t *bitmap,
                struct tern_error *error)
{
    struct page_region found[SCAN_REGIONS];
    struct pm_scan_arg arg = {
        .size = sizeof(arg),
        .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
        .start = area->address + from,
        .end = area->address + to,
        .vec = (uintptr_t)found,
        .vec_len = SCAN_REGIONS,
        .category_mask = PAGE_IS_WRITTEN,
        .return_mask = PAGE_IS_WRITTEN,
    };
    uint64_t base = arg.start;

    while (arg.start < arg.end) {
        int n = ioctl(pagemap, PAGEMAP_SCAN, &arg);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(error, -errno, NULL, "cannot scan region '%s' for written pages: %s", area->name,
                             strerror(errno));
        for (int i = 0; bitmap && i < n; i++)
            bitmap_set_range(bitmap, (found[i].start - base) / TERN_PAGE_BYTES,
                             (found[i].end - found[i].start) / TERN_PAGE_BYTES);
        arg.start = arg.walk_end;
    }
    return 0;
}

/* Units first_unit to end, which are all protected before, or all not. */
static int fetch_units(struct uffd_area *area, int pagemap, uint64_t first, uint64_t n, bool new, uint64_t *bitmap,
                       struct tern_error *error)
{
    uint64_t from = first * UNTOUCHED_UNIT_BYTES, to = (first + n) * UNTOUCHED_UNIT_BYTES;
    uint64_t *words = bitmap ? bitmap + first * UNIT_WORDS : NULL;
    int r;

    if (to > area->length_bytes)
        to = area->length_bytes;
    r = scan(area, pagemap, from, to, new ? NULL : words, error);
    if (r || !new)
        return r;
    bitmap_set_range(area->protected, first, n);
    return words ? untouched_pages((const uint8_t *)area->local + from, to - from, words, error) : 0;
}

int uffd_area_fetch(struct uffd_area *area, int pagemap, uint64_t *bitmap, struct tern_error *error)
{
    uint64_t words = bitmap_words(n_units(area)), from, first, n;
    int r = 0;

    memcpy(area->found, area->protected, words * sizeof(uint64_t));
    untouched_units(area->local, area->length_bytes, area->found);
    for (uint64_t i = 0; i < words; i++)
        area->found[i] &= ~area->protected[i];
    for (from = 0; !r && bitmap_next_run(area->protected, from, n_units(area), &first, &n); from = first + n)
        r = fetch_units(area, pagemap, first, n, false, bitmap, error);
    for (from = 0; !r && bitmap_next_run(area->found, from, n_units(area), &first, &n); from = first + n)
        r = fetch_units(area, pagemap, first, n, true, bitmap, error);
    return r;
}
