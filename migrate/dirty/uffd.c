/* SPDX-License-Identifier: BSD-2-Clause */
/* Dirty tracking by userfaultfd write-protection over mappings of this process.
 * Asynchronous (Linux 6.7): the kernel lets the write through and remembers it; PAGEMAP_SCAN fetches and re-arms in one
 * step. Synchronous: the writer waits while a handler thread records the page and lets it go on.
 * source: Documentation/admin-guide/mm/userfaultfd.rst, pagemap.rst */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/dirty/uffd.h"
#include "migrate/dirty/uffd_abi.h"
#include "transport/error.h"

#define FEATURES_SYNC  (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
#define FEATURES_ASYNC (FEATURES_SYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC)

/* A descriptor with these features, or -errno. */
static int uffd_open(uint64_t features)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

    /* Without privilege only writes by user code can be seen, which does for what the kernel handles itself. */
    if (fd < 0 && errno == EPERM && (features & UFFD_FEATURE_WP_ASYNC))
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, UFFDIO_API, &api)) {
        int code = -errno;

        close(fd);
        return code;
    }
    return fd;
}

static int register_all(struct uffd_tracker *tracker, struct tern_error *error)
{
    for (uint32_t i = 0; i < tracker->n_regions; i++) {
        const struct tern_region *region = &tracker->regions[i];
        struct uffdio_register r = {.range = {(uintptr_t)region->base, region->length_bytes},
                                    .mode = UFFDIO_REGISTER_MODE_WP};

        if (ioctl(tracker->fd, UFFDIO_REGISTER, &r))
            return error_set(error, -errno, "the memory must be anonymous, shared memory or hugetlbfs",
                             "cannot track region '%s' by userfaultfd: %s", region->name, strerror(errno));
    }
    return 0;
}

static int cannot_open(int code, struct tern_error *error)
{
    return error_set(error, code,
                     code == -EPERM ? "run as root, or set vm.unprivileged_userfaultfd=1"
                                    : "Linux 5.19 is the oldest that can; for KVM guests use its dirty log",
                     "cannot open a userfaultfd that write-protects: %s", strerror(-code));
}

static int start(void *self, struct tern_error *error)
{
    struct uffd_tracker *tracker = self;
    bool unpopulated = true;
    int r;

    tracker->fd = uffd_open(tracker->async ? FEATURES_ASYNC : FEATURES_SYNC | UFFD_FEATURE_WP_UNPOPULATED);
    if (tracker->fd < 0 && !tracker->async) { /* before Linux 6.4 */
        unpopulated = false;
        tracker->fd = uffd_open(FEATURES_SYNC);
    }
    if (tracker->fd < 0)
        return cannot_open(tracker->fd, error);
    r = register_all(tracker, error);
    if (!r)
        r = tracker->async ? uffd_async_start(tracker, error) : uffd_sync_start(tracker, unpopulated, error);
    if (r) {
        close(tracker->fd);
        tracker->fd = -1;
        return r;
    }
    tracker->base.running = true;
    return 0;
}

static int fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct uffd_tracker *tracker = self;

    return tracker->async ? uffd_async_fetch(tracker, region, bitmap, error)
                          : uffd_sync_fetch(tracker, region, bitmap, error);
}

/* Closing the descriptor unregisters, unprotects and wakes whoever waited. */
static void stop(void *self)
{
    struct uffd_tracker *tracker = self;

    if (tracker->async)
        uffd_async_end(tracker);
    else
        uffd_sync_stop(tracker);
    close(tracker->fd);
    tracker->fd = -1;
    tracker->base.running = false;
}

static void destroy(void *self)
{
    struct uffd_tracker *tracker = self;

    for (uint32_t i = 0; i < tracker->n_regions; i++)
        free(tracker->written[i]);
    pthread_mutex_destroy(&tracker->lock);
    free(tracker);
}

static const struct tern_tracker_ops async_ops = {"userfaultfd", start, fetch, NULL, stop};
static const struct tern_tracker_ops sync_ops = {"userfaultfd (synchronous)", start, fetch, NULL, stop};

bool uffd_keeps_from_pinning(const struct tern_tracker *tracker)
{
    return tracker->ops == &sync_ops;
}

int tern_tracker_uffd_create(const struct tern_region *regions, uint32_t n_regions, bool force_sync,
                             struct tern_tracker *out, struct tern_error *error)
{
    struct uffd_tracker *tracker;
    int fd;

    if (!n_regions || n_regions > WIRE_REGIONS_MAX)
        return error_set(error, -EINVAL, NULL, "%u regions to track, not 1 to %u", n_regions, WIRE_REGIONS_MAX);
    tracker = calloc(1, sizeof(*tracker));
    if (!tracker)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    tracker->base.destroy = destroy;
    tracker->regions = regions;
    tracker->n_regions = n_regions;
    tracker->fd = tracker->pagemap = tracker->end_fd = -1;
    pthread_mutex_init(&tracker->lock, NULL);
    fd = force_sync ? -ENOTSUP : uffd_open(FEATURES_ASYNC);
    tracker->async = fd >= 0;
    if (fd < 0)
        fd = uffd_open(FEATURES_SYNC);
    if (fd < 0) {
        destroy(tracker);
        return cannot_open(fd, error);
    }
    close(fd);
    *out = (struct tern_tracker){tracker->async ? &async_ops : &sync_ops, tracker};
    return 0;
}
