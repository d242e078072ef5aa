/* SPDX-License-Identifier: BSD-2-Clause */
/* Convergence: after each round, go on, switch over, throttle the guest, or give up. Pure; no clock, no I/O.
 *
 * Rules, in this order:
 *   1. nothing left, or the predicted downtime (plus a margin) fits the limit: switch over; but while a further round
 * is cheap and sure to halve what is left, do that first, CONVERGE_POLISH_MAX times at most;
 *   2. the deadline: when there is no time for another round, the throttle policy switches over although the limit is
 * missed, the abort policy gives up;
 *   3. only the destination's digests are behind: let it catch up (settle_ns), CONVERGE_SETTLE_MAX times at most.
 * Whether it also digests too slowly is known when it has; rounds still shrink: go on;
 *   4. they have not for CONVERGE_STALL_ROUNDS: throttle by a step more, judged anew after each step, or give up.
 *      A VMM that cannot throttle has CONVERGE_STALL_NS before that, as a guest may write much for a moment.
 *      Where throttling cannot help (the VMM cannot; 99 % is reached; the downtime with nothing dirty is over the limit
 *      already, for CONVERGE_FIXED_ROUNDS) a deadline is the consent to miss the limit: with one, switch over at it
 *      (at once, if waiting cannot help); without one, give up, and say what limit would do.
 * Invariant: the number of decisions before an end is bounded, whatever the guest does (CONVERGE_ROUNDS_MAX).
 * Every decision but CONTINUE has a text for the user, with the figures it rests on.
 */
#ifndef MIGRATE_CONVERGE_H
#define MIGRATE_CONVERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/tern.h"

#define CONVERGE_STALL_ROUNDS    3u /* rounds without progress before anything is done */
#define CONVERGE_STALL_NS        1000000000ull
#define CONVERGE_FIXED_ROUNDS    16u /* and before the switchover itself is taken for too slow */
#define CONVERGE_THROTTLE_ROUNDS 2u  /* and before each further step */
#define CONVERGE_THROTTLE_FIRST  20u
#define CONVERGE_THROTTLE_STEP   10u
#define CONVERGE_THROTTLE_LAST   99u
#define CONVERGE_POLISH_MAX      2u
#define CONVERGE_SETTLE_MAX      20u
#define CONVERGE_ROUNDS_MAX      500u
#define CONVERGE_TEXT_BYTES      320

/* can_throttle: the VMM has the callback. deadline_ns: 0 none. */
struct converge_options {
    uint64_t downtime_limit_ns;
    uint64_t deadline_ns;
    enum tern_no_converge on_no_converge;
    bool can_throttle;
};

/* What is known at a round's end, after the dirty bitmap was fetched.
 * round            finished rounds, 1 after the first
 * elapsed_ns       since the migration began (what the deadline counts)
 * left_bytes       dirty now
 * bytes_ps, dirty_pages_ps, downtime_ns, fixed_ns, backlog_ns, digest_ns, round_ns   from estimate.h */
struct converge_round {
    uint32_t round;
    uint64_t elapsed_ns;
    uint64_t left_bytes;
    uint64_t page_bytes;
    uint64_t bytes_ps;
    uint64_t dirty_pages_ps;
    uint64_t downtime_ns;
    uint64_t fixed_ns;
    uint64_t backlog_ns;
    uint64_t digest_ns; /* of downtime_ns */
    uint64_t round_ns;
};

enum converge_kind {
    CONVERGE_CONTINUE,
    CONVERGE_SWITCH_OVER,
    CONVERGE_THROTTLE, /* set throttle_percent, then go on with the next round */
    CONVERGE_ABORT,
};

/* limit_missed: SWITCH_OVER with a predicted downtime over the limit. text: one line for a warning or an error; empty
 * where nothing is to be said. hint: what the user can do about it; may be empty. settle_ns: with CONTINUE, let this
 * much time pass before the next round (the guest runs; a kick or cancel ends it early). */
struct converge_decision {
    enum converge_kind kind;
    uint32_t throttle_percent;
    uint64_t settle_ns;
    bool limit_missed;
    char text[CONVERGE_TEXT_BYTES];
    char hint[TERN_ERROR_HINT_BYTES];
};

struct converge {
    struct converge_options options;
    uint32_t throttle_percent;
    uint32_t stalled; /* rounds without progress since the last step */
    uint32_t polished;
    uint32_t settled;
    uint64_t best_left_bytes; /* since the last step */
    uint64_t last_left_bytes;
    uint64_t progress_ns; /* when a round last made progress, as elapsed_ns */
};

void converge_init(struct converge *converge, const struct converge_options *options);

/* converge_decide: after each round, once. *out is written whole. */
void converge_decide(struct converge *converge, const struct converge_round *round, struct converge_decision *out);

/* converge_overdue: within a round, now and then: has the deadline passed?
 * unsent_bytes     of this round, for the text
 * returns  true and *out (SWITCH_OVER with limit_missed, or ABORT) when the round should not be finished with
 *          the guest running. SWITCH_OVER: stop the guest now; what the round has left belongs to the last one */
bool converge_overdue(const struct converge *converge, uint64_t elapsed_ns, uint64_t unsent_bytes,
                      struct converge_decision *out);

#endif
