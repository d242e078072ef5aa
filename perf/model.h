/* SPDX-License-Identifier: BSD-2-Clause */
/* Predicts a migration: rounds, total time and downtime, from the guest, the network and the limits. Pure.
 *
 * A round sends what was dirty at its start. What the guest dirties meanwhile is counted in pages, each once: of n
 * writes spread evenly over p pages, p * (1 - exp(-n / p)) differ. After each round the engine's own estimates
 * (migrate/estimate.h) and decision (migrate/converge.h) say whether it goes on, as they do in a migration; so the
 * model differs from one in what it is told, not in what it decides. The first round's size is memory that was touched
 * and is not zero.
 */
#ifndef PERF_MODEL_H
#define PERF_MODEL_H

#include "migrate/converge.h"
#include "perf/process_guest.h"

#define MODEL_ROUNDS_MAX (CONVERGE_ROUNDS_MAX + 64u)

/* memory_bytes       to send in the first round
 * dirty_pages_ps     page writes a second, over working_set_bytes
 * bytes_ps           what the network carries
 * setup_ns           before the first page; counts in the total and against the deadline
 * fixed_ns           the part of the downtime that does not depend on what is dirty; 0: as estimate.h assumes
 * turn_ns            the end of a round: fence, answer, the next dirty bitmap */
struct model {
    uint64_t memory_bytes;
    uint64_t working_set_bytes;
    uint64_t dirty_pages_ps;
    enum process_guest_pattern pattern;
    uint64_t bytes_ps;
    uint64_t setup_ns, fixed_ns, turn_ns;
    struct converge_options limits;
};

struct model_round {
    uint64_t bytes, ns;
    uint64_t left_bytes; /* dirty when it had ended */
    uint32_t throttle_percent;
};

/* kind     SWITCH_OVER: it migrates. ABORT: it gives up, text says why
 * rounds   of pre-copy, and the two while the guest stands still (memory, device state), as tern counts them
 * text     the engine's word with its decision, may be empty */
struct model_result {
    enum converge_kind kind;
    uint32_t rounds;
    uint64_t total_ns, downtime_ns, bytes_sent;
    uint32_t throttle_percent;
    bool limit_missed;
    uint32_t n_rounds;
    struct model_round round[MODEL_ROUNDS_MAX];
    char text[CONVERGE_TEXT_BYTES];
    char hint[TERN_ERROR_HINT_BYTES];
};

/* model_run: bytes_ps > 0. */
void model_run(const struct model *model, struct model_result *out);

/* model_dirtied_pages: different pages that the guest writes in ns, throttled by percent. */
double model_dirtied_pages(const struct model *model, double ns, uint32_t throttle_percent);

#endif
