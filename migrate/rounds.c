/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/rounds.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/bitmap.h"
#include "migrate/digest.h"
#include "migrate/run_lists.h"
#include "migrate/vm.h"
#include "migrate/zero.h"
#include "transport/clock.h"
#include "transport/error.h"

#define WORKER_RUNS    64u
#define WAIT_SLICE_MS  200
#define PACER_SLICE_NS 50000000ull

struct worker {
    struct rounds *rounds;
    uint32_t lane;
    pthread_t thread;
    struct link_run runs[WORKER_RUNS];
    uint32_t n_runs;
    struct run_list written, cleared;
    struct round_stats stats; /* of this round, not yet added to the shared ones */
};

struct rounds {
    struct rounds_config config;
    _Atomic uint64_t next_unit;
    _Atomic uint64_t bytes, pages, zero_pages, done_pages;
    _Atomic bool aborted;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t begin;
    uint32_t round, busy; /* workers still at it */
    uint64_t generation;
    bool ending;
    int result;
    struct tern_error error;

    uint32_t n_started;
    struct worker *workers; /* n_lanes */
};

/* ---- a worker's way through one unit ---- */

static int stopped(struct rounds *rounds, struct tern_error *error)
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
        int r = stopped(worker->rounds, error);

        if (r || !left_ns)
            return r;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
    }
}

static int flush_runs(struct worker *worker, struct tern_error *error)
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
        r = stopped(worker->rounds, error);
        if (!r && at < worker->n_runs)
            r = config->provider->wait(config->link, worker->lane, LINK_WAIT_ROOM, WAIT_SLICE_MS, error);
        if (r == -ETIMEDOUT)
            r = 0; /* the control channel tells a dead peer from a slow one */
    }
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
    if (worker->rounds->config.guest->verify) {
        int r = run_list_add(&worker->written, worker->rounds->round, region, first_page, n_pages, error);

        if (r)
            return r;
    }
    return worker->n_runs == WORKER_RUNS ? flush_runs(worker, error) : 0;
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

/* One run of dirty pages: what is not zero goes out, in runs as long as they get. */
static int send_dirty(struct worker *worker, struct guest_region *g, uint32_t region, uint64_t first, uint64_t n,
                      struct tern_error *error)
{
    uint64_t start = first;
    int r = 0;

