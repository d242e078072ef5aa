/* SPDX-License-Identifier: BSD-2-Clause */
/* The asynchronous mode: no thread, no message; a page is written if it is not write-protected any more. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "migrate/bitmap.h"
#include "migrate/dirty/uffd.h"
#include "migrate/dirty/uffd_abi.h"
#include "migrate/dirty/uffd_scan.h"
#include "transport/error.h"

int uffd_scan(int pagemap, uint64_t base, uint64_t length_bytes, const char *name, uint64_t *bitmap,
              struct tern_error *error)
{
    struct page_region found[UFFD_SCAN_REGIONS];
    uint64_t end = base + length_bytes;
    struct pm_scan_arg arg = {
        .size = sizeof(arg),
        .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
        .start = base,
        .end = end,
        .vec = (uintptr_t)found,
        .vec_len = UFFD_SCAN_REGIONS,
        .category_mask = PAGE_IS_WRITTEN,
        .return_mask = PAGE_IS_WRITTEN,
    };

    while (arg.start < end) {
        int n = ioctl(pagemap, PAGEMAP_SCAN, &arg);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(error, -errno, NULL, "cannot scan region '%s' for written pages: %s", name,
                             strerror(errno));
        for (int i = 0; bitmap && i < n; i++)
            bitmap_set_range(bitmap, (found[i].start - base) / TERN_PAGE_BYTES,
                             (found[i].end - found[i].start) / TERN_PAGE_BYTES);
        arg.start = arg.walk_end;
    }
    return 0;
}

static int scan(struct uffd_tracker *tracker, const struct tern_region *region, uint64_t *bitmap,
                struct tern_error *error)
{
    return uffd_scan(tracker->pagemap, (uintptr_t)region->base, region->length_bytes, region->name, bitmap, error);
}

int uffd_async_start(struct uffd_tracker *tracker, struct tern_error *error)
{
    int r = 0;

    tracker->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (tracker->pagemap < 0)
        return error_set(error, -errno, NULL, "cannot open /proc/self/pagemap: %s", strerror(errno));
    for (uint32_t i = 0; i < tracker->n_regions && !r; i++)
        r = scan(tracker, &tracker->regions[i], NULL, error);
    return r;
}

int uffd_async_fetch(struct uffd_tracker *tracker, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    return scan(tracker, &tracker->regions[region], bitmap, error);
}
