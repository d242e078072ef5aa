/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to the workers: rounds.c starts them and their rounds, worker.c is a worker's round, worker_unit.c its way
 * through one unit of the guest. */
#ifndef MIGRATE_WORKER_H
#define MIGRATE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrate/rounds.h"
#include "migrate/run_lists.h"
#include "migrate/shares.h"

#define WORKER_RUNS    64u
#define WORKER_WAIT_MS 200 /* then it looks whether the round was given up */

struct worker {
    struct rounds *rounds;
    uint32_t lane, group;
    pthread_t thread;
    struct link_run runs[WORKER_RUNS];
    uint32_t n_runs;
    struct run_list written, cleared;
    bool lost;                       /* its lane was, with its rail: it has nothing to do until that is back */
    struct round_stats stats;        /* of this round, not yet added to the shared ones */
    uint64_t pages_sent, away_pages; /* in all rounds, with a locality */
};

struct rounds {
    struct rounds_config config;
    uint64_t gap_pages; /* the longest gap between runs that is filled */
    struct shares *shares;
    _Atomic uint64_t bytes, pages, zero_pages, done_pages;
    _Atomic bool aborted;
    uint64_t orphans; /* groups, a bit each, that have lost all their lanes: this round the others take their units */
    _Atomic uint64_t lost; /* lanes, a bit each, that were and are not yet told of */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t begin;
    uint32_t round, busy; /* workers still at it */
    uint64_t generation;
    bool ending;
    int result;
    struct tern_error error;

    uint32_t n_started;
    struct worker **workers; /* n_lanes, each in memory of its node */
};

/* worker_stopped: -ECANCELED once the rounds are aborted. */
int worker_stopped(const struct rounds *rounds, struct tern_error *error);

/* worker_send_unit: what is dirty in the unit goes out, or is dropped as zero. On failure it is dirty again. */
int worker_send_unit(struct worker *worker, uint64_t unit, struct tern_error *error);

/* worker_flush: hand the runs that are gathered to the lane, which takes its time. On failure they stay. */
int worker_flush(struct worker *worker, struct tern_error *error);

/* worker_round: all of the worker's part of a round, its fence and its completion included. */
int worker_round(struct worker *worker, uint32_t round, struct tern_error *error);

#endif
