/* SPDX-License-Identifier: BSD-2-Clause */
/* A session that suspends a guest to an image, private to migrate/suspend*.c. The engine of a migration (rounds,
 * trackers, convergence) with a file in the destination's place: what is written stays, and there is nobody to agree
 * with.
 *   suspend.c           life, the last part, the outcome
 *   suspend_precopy.c   rounds while the guest runs
 * One thread runs it; workers and a canceller reach it through what is marked so. */
#ifndef MIGRATE_SUSPEND_H
#define MIGRATE_SUSPEND_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrate/converge.h"
#include "migrate/estimate.h"
#include "migrate/events.h"
#include "migrate/guest.h"
#include "migrate/image_writer.h"
#include "migrate/rounds.h"
#include "transport/file/file.h"

struct suspend_times {
    uint64_t pause_ns, paused_ns, scanned_ns, written_ns, digested_ns, saved_ns, done_ns;
};

struct suspend {
    const struct tern_vm *vm;
    struct tern_options options;
    const char *path; /* borrowed */
    struct events events;
    struct tern_result result;
    uint64_t start_ns, first_page_ns;

    struct image_writer writer;
    struct image_head head;
    uint8_t *profile; /* owned */
    struct file_region regions[WIRE_REGIONS_MAX];
    struct link_source *link;
    struct guest guest;
    struct pacer pacer;
    struct rounds *rounds;
    struct converge converge;
    struct estimate estimate;
    uint64_t fetched_ns;
    uint64_t predicted_ns; /* how long the guest will stand still, as of the last round's end; 0: not known yet */
    uint32_t round;
    bool tracking, inhibited, throttled, paused;
    bool overdue; /* the deadline has passed: go on to the last part although the limit is missed */
    struct suspend_times at;

    _Atomic bool cancelled; /* any thread */
    pthread_mutex_t lock;   /* guards woken */
    pthread_cond_t wake;
    bool woken;
};

/* suspend_precopy: rounds until the rest fits. The file is open. */
int suspend_precopy(struct suspend *suspend, struct tern_error *error);
/* suspend_round: write all that is dirty. written_ns may be NULL: when all of it had completed */
int suspend_round(struct suspend *suspend, bool last, struct tern_error *error);
/* suspend_wake: the session looks again. Any thread. */
void suspend_wake(void *suspend);
/* suspend_rest: until woken, or for ns. */
void suspend_rest(struct suspend *suspend, uint64_t ns);
int suspend_cancelled(const struct suspend *suspend, struct tern_error *error);

#endif
