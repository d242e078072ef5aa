/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/remote_soft_dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "migrate/dirty/tracker.h"
#include "migrate/untouched.h"
#include "tools/qemu/soft_dirty.h"
#include "tools/qemu/soft_dirty_helper.h"
#include "transport/error.h"

#define VMSTAT_BYTES 65536

struct remote_soft_dirty {
    struct tracker_base base;
    const struct guest_ram *ram;
    struct soft_dirty_helper *helper;
    uint64_t *dirty[RAM_PARTS_MAX];  /* not reported yet */
    uint64_t *before[RAM_PARTS_MAX]; /* present at the last turn */
    uint32_t next;                   /* regions from here on have had no fetch since the last turn */
    uint64_t reclaims;               /* before the last turn */
    bool distrust;                   /* the last turn; pages taken from a list then may be dropped later */
    uint32_t n_distrusted;
};

static uint64_t words_of(const struct remote_soft_dirty *tracker, uint32_t region)
{
    return bitmap_words(tracker->ram->regions[region].length_bytes / TERN_PAGE_BYTES);
}

static int read_reclaims(uint64_t *reclaims, struct tern_error *error)
{
    char text[VMSTAT_BYTES];
    int fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC), r = 0;
    size_t fill = 0;
    ssize_t n = -1;

    while (fd >= 0 && fill < sizeof(text) - 1 && (n = read(fd, text + fill, sizeof(text) - 1 - fill)) > 0)
        fill += (size_t)n;
    if (n < 0)
        r = error_set(error, -errno, NULL, "cannot read /proc/vmstat: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    text[fill] = 0;
    if (!r)
        *reclaims = soft_dirty_reclaims(text);
    return r;
}

/* Every page that may hold data: not the others, which nobody ever wrote. */
static int distrust(struct remote_soft_dirty *tracker, struct tern_error *error)
{
    int r = 0;

    tracker->n_distrusted++;
    for (uint32_t i = 0; i < tracker->ram->n_regions && !r; i++) {
        const struct tern_region *region = &tracker->ram->regions[i];

        r = untouched_pages(region->base, region->length_bytes, tracker->dirty[i], error);
    }
    return r;
}

static int turn(struct remote_soft_dirty *tracker, struct tern_error *error)
{
    uint64_t reclaims_before, reclaims;
    bool moved;
    int r = read_reclaims(&reclaims_before, error);

    if (!r)
        r = soft_dirty_helper_turn(tracker->helper, error);
    if (!r)
        r = read_reclaims(&reclaims, error);
    if (r)
        return r;
    for (uint32_t i = 0; i < tracker->ram->n_regions; i++)
        soft_dirty_merge(soft_dirty_helper_written(tracker->helper, i), soft_dirty_helper_present(tracker->helper, i),
                         tracker->before[i], tracker->dirty[i], words_of(tracker, i));
    moved = reclaims != tracker->reclaims;
    if (tracker->base.running && (moved || tracker->distrust))
        r = distrust(tracker, error);
    tracker->distrust = moved;
    tracker->reclaims = reclaims_before;
    tracker->next = 0;
    return r;
}

static int fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct remote_soft_dirty *tracker = self;
    int r = region < tracker->next ? turn(tracker, error) : 0;

    if (r)
        return r;
    for (uint64_t i = 0; i < words_of(tracker, region); i++)
        bitmap[i] |= tracker->dirty[region][i];
    memset(tracker->dirty[region], 0, words_of(tracker, region) * sizeof(uint64_t));
    tracker->next = region + 1;
    return 0;
}

/* What was written before does not matter, but a turn also shows that QEMU can be held still. */
static int start(void *self, struct tern_error *error)
{
    struct remote_soft_dirty *tracker = self;
    int r = read_reclaims(&tracker->reclaims, error);

    tracker->distrust = false;
    if (!r)
        r = turn(tracker, error);
    if (r)
        return r;
    for (uint32_t i = 0; i < tracker->ram->n_regions; i++)
        memset(tracker->dirty[i], 0, words_of(tracker, i) * sizeof(uint64_t));
    tracker->next = UINT32_MAX;
    tracker->n_distrusted = 0;
    tracker->base.running = true;
    return 0;
}

static void stop(void *self)
{
    struct remote_soft_dirty *tracker = self;

    tracker->base.running = false;
}

static void destroy(void *self)
{
    struct remote_soft_dirty *tracker = self;

    soft_dirty_helper_destroy(tracker->helper);
    for (uint32_t i = 0; i < tracker->ram->n_regions; i++) {
        free(tracker->dirty[i]);
        free(tracker->before[i]);
    }
    free(tracker);
}

static const struct tern_tracker_ops ops = {"soft-dirty of QEMU", start, fetch, NULL, stop};

static int prepare(struct remote_soft_dirty *tracker, struct tern_error *error)
{
    for (uint32_t i = 0; i < tracker->ram->n_regions; i++) {
        tracker->dirty[i] = calloc(words_of(tracker, i), sizeof(uint64_t));
        tracker->before[i] = calloc(words_of(tracker, i), sizeof(uint64_t));
        if (!tracker->dirty[i] || !tracker->before[i])
            return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    }
    return soft_dirty_helper_create(tracker->ram, &tracker->helper, error);
}

int remote_soft_dirty_create(const struct guest_ram *ram, struct tern_tracker *out, struct tern_error *error)
{
    struct soft_dirty_facts facts;
    struct remote_soft_dirty *tracker;
    int r;

    if (!soft_dirty_works())
        return error_set(
            error, -ENOTSUP, "take Linux 6.7, or one with CONFIG_MEM_SOFT_DIRTY",
            "the kernel cannot track the pages of another process: neither by userfaultfd nor by soft-dirty");
    r = soft_dirty_facts_read(ram, &facts, error);
    if (!r)
        r = soft_dirty_refuse(&facts, ram->regions, ram->n_regions, error);
    if (r)
        return r;
    tracker = calloc(1, sizeof(*tracker));
    if (!tracker)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    tracker->base.destroy = destroy;
    tracker->ram = ram;
    r = prepare(tracker, error);
    if (r)
        destroy(tracker);
    else
        *out = (struct tern_tracker){&ops, tracker};
    return r;
}

bool remote_soft_dirty_is(const struct tern_tracker *tracker)
{
    return tracker->ops == &ops;
}

uint64_t remote_soft_dirty_stopped_ns(const struct tern_tracker *tracker)
{
    return soft_dirty_helper_stopped_ns(((const struct remote_soft_dirty *)tracker->self)->helper);
}

uint32_t remote_soft_dirty_distrusted(const struct tern_tracker *tracker)
{
    return ((const struct remote_soft_dirty *)tracker->self)->n_distrusted;
}

pid_t remote_soft_dirty_helper(const struct tern_tracker *tracker)
{
    return soft_dirty_helper_pid(((const struct remote_soft_dirty *)tracker->self)->helper);
}
