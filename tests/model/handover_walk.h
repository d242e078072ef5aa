/* SPDX-License-Identifier: BSD-2-Clause */
/* Every world that can come of the first one, breadth first. */
#ifndef TESTS_MODEL_HANDOVER_WALK_H
#define TESTS_MODEL_HANDOVER_WALK_H

#include <stddef.h>

#include "tests/model/handover_world.h"

/* violation        the first broken promise; NULL: none. path: the events' worlds that led to it, for reading
 * n_worlds         distinct worlds reached, up to the first violation
 * seen             by state, of either side
 * n_stuck          worlds from which no end can be reached without a further crash, cut, cancel or failure */
struct walk {
    const char *violation;
    size_t n_worlds, n_final, n_edges, n_stuck;
    size_t n_migrated, n_resolved, n_doubt;
    size_t seen[HANDOVER_STATES];
    char path[16384];
};

/* returns 0, or -ENOMEM, or -E2BIG: more than max_worlds */
int walk_all(world_step_fn *step, size_t max_worlds, struct walk *out);

#endif
