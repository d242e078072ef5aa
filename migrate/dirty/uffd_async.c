/* SPDX-License-Identifier: BSD-2-Clause */
/* The asynchronous mode: no thread, no message; a page is written if it is not write-protected any more. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "migrate/dirty/uffd.h"
#include "transport/error.h"

void uffd_async_end(struct uffd_tracker *tracker)
{
    for (uint32_t i = 0; i < tracker->n_regions; i++)
        uffd_area_free(&tracker->areas[i]);
    if (tracker->pagemap >= 0)
        close(tracker->pagemap);
    tracker->pagemap = -1;
}

int uffd_async_start(struct uffd_tracker *tracker, struct tern_error *error)
{
    int r = 0;

    tracker->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (tracker->pagemap < 0)
        return error_set(error, -errno, NULL, "cannot open /proc/self/pagemap: %s", strerror(errno));
    for (uint32_t i = 0; i < tracker->n_regions && !r; i++) {
        const struct tern_region *region = &tracker->regions[i];

        r = uffd_area_init(&tracker->areas[i], region->base, (uintptr_t)region->base, region->length_bytes,
                           region->page_bytes > TERN_PAGE_BYTES, region->name, error);
        if (!r)
            r = uffd_area_fetch(&tracker->areas[i], tracker->pagemap, NULL, error);
    }
    if (r)
        uffd_async_end(tracker);
    return r;
}

int uffd_async_fetch(struct uffd_tracker *tracker, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    return uffd_area_fetch(&tracker->areas[region], tracker->pagemap, bitmap, error);
}
