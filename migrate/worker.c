/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/worker.h"

#include <errno.h>

#include "migrate/bitmap.h"
#include "migrate/locality.h"

static void share_stats(struct worker *worker)
{
    struct rounds *rounds = worker->rounds;

    atomic_fetch_add_explicit(&rounds->pages, worker->stats.pages, memory_order_relaxed);
    atomic_fetch_add_explicit(&rounds->zero_pages, worker->stats.zero_pages, memory_order_relaxed);
    atomic_fetch_add_explicit(&rounds->done_pages, worker->stats.done_pages, memory_order_relaxed);
    worker->stats = (struct round_stats){0};
}

/* Before share_stats: what stands in stats is of this unit. */
static void note_node(struct worker *worker, uint64_t unit)
{
    const struct locality *locality = worker->rounds->config.locality;

    if (!locality)
        return;
    worker->pages_sent += worker->stats.pages;
    if (locality_position(locality, unit) != locality->plan.workers[worker->lane].node)
        worker->away_pages += worker->stats.pages;
}

/* Dirty again. This worker took its unit in this round, so nobody else touches these words. */
static void mark_unsent(void *opaque, const struct link_run *run)
{
    struct guest *guest = ((struct worker *)opaque)->rounds->config.guest;
    uint64_t first = run->offset_bytes / TERN_PAGE_BYTES;
    uint64_t end = (run->offset_bytes + run->length_bytes + TERN_PAGE_BYTES - 1) / TERN_PAGE_BYTES;

    if (run->region < guest->n_regions)
        bitmap_set_range(guest->regions[run->region].dirty, first, end - first);
}

/* A lane that was lost with its rail, while another goes on, is no error: the next round sends what it had not. */
static bool lose_lane(struct worker *worker)
{
    const struct rounds_config *config = &worker->rounds->config;

    if (!config->provider->lost || !config->provider->lost(config->link, worker->lane, mark_unsent, worker))
        return false;
    for (uint32_t i = 0; i < worker->n_runs; i++)
        mark_unsent(worker, &worker->runs[i]);
    worker->n_runs = 0;
    worker->lost = true;
    atomic_fetch_or(&worker->rounds->lost, 1ull << worker->lane);
    return true;
}

static int drain(struct worker *worker, struct tern_error *error)
{
    const struct rounds_config *config = &worker->rounds->config;
    int r;

    do {
        r = worker_stopped(worker->rounds, error);
        if (!r)
            r = config->provider->wait(config->link, worker->lane, LINK_WAIT_DRAINED, WORKER_WAIT_MS, error);
    } while (r == -ETIMEDOUT);
    return r;
}

/* Of this worker's own node, then of those that nobody else serves any more. */
static bool next_unit(const struct worker *worker, uint64_t *unit)
{
    struct rounds *rounds = worker->rounds;

    if (shares_next(rounds->shares, worker->group, unit))
        return true;
    for (uint64_t left = rounds->orphans; left; left &= left - 1)
        if (shares_next(rounds->shares, (uint32_t)__builtin_ctzll(left), unit))
            return true;
    return false;
}

/* All that this worker gets of the round, over its lane. */
static int send_share(struct worker *worker, uint32_t round, struct tern_error *error)
{
    struct rounds *rounds = worker->rounds;
    const struct rounds_config *config = &rounds->config;
    uint64_t unit;
    int r = 0;

    while (!r && next_unit(worker, &unit)) {
        r = worker_send_unit(worker, unit, error);
        note_node(worker, unit);
        share_stats(worker);
    }
    if (!r)
        r = worker_flush(worker, error);
    if (!r)
        r = config->provider->fence(config->link, worker->lane, round, error);
    return r;
}

int worker_round(struct worker *worker, uint32_t round, struct tern_error *error)
{
    int r;

    if (worker->lost)
        return 0;
    worker->n_runs = 0;
    worker->stats = (struct round_stats){0};
    r = send_share(worker, round, error);
    if (r && r != -ECANCELED && lose_lane(worker))
        r = 0;
    if (!r)
        r = run_list_flush(&worker->written, error);
    if (!r)
        r = run_list_flush(&worker->cleared, error);
    if (r || worker->lost)
        return r;
    r = drain(worker, error);
    return r && r != -ECANCELED && lose_lane(worker) ? 0 : r;
}
