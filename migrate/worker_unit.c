/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "migrate/bitmap.h"
#include "migrate/digest.h"
#include "migrate/vm.h"
#include "migrate/worker.h"
#include "migrate/zero.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PACER_SLICE_NS 50000000ull

int worker_stopped(const struct rounds *rounds, struct tern_error *error)
{
    return atomic_load(&rounds->aborted) ? error_set(error, -ECANCELED, NULL, "the round was given up") : 0;
}

static int pace(struct worker *worker, uint64_t bytes, struct tern_error *error)
{
    uint64_t until_ns = clock_now_ns();

    until_ns += pacer_take(worker->rounds->config.pacer, bytes, until_ns);
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
        struct timespec nap = {.tv_nsec = (long)(left_ns < PACER_SLICE_NS ? left_ns : PACER_SLICE_NS)};
        int r = worker_stopped(worker->rounds, error);

        if (r || !left_ns)
            return r;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
    }
}

int worker_flush(struct worker *worker, struct tern_error *error)
{
    const struct rounds_config *config = &worker->rounds->config;
    uint32_t at = 0;
    uint64_t bytes = 0;
    int r = 0;

    for (uint32_t i = 0; i < worker->n_runs; i++)
        bytes += worker->runs[i].length_bytes;
    if (config->pacer->bandwidth_bps)
        r = pace(worker, bytes, error);
    while (!r && at < worker->n_runs) {
        r = config->provider->post(config->link, worker->lane, worker->runs + at, worker->n_runs - at, error);
        if (r < 0)
            return r;
        at += (uint32_t)r;
        r = worker_stopped(worker->rounds, error);
        if (!r && at < worker->n_runs)
            r = config->provider->wait(config->link, worker->lane, LINK_WAIT_ROOM, WORKER_WAIT_MS, error);
        if (r == -ETIMEDOUT)
            r = 0; /* the control channel tells a dead peer from a slow one */
    }
    if (r)
        return r; /* the runs are kept: the lane may be lost, and they with it */
    worker->n_runs = 0;
    atomic_fetch_add_explicit(&worker->rounds->bytes, bytes, memory_order_relaxed);
    return r;
}

static int post_run(struct worker *worker, uint32_t region, uint64_t first_page, uint64_t n_pages,
                    struct tern_error *error)
{
    worker->runs[worker->n_runs++] = (struct link_run){region, first_page * TERN_PAGE_BYTES, n_pages * TERN_PAGE_BYTES};
    worker->stats.pages += n_pages;
    bitmap_set_range(worker->rounds->config.guest->regions[region].sent, first_page, n_pages);
    if (worker->rounds->config.guest->verify && worker->rounds->config.control) {
        int r = run_list_add(&worker->written, worker->rounds->round, region, first_page, n_pages, error);

        if (r)
            return r;
    }
    return worker->n_runs == WORKER_RUNS ? worker_flush(worker, error) : 0;
}

/* A page that is zero: the destination has it already, or must clear what it was sent before. */
static int drop_zero(struct worker *worker, struct guest_region *g, uint32_t region, uint64_t page,
                     struct tern_error *error)
{
    worker->stats.zero_pages++;
    if (g->digests.pages)
        digest_table_set(&g->digests, page, DIGEST_ZERO);
    if (!bitmap_test(g->sent, page))
        return 0;
    bitmap_clear_range(g->sent, page, 1);
    return run_list_add(&worker->cleared, worker->rounds->round, region, page, 1, error);
}

/* A file is told of no page: one that is not zero there is written over, with zeros. */
static bool may_drop(const struct worker *worker, const struct guest_region *g, uint64_t page)
{
    return worker->rounds->config.control || !bitmap_test(g->sent, page);
}

/* One run of dirty pages: what is not zero goes out, in runs as long as they get. */
static int send_dirty(struct worker *worker, struct guest_region *g, uint32_t region, uint64_t first, uint64_t n,
                      struct tern_error *error)
{
    uint64_t start = first;
    int r = 0;

    for (uint64_t page = first; page < first + n && !r; page++) {
        const uint8_t *at = (const uint8_t *)g->region->base + page * TERN_PAGE_BYTES;

        if (page_is_zero(at) && may_drop(worker, g, page)) {
            if (page > start)
                r = post_run(worker, region, start, page - start, error);
            start = page + 1;
            if (!r)
                r = drop_zero(worker, g, region, page, error);
            continue;
        }
        if (g->digests.pages)
            digest_table_set(&g->digests, page, digest_page(at));
    }
    if (!r && first + n > start)
        r = post_run(worker, region, start, first + n - start, error);
    return r;
}

/* Pages that will be sent at all need their chunk; asked for once a unit, since a unit lies in one chunk. */
static int await_chunk(struct worker *worker, uint32_t region, uint64_t first_page, struct tern_error *error)
{
    const struct rounds_config *config = &worker->rounds->config;
    uint64_t chunk = first_page * TERN_PAGE_BYTES / config->chunk_bytes;
    int r;

    if (!config->chunks || chunks_ready(config->chunks, region, chunk))
        return 0;
    r = worker_flush(worker, error); /* let the lane work while this worker waits */
    if (!r)
        r = config->want(config->opaque, region, chunk, error);
    if (!r && chunks_wait(config->chunks, region, chunk))
        r = error_set(error, -ECANCELED, NULL, "the round was given up");
    return r;
}

int worker_send_unit(struct worker *worker, uint64_t unit, struct tern_error *error)
{
    const struct tern_tracker *tracker = worker->rounds->config.tracker;
    uint64_t mask[UNIT_WORDS], from = 0, first, n, region_unit;
    uint32_t region;
    struct guest_region *g = guest_unit(worker->rounds->config.guest, unit, &region, &region_unit);
    uint64_t *dirty = g->dirty + region_unit * UNIT_WORDS, base = region_unit * UNIT_PAGES;
    uint64_t n_pages = g->n_pages - base < UNIT_PAGES ? g->n_pages - base : UNIT_PAGES;
    uint64_t n_dirty = harvest_unit(dirty, n_pages, mask);
    int r;

    if (!n_dirty)
        return 0;
    r = await_chunk(worker, region, base, error);
    if (!r && tracker->ops->clear)
        r = VM_ASK(tracker->ops->clear(tracker->self, region, base, n_pages, mask, error), "tracker.clear",
                   TERN_SIDE_SOURCE, error);
    if (!r) /* after clear, which is to be told of dirty pages only */
        harvest_join(mask, g->sent + region_unit * UNIT_WORDS, n_pages, worker->rounds->gap_pages);
    while (!r && bitmap_next_run(mask, from, n_pages, &first, &n)) {
        r = send_dirty(worker, g, region, base + first, n, error);
        from = first + n;
    }
    for (size_t i = 0; r && i < UNIT_WORDS; i++) /* it may be another lane's in the next round */
        dirty[i] |= mask[i];
    worker->stats.done_pages += r ? 0 : n_dirty;
    return r;
}
