/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/rounds.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/worker.h"
#include "numa/workers.h"
#include "transport/error.h"

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct rounds *rounds = worker->rounds;
    uint64_t seen = 0;

    if (rounds->config.locality)
        locality_enter_worker(rounds->config.locality, worker->lane);
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

static int start_worker(struct rounds *rounds, uint32_t lane)
{
    const struct locality *locality = rounds->config.locality;
    const struct plan_worker *plan = locality ? &locality->plan.workers[lane] : NULL;
    int32_t node =
        plan && plan->cpu_node >= 0 ? (int32_t)locality->topology.nodes[plan->cpu_node].number : TOPOLOGY_UNKNOWN;
    struct worker *worker = worker_memory(sizeof(*worker), node);
    int r;

    if (!worker)
        return ENOMEM;
    rounds->workers[lane] = worker;
    worker->rounds = rounds;
    worker->lane = lane;
    worker->group = plan ? (uint32_t)plan->node : 0;
    worker->written = (struct run_list){.control = rounds->config.control, .kind = WIRE_LIST_WRITTEN};
    worker->cleared = (struct run_list){.control = rounds->config.control, .kind = WIRE_LIST_CLEAR};
    r = pthread_create(&worker->thread, NULL, worker_main, worker);
    rounds->n_started += !r;
    return r;
}

int rounds_create(const struct rounds_config *config, struct rounds **out, struct tern_error *error)
{
    struct rounds *rounds = calloc(1, sizeof(*rounds));
    const uint8_t *unit_group = config->locality ? config->locality->unit_group : NULL;
    int r = 0;

    if (!rounds)
        return error_set(error, -ENOMEM, NULL, "out of memory for the workers");
    rounds->config = *config;
    rounds->gap_pages = harvest_gap_pages(config->provider->run_cost_bytes, TERN_PAGE_BYTES);
    pthread_mutex_init(&rounds->lock, NULL);
    pthread_cond_init(&rounds->begin, NULL);
    rounds->workers = calloc(config->n_lanes, sizeof(*rounds->workers));
    if (!rounds->workers ||
        shares_create(config->guest->n_units, unit_group, TOPOLOGY_NODES_MAX, &rounds->shares, NULL))
        r = ENOMEM;
    for (uint32_t i = 0; i < config->n_lanes && !r; i++)
        r = start_worker(rounds, i);
    if (r) {
        rounds_destroy(rounds);
        return error_set(error, -r, NULL, "cannot start the workers: %s", strerror(r));
    }
    *out = rounds;
    return 0;
}

/* No round runs. */
static uint64_t find_orphans(const struct rounds *rounds)
{
    uint64_t lost = 0, served = 0;

    for (uint32_t i = 0; i < rounds->n_started; i++)
        *(rounds->workers[i]->lost ? &lost : &served) |= 1ull << rounds->workers[i]->group;
    return lost & ~served;
}

void rounds_start(struct rounds *rounds, uint32_t round)
{
    rounds->orphans = find_orphans(rounds);
    shares_begin(rounds->shares, rounds->config.guest->dirty_units);
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

void rounds_report(struct rounds *rounds, struct tern_result *result)
{
    const struct rounds_config *config = &rounds->config;
    const struct locality *locality = config->locality;

    for (uint32_t i = 0; locality && i < rounds->n_started; i++) {
        const struct worker *worker = rounds->workers[i];

        result->workers[i] = (struct tern_worker){
            .lane = i,
            .node = locality->topology.nodes[locality->plan.workers[i].node].number,
            .pages_sent = worker->pages_sent,
            .away_pages = worker->away_pages,
        };
        if (config->provider->source_rail)
            snprintf(result->workers[i].rail, sizeof(result->workers[i].rail), "%.31s",
                     config->provider->source_rail(config->link, i));
        result->n_workers = i + 1;
    }
}

uint64_t rounds_lost(struct rounds *rounds)
{
    return atomic_exchange(&rounds->lost, 0);
}

void rounds_readmit(struct rounds *rounds, uint64_t lanes)
{
    for (uint32_t i = 0; i < rounds->n_started; i++)
        if (lanes >> i & 1)
            rounds->workers[i]->lost = false;
}

void rounds_cut_short(struct rounds *rounds)
{
    shares_cut_short(rounds->shares);
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
        pthread_join(rounds->workers[i]->thread, NULL);
    for (uint32_t i = 0; rounds->workers && i < rounds->config.n_lanes; i++)
        worker_memory_free(rounds->workers[i], sizeof(*rounds->workers[i]));
    free(rounds->workers);
    shares_destroy(rounds->shares);
    pthread_cond_destroy(&rounds->begin);
    pthread_mutex_destroy(&rounds->lock);
    free(rounds);
}
