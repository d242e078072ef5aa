/* SPDX-License-Identifier: BSD-2-Clause */
/* A load (web_load.h) that ran while its server's guest migrated (web_marks.h), as figures: throughput in each phase,
 * and what the clients saw of the switchover. Pure. Times are since the load began. */
#ifndef PERF_WEB_RUN_H
#define PERF_WEB_RUN_H

#include "perf/web_load.h"
#include "perf/web_marks.h"

#define WEB_NAME_BYTES 64
#define WEB_HOW_BYTES  64
#define WEB_LOSSES_MAX 8u

enum web_phase_kind {
    WEB_BEFORE,       /* from WEB_WARM_NS on, or from the first half of what there is */
    WEB_FIRST_ROUND,  /* of pre-copy; set-up is in no phase */
    WEB_LATER_ROUNDS, /* none: end is begin */
    WEB_SWITCHOVER,   /* the guest stands still */
    WEB_AFTER,        /* to the load's end */
    WEB_PHASES,
};

/* Connections begin slowly. */
#define WEB_WARM_NS 1000000000ull

struct web_phase {
    uint64_t begin_ns, end_ns, mean_bps;
};

/* The longest time without a byte that touches a window: of the median connection, of the worst, and without one on
 * any of them. Shorter ones than WEB_SILENCE_NS are 0. */
struct web_gap {
    uint64_t median_ns, worst_ns, all_ns;
};

/* The window begins with the stop; a guest that runs again is not at once what it was. */
#define WEB_GAP_NS 1000000000ull

/* A connection that was open when the guest stopped, and did not go on. Times are since the stop. */
struct web_loss {
    char how[WEB_HOW_BYTES];
    int64_t heard_ns, closed_ns; /* of its last byte; of its end, which is the load's where it only fell silent */
    uint64_t left_bytes;         /* of a body that was under way */
};

struct web_run {
    char name[WEB_NAME_BYTES];
    uint64_t slot_ns, n_slots;
    uint64_t *slot_bytes; /* owned */
    uint64_t begin_ns;    /* of the migration */
    struct web_phase phases[WEB_PHASES];
    uint64_t downtime_ns;             /* as the migration tells of itself */
    struct web_gap gap;               /* of the switchover */
    struct web_gap calm;              /* the same in the seconds before, the median of those */
    uint64_t connections, open, kept; /* open when the guest stopped; of those, kept: ended as the server had said, or
                                       * was there at the load's end, and heard also later than WEB_GAP_NS, or half of
                                       * what was left, after the guest ran again */
    struct web_loss losses[WEB_LOSSES_MAX]; /* the first ones that were not kept */
    size_t n_losses;
    uint64_t bodies, damaged;
};

/* web_gap_between: of a load, in the window from_ns to to_ns. Connections that never heard a byte are left out. */
struct web_gap web_gap_between(const struct web_load *load, uint64_t from_ns, uint64_t to_ns);

/* web_run_make: name may be NULL. *out is to be released.
 * errors   -ENOMEM; -ERANGE the load does not cover the migration, and some time before and after */
int web_run_make(const struct web_load *load, const struct web_marks *marks, const char *name, struct web_run *out,
                 struct tern_error *error);
void web_run_release(struct web_run *run);

/* web_run_ratio: of a phase to 'before'; 0: one of them has no throughput */
double web_run_ratio(const struct web_run *run, enum web_phase_kind kind);
/* "first round" */
const char *web_phase_name(enum web_phase_kind kind);

#endif
