/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to the userfaultfd tracker: its two modes share the descriptor and the regions. */
#ifndef MIGRATE_DIRTY_UFFD_H
#define MIGRATE_DIRTY_UFFD_H

#include <pthread.h>

#include "migrate/dirty/tracker.h"
#include "migrate/dirty/uffd_area.h"
#include "migrate/wire.h"

struct uffd_tracker {
    struct tracker_base base;
    const struct tern_region *regions;
    uint32_t n_regions;
    bool async;
    int fd; /* userfaultfd, open while running */

    /* asynchronous mode, while running */
    int pagemap;
    struct uffd_area areas[WIRE_REGIONS_MAX];

    /* synchronous mode */
    int end_fd;
    pthread_t handler;
    bool handler_runs;
    pthread_mutex_t lock; /* makes record + unprotect, and take + protect, one step each */
    uint64_t *written[WIRE_REGIONS_MAX];
    int failed; /* -errno of the handler */
};

/* uffd_keeps_from_pinning: is it this tracker in its synchronous mode? Before Linux 6.2 ibv_reg_mr pins by a write
 * fault, whatever the access, and fails with EFAULT on a page that waits for the handler; pinned before, it can be
 * protected. */
bool uffd_keeps_from_pinning(const struct tern_tracker *tracker);

/* Async: protect what has data; fetch what was written and protect it again in one step. */
int uffd_async_start(struct uffd_tracker *tracker, struct tern_error *error);
int uffd_async_fetch(struct uffd_tracker *tracker, uint32_t region, uint64_t *bitmap, struct tern_error *error);
void uffd_async_end(struct uffd_tracker *tracker);

int uffd_sync_start(struct uffd_tracker *tracker, bool protects_unpopulated, struct tern_error *error);
int uffd_sync_fetch(struct uffd_tracker *tracker, uint32_t region, uint64_t *bitmap, struct tern_error *error);
void uffd_sync_stop(struct uffd_tracker *tracker);

#endif
