/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/plan.h"

#include <stdbool.h>
#include <string.h>

/* ---- lanes to nodes ---- */

/* Where nothing is known of the memory, it is taken to lie evenly wherever there is any. */
static void weigh(const struct plan_input *input, uint64_t weight[TOPOLOGY_NODES_MAX])
{
    const struct topology *t = input->topology;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < t->n_nodes; i++)
        sum += weight[i] = input->node_bytes[i];
    for (uint32_t i = 0; i < t->n_nodes && !sum; i++)
        weight[i] = t->nodes[i].memory_bytes ? 1 : 0;
    for (uint32_t i = 0; i < t->n_nodes; i++)
        if (weight[i])
            return;
    weight[0] = 1;
}

/* Is one more lane better here than there? None before one, CPUs to spare before none, then the most memory a lane. */
static bool needs_more(const struct topology *t, const uint64_t *weight, const uint32_t *lanes, uint32_t here,
                       uint32_t there)
{
    bool idle_here = lanes[here] < t->nodes[here].n_cpus, idle_there = lanes[there] < t->nodes[there].n_cpus;

    if (!lanes[here] != !lanes[there])
        return !lanes[here];
    if (lanes[here] && idle_here != idle_there)
        return idle_here;
    return (unsigned __int128)weight[here] * (lanes[there] + 1) > (unsigned __int128)weight[there] * (lanes[here] + 1);
}

static void share_lanes(const struct plan_input *input, const uint64_t *weight, uint32_t lanes[TOPOLOGY_NODES_MAX])
{
    const struct topology *t = input->topology;

    memset(lanes, 0, TOPOLOGY_NODES_MAX * sizeof(*lanes));
    for (uint32_t lane = 0; lane < input->n_lanes; lane++) {
        int best = PLAN_NONE;

        for (uint32_t node = 0; node < t->n_nodes; node++)
            if (weight[node] && (best == PLAN_NONE || needs_more(t, weight, lanes, node, (uint32_t)best)))
                best = (int)node;
        lanes[best]++;
    }
}

/* ---- who serves whom, and where from ---- */

/* The nearest node that `fits`; of several equally near ones the one with the fewest bytes to serve so far. */
static int nearest(const struct topology *t, uint32_t node, const bool *fits, const uint64_t *served)
{
    int best = PLAN_NONE;

    for (uint32_t i = 0; i < t->n_nodes; i++) {
        uint32_t distance = topology_distance(t, (int)node, (int)i), least;

        if (!fits[i])
            continue;
        if (i == node)
            return (int)i;
        least = best == PLAN_NONE ? UINT32_MAX : topology_distance(t, (int)node, best);
        if (distance < least || (distance == least && served && served[i] < served[best]))
            best = (int)i;
    }
    return best;
}

static void choose_servers(const struct plan_input *input, const uint32_t *lanes, struct plan *out,
                           uint64_t served[TOPOLOGY_NODES_MAX])
{
    const struct topology *t = input->topology;
    bool has_lanes[TOPOLOGY_NODES_MAX];

    for (uint32_t node = 0; node < t->n_nodes; node++) {
        has_lanes[node] = lanes[node] > 0;
        served[node] = has_lanes[node] ? input->node_bytes[node] : 0;
    }
    for (uint32_t node = 0; node < t->n_nodes; node++) {
        out->server[node] = nearest(t, node, has_lanes, served);
        if (!has_lanes[node])
            served[out->server[node]] += input->node_bytes[node];
    }
}

static int cpus_for(const struct topology *t, uint32_t node)
{
    bool has_cpus[TOPOLOGY_NODES_MAX];

    for (uint32_t i = 0; i < t->n_nodes; i++)
        has_cpus[i] = t->nodes[i].n_cpus > 0;
    return nearest(t, node, has_cpus, NULL);
}

/* ---- rails ---- */

static void choose_rails(const struct plan_input *input, struct plan *out)
{
    const struct topology *t = input->topology;
    uint32_t load[PLAN_RAILS_MAX] = {0};
    uint32_t n_rails = input->n_rails < PLAN_RAILS_MAX ? input->n_rails : PLAN_RAILS_MAX;
    uint32_t room = n_rails ? (out->n_workers + n_rails - 1) / n_rails : 0;

    for (uint32_t i = 0; i < out->n_workers; i++) {
        struct plan_worker *worker = &out->workers[i];
        uint32_t least = UINT32_MAX;

        worker->rail = PLAN_NONE;
        for (uint32_t rail = 0; rail < n_rails; rail++) {
            int32_t number = input->rails[rail].node;
            int at = number < 0 ? PLAN_NONE : topology_find(t, (uint32_t)number);
            uint32_t distance = topology_distance(t, worker->cpu_node, at);

            if (load[rail] == room)
                continue;
            if (distance < least || (distance == least && load[rail] < load[worker->rail])) {
                least = distance;
                worker->rail = (int)rail;
            }
        }
        if (worker->rail != PLAN_NONE)
            load[worker->rail]++;
    }
}

void plan_make(const struct plan_input *input, struct plan *out)
{
    uint64_t weight[TOPOLOGY_NODES_MAX] = {0}, served[TOPOLOGY_NODES_MAX];
    uint32_t lanes[TOPOLOGY_NODES_MAX];

    memset(out, 0, sizeof(*out));
    weigh(input, weight);
    share_lanes(input, weight, lanes);
    choose_servers(input, lanes, out, served);
    for (uint32_t node = 0; node < input->topology->n_nodes; node++)
        for (uint32_t part = 0; part < lanes[node]; part++) {
            struct plan_worker *worker = &out->workers[out->n_workers];

            *worker = (struct plan_worker){.lane = out->n_workers,
                                           .node = (int)node,
                                           .cpu_node = cpus_for(input->topology, node),
                                           .shard_part = part,
                                           .shard_parts = lanes[node],
                                           .shard_bytes = served[node]};
            out->n_workers++;
        }
    choose_rails(input, out);
}

uint32_t plan_lanes(const struct topology *topology, const uint64_t *node_bytes, uint32_t lanes)
{
    uint32_t large = 0, small = 0, wanted;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < topology->n_nodes; i++)
        sum += node_bytes[i];
    for (uint32_t i = 0; i < topology->n_nodes; i++)
        if (node_bytes[i]) {
            large += node_bytes[i] >= sum / lanes;
            small += node_bytes[i] < sum / lanes;
        }
    if (large)
        wanted = (lanes > large ? lanes : large) + small;
    else
        wanted = lanes > small ? lanes : small;
    return wanted < PLAN_WORKERS_MAX ? wanted : PLAN_WORKERS_MAX;
}
