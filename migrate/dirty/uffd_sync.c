/* SPDX-License-Identifier: BSD-2-Clause */
/* The synchronous mode. A writer stops at a protected page until the handler has recorded the page and unprotected it.
 * Under one lock: were a page taken and protected between its record and its unprotection, later writes would be lost.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "migrate/dirty/uffd.h"
#include "migrate/dirty/uffd_abi.h"
#include "transport/error.h"

#define MESSAGES 64

static int protect(struct uffd_tracker *tracker, uint64_t start, uint64_t length_bytes, bool on)
{
    struct uffdio_writeprotect wp = {.range = {start, length_bytes}, .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

    while (ioctl(tracker->fd, UFFDIO_WRITEPROTECT, &wp))
        if (errno != EAGAIN && errno != EINTR) /* the mapping is changing: at once again */
            return -errno;
    return 0;
}

static int record(struct uffd_tracker *tracker, uint64_t address)
{
    for (uint32_t i = 0; i < tracker->n_regions; i++) {
        const struct tern_region *region = &tracker->regions[i];
        uint64_t base = (uintptr_t)region->base, page;
        int r;

        if (address < base || address - base >= region->length_bytes)
            continue;
        page = (address - base) & ~(region->page_bytes - 1);
        pthread_mutex_lock(&tracker->lock);
        bitmap_set_range(tracker->written[i], page / TERN_PAGE_BYTES, region->page_bytes / TERN_PAGE_BYTES);
        r = protect(tracker, base + page, region->page_bytes, false);
        pthread_mutex_unlock(&tracker->lock);
        return r;
    }
    return 0;
}

static void *handler_main(void *argument)
{
    struct uffd_tracker *tracker = argument;
    struct uffd_msg messages[MESSAGES];

    for (;;) {
        struct pollfd p[2] = {{.fd = tracker->fd, .events = POLLIN}, {.fd = tracker->end_fd, .events = POLLIN}};
        ssize_t n;

        poll(p, 2, -1);
        if (p[1].revents)
            return NULL;
        n = read(tracker->fd, messages, sizeof(messages));
        for (ssize_t i = 0; i < n / (ssize_t)sizeof(*messages); i++) {
            int r = messages[i].event == UFFD_EVENT_PAGEFAULT ? record(tracker, messages[i].arg.pagefault.address) : 0;

            if (r) {
                pthread_mutex_lock(&tracker->lock);
                tracker->failed = r;
                pthread_mutex_unlock(&tracker->lock);
            }
        }
    }
}

static int arm(struct uffd_tracker *tracker, uint32_t i, bool protects_unpopulated, struct tern_error *error)
{
    const struct tern_region *region = &tracker->regions[i];
    int r;

    free(tracker->written[i]);
    tracker->written[i] = calloc(bitmap_words(region->length_bytes / TERN_PAGE_BYTES), sizeof(uint64_t));
    if (!tracker->written[i])
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty bitmap of region '%s'", region->name);
    /* A page without an entry in the page table cannot be protected before Linux 6.4: give it the zero page. */
    if (!protects_unpopulated && madvise(region->base, region->length_bytes, MADV_POPULATE_READ))
        return error_set(error, -errno, "Linux 5.14 is the oldest that can", "cannot populate region '%s': %s",
                         region->name, strerror(errno));
    r = protect(tracker, (uintptr_t)region->base, region->length_bytes, true);
    return r ? error_set(error, r, NULL, "cannot write-protect region '%s': %s", region->name, strerror(-r)) : 0;
}

int uffd_sync_start(struct uffd_tracker *tracker, bool protects_unpopulated, struct tern_error *error)
{
    int r;

    tracker->failed = 0;
    tracker->end_fd = eventfd(0, EFD_CLOEXEC);
    if (tracker->end_fd < 0)
        return error_set(error, -errno, NULL, "cannot make an eventfd: %s", strerror(errno));
    pthread_mutex_lock(&tracker->lock); /* holds the handler until every bitmap is there */
    r = -pthread_create(&tracker->handler, NULL, handler_main, tracker);
    tracker->handler_runs = !r;
    if (r)
        error_set(error, r, NULL, "cannot start the dirty tracker's handler: %s", strerror(-r));
    for (uint32_t i = 0; i < tracker->n_regions && !r; i++)
        r = arm(tracker, i, protects_unpopulated, error);
    pthread_mutex_unlock(&tracker->lock);
    if (r)
        uffd_sync_stop(tracker);
    return r;
}

int uffd_sync_fetch(struct uffd_tracker *tracker, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    const struct tern_region *memory = &tracker->regions[region];
    uint64_t n_pages = memory->length_bytes / TERN_PAGE_BYTES, from = 0, first, n;
    uint64_t *written = tracker->written[region];
    int r;

    pthread_mutex_lock(&tracker->lock);
    r = tracker->failed;
    while (!r && bitmap_next_run(written, from, n_pages, &first, &n)) {
        r = protect(tracker, (uintptr_t)memory->base + first * TERN_PAGE_BYTES, n * TERN_PAGE_BYTES, true);
        if (!r) {
            bitmap_set_range(bitmap, first, n);
            bitmap_clear_range(written, first, n);
        }
        from = first + n;
    }
    pthread_mutex_unlock(&tracker->lock);
    return r ? error_set(error, r, NULL, "cannot write-protect region '%s': %s", memory->name, strerror(-r)) : 0;
}

void uffd_sync_stop(struct uffd_tracker *tracker)
{
    uint64_t one = 1;

    for (uint32_t i = 0; i < tracker->n_regions; i++)
        protect(tracker, (uintptr_t)tracker->regions[i].base, tracker->regions[i].length_bytes, false);
    if (tracker->handler_runs) {
        ssize_t n = write(tracker->end_fd, &one, sizeof(one));

        (void)n;
        pthread_join(tracker->handler, NULL);
        tracker->handler_runs = false;
    }
    if (tracker->end_fd >= 0)
        close(tracker->end_fd);
    tracker->end_fd = -1;
}
