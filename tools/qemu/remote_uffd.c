/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/remote_uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/dirty/tracker.h"
#include "migrate/dirty/uffd_abi.h"
#include "migrate/dirty/uffd_area.h"
#include "tools/qemu/inject.h"
#include "transport/error.h"

#define FEATURES                                                                                                       \
    (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED |                  \
     UFFD_FEATURE_WP_ASYNC)

struct remote_uffd {
    struct tracker_base base;
    const struct guest_ram *ram;
    int fd, pagemap; /* -1 but while running */
    uint64_t stopped_ns;
    struct uffd_area areas[RAM_PARTS_MAX]; /* while running */
};

static int fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct remote_uffd *tracker = self;

    return uffd_area_fetch(&tracker->areas[region], tracker->pagemap, bitmap, error);
}

static int arm(struct remote_uffd *tracker, struct tern_error *error)
{
    struct uffdio_api api = {.api = UFFD_API, .features = FEATURES};
    int r = 0;

    if (ioctl(tracker->fd, UFFDIO_API, &api))
        return error_set(error, -ENOTSUP, "Linux 6.7 is the oldest that can",
                         "the kernel cannot track the pages of another process by userfaultfd: %s", strerror(errno));
    for (uint32_t i = 0; i < tracker->ram->n_regions && !r; i++) {
        const struct tern_region *region = &tracker->ram->regions[i];
        struct uffdio_register range = {
            .range = {tracker->ram->places[i].remote_address, region->length_bytes},
            .mode = UFFDIO_REGISTER_MODE_WP,
        };

        if (ioctl(tracker->fd, UFFDIO_REGISTER, &range))
            r = error_set(error, -errno, NULL, "cannot track the pages of '%s' in QEMU: %s", region->name,
                          strerror(errno));
        else
            r = uffd_area_init(&tracker->areas[i], region->base, range.range.start, region->length_bytes,
                               region->page_bytes > TERN_PAGE_BYTES, region->name, error);
        if (!r)
            r = fetch(tracker, i, NULL, error);
    }
    return r;
}

/* Closing the descriptor unregisters and unprotects. */
static void stop(void *self)
{
    struct remote_uffd *tracker = self;

    if (tracker->fd >= 0)
        close(tracker->fd);
    if (tracker->pagemap >= 0)
        close(tracker->pagemap);
    tracker->fd = tracker->pagemap = -1;
    for (uint32_t i = 0; i < tracker->ram->n_regions; i++)
        uffd_area_free(&tracker->areas[i]);
    tracker->base.running = false;
}

static int start(void *self, struct tern_error *error)
{
    struct remote_uffd *tracker = self;
    int r = 0;

    tracker->pagemap = openat(tracker->ram->process.folder, "pagemap", O_RDONLY | O_CLOEXEC);
    if (tracker->pagemap < 0)
        return error_set(error, -errno, "run tern as root", "cannot open the page map of process %d: %s",
                         (int)tracker->ram->process.pid, strerror(errno));
    r = inject_userfaultfd(&tracker->ram->process, &tracker->fd, &tracker->stopped_ns, error);
    if (!r)
        r = arm(tracker, error);
    if (r)
        stop(tracker);
    tracker->base.running = !r;
    return r;
}

static void destroy(void *self)
{
    free(self);
}

static const struct tern_tracker_ops ops = {"userfaultfd in QEMU", start, fetch, NULL, stop};

/* What the kernel can is asked of a descriptor of our own. */
static int kernel_can(void)
{
    struct uffdio_api api = {.api = UFFD_API, .features = FEATURES};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY), r;

    if (fd < 0)
        return -errno;
    r = ioctl(fd, UFFDIO_API, &api) ? -errno : 0;
    close(fd);
    return r;
}

int remote_uffd_create(const struct guest_ram *ram, struct tern_tracker *out, struct tern_error *error)
{
    struct remote_uffd *tracker;

    if (kernel_can())
        return error_set(error, -ENOTSUP, "Linux 6.7 is the oldest that can",
                         "the kernel cannot track the pages of another process by userfaultfd");
    tracker = calloc(1, sizeof(*tracker));
    if (!tracker)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    tracker->base.destroy = destroy;
    tracker->ram = ram;
    tracker->fd = tracker->pagemap = -1;
    *out = (struct tern_tracker){&ops, tracker};
    return 0;
}

uint64_t remote_uffd_stopped_ns(const struct tern_tracker *tracker)
{
    return ((const struct remote_uffd *)tracker->self)->stopped_ns;
}
