/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's workers. One worker a lane; in a round they take units of the guest in order (shares.h), turn the dirty
 * pages of each into runs, drop zero pages that were never sent, and post the runs. A round ends when every lane has
 * fenced it and completed it. There is no lock between workers within a round but in the messages that list pages.
 *
 * Invariant: a page's dirty bit is cleared, here and in the tracker, before the page is looked at; so whatever changes
 * after the look is dirty again.
 */
#ifndef MIGRATE_ROUNDS_H
#define MIGRATE_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/chunks.h"
#include "migrate/guest.h"
#include "migrate/locality.h"
#include "migrate/pacer.h"
#include "migrate/tern.h"
#include "transport/control.h"
#include "transport/link.h"

struct rounds;

struct rounds_config {
    const struct link_provider *provider;
    struct link_source *link;
    struct control *control; /* page lists go out here; NULL: into a file, which needs none */
    struct guest *guest;
    const struct tern_tracker *tracker;
    struct pacer *pacer;
    struct chunks *chunks; /* NULL: the provider needs no registration */
    uint64_t chunk_bytes;
    uint32_t n_lanes;
    const struct locality *locality; /* with its plan; NULL: every worker sends from everywhere */
    /* want: ask for a chunk that is not ready (any worker). */
    int (*want)(void *opaque, uint32_t region, uint64_t chunk, struct tern_error *error);
    /* over: the round has ended, well or not (one worker). */
    void (*over)(void *opaque);
    void *opaque;
};

/* Of the present round while it runs, or of the last one. */
struct round_stats {
    uint64_t bytes, pages, zero_pages;
    uint64_t done_pages; /* looked at so far */
};

int rounds_create(const struct rounds_config *config, struct rounds **out, struct tern_error *error);

/* rounds_start: begin round `round` over the guest's dirty bitmaps. The last one has ended. */
void rounds_start(struct rounds *rounds, uint32_t round);

/* rounds_ended: has the round ended? *result is 0 or the first error, then with *error. */
bool rounds_ended(struct rounds *rounds, int *result, struct tern_error *error);
struct round_stats rounds_stats(struct rounds *rounds);

/* rounds_report: what each worker has sent so far, with a locality. No round runs. */
void rounds_report(struct rounds *rounds, struct tern_result *result);

/* rounds_lost: lanes (a bit each) that were lost with their rail since the last call. What they had not brought over is
 * dirty again. The round has ended. */
uint64_t rounds_lost(struct rounds *rounds);

/* rounds_readmit: these lanes are used again from the next round on. No round runs. */
void rounds_readmit(struct rounds *rounds, uint64_t lanes);

/* rounds_cut_short: let the round end soon and well; what was not looked at stays dirty. Session thread. */
void rounds_cut_short(struct rounds *rounds);

/* rounds_abort: end the round soon, with -ECANCELED; the caller aborts link and chunks. Any thread. */
void rounds_abort(struct rounds *rounds);

/* rounds_destroy: wait for the workers and free. Takes NULL. A running round must have been aborted. */
void rounds_destroy(struct rounds *rounds);

#endif
