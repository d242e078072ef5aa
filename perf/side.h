/* SPDX-License-Identifier: BSD-2-Clause */
/* One side of one migration, in a process of its own: what that process has resident is that side's.
 * The child ends with its parent. It says first that it is ready, and at the end how it went. */
#ifndef PERF_SIDE_H
#define PERF_SIDE_H

#include <sys/types.h>

#include "perf/cli.h"
#include "perf/memory.h"

struct side_config {
    const struct perf_values *values; /* borrowed until side_start has returned */
    enum tern_side side;
    const char *host; /* source: the destination's. destination: where to listen, NULL: anywhere */
    uint16_t port;    /* destination: UINT16_MAX is any free one */
    bool alone;       /* source: the destination is on another host and may come late */
};

struct side {
    pid_t pid; /* 0: not there */
    int fd;
    enum tern_side which;
};

#define SIDE_ROUNDS_MAX 64

/* One finished round of pre-copy. left_bytes: dirty at its end. */
struct side_round {
    uint64_t bytes, ns, left_bytes;
    uint32_t throttle_percent;
};

/* code         of the run: 0, or -errno with error
 * steps_ps     pages that the guest wrote a second, from its start until the run's end
 * rounds       the first SIDE_ROUNDS_MAX of pre-copy, source only
 * sent_bytes   in all the rounds of pre-copy; the rest was sent while the guest stood still */
struct side_report {
    int code;
    struct tern_error error;
    struct tern_result result;
    struct memory_use memory;
    uint64_t steps_ps;
    uint32_t n_rounds;
    struct side_round rounds[SIDE_ROUNDS_MAX];
    uint64_t sent_bytes;
};

/* side_start: fork it, and wait until it is ready: the source's guest is filled and runs next, the destination listens.
 * port_out     destination: where; may be NULL */
int side_start(const struct side_config *config, struct side *out, uint16_t *port_out, struct tern_error *error);
/* side_finish: wait for the end. returns 0 with *out whose code says how the run went, or -errno: the process died */
int side_finish(struct side *side, struct side_report *out, struct tern_error *error);
/* side_kill: end it, whatever it does. Takes one that is not there. */
void side_kill(struct side *side);

/* side_run_both: one migration between two processes of this machine, over values->host.
 * reports  the source's, the destination's; a side that did not end stays as it was
 * returns  0, or the code of the run with its error */
int side_run_both(const struct perf_values *values, struct side_report reports[2], struct tern_error *error);

#endif
