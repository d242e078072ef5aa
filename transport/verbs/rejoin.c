/* SPDX-License-Identifier: BSD-2-Clause */
/* Lanes of the source that come back. The new connection is made beside the lost lane, which nobody uses, and takes its
 * place between two rounds. The lane's old id lives until then: it may be the last one that keeps the device open, on
 * which the guest's memory is registered. */
#include <errno.h>
#include <stdlib.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

/* The lane's headers and ring, which no work request uses: all that were posted are dead. */
static void share_memory(struct verbs_lane *next, const struct verbs_lane *lane)
{
    next->memory = lane->memory;
    next->memory_bytes = lane->memory_bytes;
    next->mr = lane->mr;
    next->headers = lane->headers;
    next->ring = (struct verbs_ring){.base = lane->ring.base, .bytes = lane->ring.bytes};
}

static void close_sharing(struct verbs_lane *lane)
{
    lane->memory = NULL;
    verbs_lane_close(lane);
}

void verbs_drop_next(struct verbs_lane *lane)
{
    if (!lane->next)
        return;
    close_sharing(lane->next);
    free(lane->next);
    lane->next = NULL;
}

int verbs_rejoin(struct link_source *source, uint32_t index, int stop_fd, int timeout_ms, struct tern_error *error)
{
    struct verbs_lane *lane = &source->lanes[index];
    struct verbs_lane *next = calloc(1, sizeof(*next));
    int r;

    if (!next)
        return error_set(error, -ENOMEM, NULL, "out of memory for lane %u", index);
    verbs_drop_next(lane);
    next->source = source;
    next->index = index;
    next->rail = lane->rail;
    next->depth = lane->depth;
    share_memory(next, lane);
    r = verbs_lane_open(next, stop_fd, clock_after_ms((uint32_t)timeout_ms), error);
    if (r) {
        close_sharing(next);
        free(next);
        return r;
    }
    next->window = lane->window < next->depth ? lane->window : next->depth;
    next->signal_every = lane->signal_every < next->window ? lane->signal_every : next->window;
    lane->next = next;
    return 0;
}

void verbs_readmit(struct link_source *source, uint32_t index)
{
    struct verbs_lane *lane = &source->lanes[index], old = *lane;

    *lane = *old.next;
    free(old.next);
    close_sharing(&old);
    atomic_fetch_and(&source->lanes_lost, ~(1ull << index));
}

const char *verbs_source_rail(struct link_source *source, uint32_t lane)
{
    return ibv_get_device_name(source->lanes[lane].id->verbs->device);
}
