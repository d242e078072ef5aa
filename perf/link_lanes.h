/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes, or reads, over all lanes of a link, as a migration's workers make them: a thread a lane, runs handed over
 * many at a time, a fence on each lane at the end, and the far host's word that it has seen them all. */
#ifndef PERF_LINK_LANES_H
#define PERF_LINK_LANES_H

#include "perf/link_client.h"

/* iterations  operations (writes, or reads) over all lanes; 0: for duration_ns
 * scattered   a gap of size_bytes after each */
struct link_load {
    uint64_t size_bytes;
    uint64_t iterations;
    uint64_t duration_ns;
    bool scattered;
};

/* ns  from the first operation until the far host's word */
struct link_round {
    uint64_t operations;
    uint64_t ns;
};

/* link_lanes_memory: the least memory that the lanes need between them. */
uint64_t link_lanes_memory(const struct link_load *load, uint32_t n_lanes);

/* link_lanes_round: one round of such operations. */
int link_lanes_round(struct link_client *client, const struct link_load *load, struct link_round *out,
                     struct tern_error *error);

/* link_lanes_wait: provider->wait as long as the far host lives. */
int link_lanes_wait(struct link_client *client, uint32_t lane, enum link_wait what, struct tern_error *error);

#endif
