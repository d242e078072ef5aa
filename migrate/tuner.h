/* SPDX-License-Identifier: BSD-2-Clause */
/* The probe that chooses how a source writes, in a thread of its own while the session starts the dirty tracker and
 * looks for touched pages. It writes into the destination's buffer for the device state, which is written anew at the
 * end. */
#ifndef MIGRATE_TUNER_H
#define MIGRATE_TUNER_H

#include <pthread.h>
#include <stdbool.h>

#include "transport/link.h"

struct tuner {
    const struct link_provider *provider;
    struct link_source *link;
    uint32_t region, budget_ms;
    struct link_tuning given, chosen;
    pthread_t thread;
    bool running;
};

/* tuner_start: begin. Chunk 0 of region is ready at both ends. Without a thread it is done before this returns. */
void tuner_start(struct tuner *tuner);
/* tuner_join: wait for it, if it was started. Lanes are free again. */
void tuner_join(struct tuner *tuner);

#endif