    for (uint64_t page = first; page < first + n && !r; page++) {
        const uint8_t *at = (const uint8_t *)g->region->base + page * TERN_PAGE_BYTES;

        if (page_is_zero(at)) {
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
    r = flush_runs(worker, error); /* let the lane work while this worker waits */
    if (!r)
        r = config->want(config->opaque, region, chunk, error);
    if (!r && chunks_wait(config->chunks, region, chunk))
        r = error_set(error, -ECANCELED, NULL, "the round was given up");
    return r;
}

static int send_unit(struct worker *worker, uint64_t unit, struct tern_error *error)
{
    const struct tern_tracker *tracker = worker->rounds->config.tracker;
    uint64_t mask[UNIT_WORDS], from = 0, first, n, region_unit;
    uint32_t region;
    struct guest_region *g = guest_unit(worker->rounds->config.guest, unit, &region, &region_unit);
    uint64_t *dirty = g->dirty + region_unit * UNIT_WORDS, base = region_unit * UNIT_PAGES;
    uint64_t n_pages = g->n_pages - base < UNIT_PAGES ? g->n_pages - base : UNIT_PAGES;
    int r = 0;

    memcpy(mask, dirty, sizeof(mask));
    if (!bitmap_next_run(mask, 0, n_pages, &first, &n))
        return 0;
    memset(dirty, 0, sizeof(mask));
    r = await_chunk(worker, region, base, error);
    if (!r && tracker->ops->clear)
        r = VM_ASK(tracker->ops->clear(tracker->self, region, base, n_pages, mask, error), "tracker.clear",
                   TERN_SIDE_SOURCE, error);
    while (!r && bitmap_next_run(mask, from, n_pages, &first, &n)) {
        r = send_dirty(worker, g, region, base + first, n, error);
        from = first + n;
        worker->stats.done_pages += n;
    }
    return r;
}

/* ---- a worker's round ---- */

static void share_stats(struct worker *worker)
{
    struct rounds *rounds = worker->rounds;

    atomic_fetch_add_explicit(&rounds->pages, worker->stats.pages, memory_order_relaxed);
    atomic_fetch_add_explicit(&rounds->zero_pages, worker->stats.zero_pages, memory_order_relaxed);
    atomic_fetch_add_explicit(&rounds->done_pages, worker->stats.done_pages, memory_order_relaxed);
    worker->stats = (struct round_stats){0};
}

static int drain(struct worker *worker, struct tern_error *error)
{
    const struct rounds_config *config = &worker->rounds->config;
    int r;

    do {
        r = stopped(worker->rounds, error);
        if (!r)
            r = config->provider->wait(config->link, worker->lane, LINK_WAIT_DRAINED, WAIT_SLICE_MS, error);
    } while (r == -ETIMEDOUT);
    return r;
}

static int worker_round(struct worker *worker, uint32_t round, struct tern_error *error)
{
    struct rounds *rounds = worker->rounds;
    const struct rounds_config *config = &rounds->config;
    uint64_t unit;
    int r = 0;

    worker->n_runs = 0;
    worker->stats = (struct round_stats){0};
    while (!r && (unit = atomic_fetch_add(&rounds->next_unit, 1)) < config->guest->n_units) {
        r = send_unit(worker, unit, error);
        share_stats(worker);
    }
    if (!r)
        r = flush_runs(worker, error);
    if (!r)
        r = config->provider->fence(config->link, worker->lane, round, error);
    if (!r)
        r = run_list_flush(&worker->written, error);
    if (!r)
        r = run_list_flush(&worker->cleared, error);
    return r ? r : drain(worker, error);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct rounds *rounds = worker->rounds;
    uint64_t seen = 0;

    pthread_mutex_lock(&rounds->lock);
    for (;;) {
        struct tern_error error = {0};
        uint32_t round;
        bool last;
        int r;

        while (rounds->generation == seen && !rounds->ending)
            pthread_cond_wait(&rounds->begin, &rounds->lock);
        if (rounds->ending)
            break;
        seen = rounds->generation;
        round = rounds->round;
        pthread_mutex_unlock(&rounds->lock);
        r = worker_round(worker, round, &error);
        pthread_mutex_lock(&rounds->lock);
        if (r && (!rounds->result || rounds->result == -ECANCELED)) {
            rounds->result = r;
            rounds->error = error;
        }
        if (r)
            atomic_store(&rounds->aborted, true);
        last = --rounds->busy == 0;
        pthread_mutex_unlock(&rounds->lock);
        if (last || r)
            rounds->config.over(rounds->config.opaque);
        pthread_mutex_lock(&rounds->lock);
    }
    pthread_mutex_unlock(&rounds->lock);
    return NULL;
}

/* ---- the session's side ---- */

int rounds_create(const struct rounds_config *config, struct rounds **out, struct tern_error *error)
{
    struct rounds *rounds = calloc(1, sizeof(*rounds));
    int r = 0;

    if (!rounds)
        return error_set(error, -ENOMEM, NULL, "out of memory for the workers");
    rounds->config = *config;
    pthread_mutex_init(&rounds->lock, NULL);
    pthread_cond_init(&rounds->begin, NULL);
    rounds->workers = calloc(config->n_lanes, sizeof(*rounds->workers));
    if (!rounds->workers)
        r = ENOMEM;
    for (uint32_t i = 0; i < config->n_lanes && !r; i++) {
        struct worker *worker = &rounds->workers[i];

        worker->rounds = rounds;
        worker->lane = i;
        worker->written = (struct run_list){.control = config->control, .kind = WIRE_LIST_WRITTEN};
        worker->cleared = (struct run_list){.control = config->control, .kind = WIRE_LIST_CLEAR};
        r = pthread_create(&worker->thread, NULL, worker_main, worker);
        rounds->n_started += !r;
    }
    if (r) {
        rounds_destroy(rounds);
        return error_set(error, -r, NULL, "cannot start the workers: %s", strerror(r));
    }
    *out = rounds;
    return 0;
}

void rounds_start(struct rounds *rounds, uint32_t round)
{
    atomic_store(&rounds->next_unit, 0);
    atomic_store(&rounds->bytes, 0);
    atomic_store(&rounds->pages, 0);
    atomic_store(&rounds->zero_pages, 0);
    atomic_store(&rounds->done_pages, 0);
    pthread_mutex_lock(&rounds->lock);
    rounds->round = round;
    rounds->busy = rounds->n_started;
    rounds->generation++;
    pthread_cond_broadcast(&rounds->begin);
    pthread_mutex_unlock(&rounds->lock);
}

bool rounds_ended(struct rounds *rounds, int *result, struct tern_error *error)
{
    bool ended;

    pthread_mutex_lock(&rounds->lock);
    ended = !rounds->busy || rounds->result;
    *result = rounds->result;
    if (rounds->result && error)
        *error = rounds->error;
    pthread_mutex_unlock(&rounds->lock);
    return ended;
}

struct round_stats rounds_stats(struct rounds *rounds)
{
    return (struct round_stats){
        .bytes = atomic_load(&rounds->bytes),
        .pages = atomic_load(&rounds->pages),
        .zero_pages = atomic_load(&rounds->zero_pages),
        .done_pages = atomic_load(&rounds->done_pages),
    };
}

void rounds_cut_short(struct rounds *rounds)
{
    atomic_store(&rounds->next_unit, rounds->config.guest->n_units);
}

void rounds_abort(struct rounds *rounds)
{
    atomic_store(&rounds->aborted, true);
}

void rounds_destroy(struct rounds *rounds)
{
    if (!rounds)
        return;
    pthread_mutex_lock(&rounds->lock);
    rounds->ending = true;
    pthread_cond_broadcast(&rounds->begin);
    pthread_mutex_unlock(&rounds->lock);
    for (uint32_t i = 0; i < rounds->n_started; i++)
        pthread_join(rounds->workers[i].thread, NULL);
    free(rounds->workers);
    pthread_cond_destroy(&rounds->begin);
    pthread_mutex_destroy(&rounds->lock);
    free(rounds);
}
