/* SPDX-License-Identifier: BSD-2-Clause */
/* Estimates from what this migration has measured: bandwidth, dirty rate, and the downtime if the guest were stopped
 * now.
 *
 * Pure, over plain structs; no clock, no allocation. Arithmetic saturates: no sample can overflow it.
 * Invariant: an estimate errs on the side of a longer downtime, and a round too small to measure
 * bandwidth with cannot change it.
 *
 *   downtime = bytes that will be left / bandwidth
 *            + pages whose digests the destination still owes / its digest rate      (with verify)
 *            + pause + last scan + save and load + ESTIMATE_ROUND_TRIPS round trips + resume
 * "will be left" are those known now, and those that the guest dirties until it has stopped.
 *
 * Must not know: links, trackers, options, decisions (converge.h).
 */
#ifndef MIGRATE_ESTIMATE_H
#define MIGRATE_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

/* Last fence and ROUND_ACK, PREPARE and READY, COMMIT and ACTIVE. */
#define ESTIMATE_ROUND_TRIPS 3u
#define ESTIMATE_NEVER       UINT64_MAX

/* One finished round of pre-copy.
 * sent_bytes       payload handed to the lanes; send_ns from the first post to ROUND_ACK of all of it
 * dirtied_pages    found by the fetch at the round's end, not counting what was dirty and is still unsent;
 *                  dirty_ns between that fetch and the one before it
 * scan_ns          how long that fetch took, all regions */
struct estimate_round {
    uint64_t sent_bytes;
    uint64_t send_ns;
    uint64_t dirtied_pages;
    uint64_t dirty_ns;
    uint64_t scan_ns;
};

/* Times that do not depend on what is dirty. Measured where it can be, else assumed: estimate_init sets the
 * assumptions, a session overwrites what it knows better (a VMM that was paused once, a state saved once). */
struct estimate_costs {
    uint64_t pause_ns;
    uint64_t state_ns; /* save_state and load_state */
    uint64_t state_bytes;
    uint64_t activate_ns; /* teardown of the lanes and resume() */
};

struct estimate {
    struct estimate_costs costs;
    uint64_t page_bytes;
    uint64_t
        limit_bytes_ps;   /* that the lanes are held to; 0: none. A short round may run faster, the last one may not */
    double mean_bytes_ps; /* over the rounds that tell, the newest weigh most */
    double last_bytes_ps; /* of the last that tells */
    uint32_t n_rounds, n_telling;
    double dirty_pages_ps;
    double peak_dirty_pages_ps;    /* decays by half a round */
    double scan_ns, round_trip_ns; /* peaks, decaying */
    double digest_pages_ps;        /* 0: unknown or no verify */
    uint64_t digest_backlog_pages;
};

/* page_bytes: unit of dirty tracking. */
void estimate_init(struct estimate *estimate, uint64_t page_bytes);

void estimate_add_round(struct estimate *estimate, const struct estimate_round *round);

/* A control message and its answer, when the peer had nothing else to do. */
void estimate_add_round_trip(struct estimate *estimate, uint64_t ns);

/* With verify: what the last ROUND_ACK said. pages_ps 0: unknown, which leaves the last known rate. */
void estimate_set_digest(struct estimate *estimate, uint64_t backlog_pages, uint64_t pages_ps);

/* Bytes a second over all lanes, as a coming last round would see it; 0: no round could tell yet. */
uint64_t estimate_bytes_ps(const struct estimate *estimate);

/* Pages a second that the guest dirties, of late. */
uint64_t estimate_dirty_pages_ps(const struct estimate *estimate);

/* How long the next round would take. ESTIMATE_NEVER: unknown. */
uint64_t estimate_round_ns(const struct estimate *estimate, uint64_t left_bytes);

/* The part of the downtime that would remain with nothing dirty and nothing to digest. */
uint64_t estimate_fixed_ns(const struct estimate *estimate);

/* With verify: how long the destination is behind with digests; it catches up by itself. */
uint64_t estimate_backlog_ns(const struct estimate *estimate);

/* With verify: the part of estimate_downtime_ns that is digesting, what is owed and what left_bytes will add. */
uint64_t estimate_digest_ns(const struct estimate *estimate, uint64_t left_bytes);

/* The downtime if the guest were stopped now with left_bytes known dirty. ESTIMATE_NEVER: bytes, but no bandwidth yet.
 */
uint64_t estimate_downtime_ns(const struct estimate *estimate, uint64_t left_bytes);

#endif
