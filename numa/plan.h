/* SPDX-License-Identifier: BSD-2-Clause */
/* Which worker sends what from where: a pure function of the topology, of where guest memory lies, of lanes and rails.
 * Worker i drives lane i. The memory of a node is its *shard*: the workers of that node share it among themselves as
 * they get on, and nobody else takes from it. A node without a worker of its own is served by the workers of the
 * nearest one that has some. A worker may run on all CPUs of its node that this process may use, not on one core: the
 * guest's CPUs run there too, and the scheduler keeps out of their way better than a number chosen beforehand.
 */
#ifndef NUMA_PLAN_H
#define NUMA_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "numa/topology.h"

#define PLAN_WORKERS_MAX 64u
#define PLAN_RAILS_MAX   16u
#define PLAN_NONE        (-1)

/* node: the kernel's number or TOPOLOGY_UNKNOWN. */
struct plan_rail {
    char name[32];
    int32_t node;
};

struct plan_input {
    const struct topology *topology; /* at least one node */
    const uint64_t *node_bytes;      /* guest memory on each node, by position; all 0: it is not known */
    uint32_t n_lanes;                /* 1..PLAN_WORKERS_MAX */
    const struct plan_rail *rails;
    uint32_t n_rails; /* may be 0 */
};

/* Nodes are positions in the topology. */
struct plan_worker {
    uint32_t lane;
    int node;     /* whose memory it sends */
    int cpu_node; /* on whose CPUs it runs: node, or the nearest with CPUs for us; PLAN_NONE: anywhere */
    int rail;     /* or PLAN_NONE */
    uint32_t shard_part, shard_parts; /* which of the workers that share the shard, from 0 */
    uint64_t shard_bytes;             /* of the whole shard, memory served for other nodes included */
};

struct plan {
    uint32_t n_workers;
    struct plan_worker workers[PLAN_WORKERS_MAX];
    int server[TOPOLOGY_NODES_MAX]; /* node -> the node whose workers send its memory */
};

/* plan_make: every lane gets a worker. Lanes go to nodes by their memory, each node with memory gets one before any
 * gets two, and no node gets more than it has CPUs while another has some to spare. Rails carry equally many lanes (one
 * more or less), each lane taking the nearest that has room. */
void plan_make(const struct plan_input *input, struct plan *out);

/* plan_lanes: how many lanes to have where `lanes` (at least 1) would do on one node: one for each node with memory at
 * least, and a node with less memory than a lane's share gets one more instead of taking one from the others. */
uint32_t plan_lanes(const struct topology *topology, const uint64_t *node_bytes, uint32_t lanes);

/* plan_text: the plan as lines for people. returns the length, as snprintf */
size_t plan_text(const struct plan_input *input, const struct plan *plan, char *text, size_t capacity);

#endif
