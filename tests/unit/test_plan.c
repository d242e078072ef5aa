/* SPDX-License-Identifier: BSD-2-Clause */
/* The plan on made-up hosts: every lane has one worker, every node's memory one server, and nobody works far away
 * without need. */
#include <criterion/criterion.h>
#include <string.h>

#include "numa/plan.h"

#define GIB (1ull << 30)

static struct topology host;
static uint64_t bytes[TOPOLOGY_NODES_MAX];
static struct plan plan;

/* n nodes of cpus CPUs and 8 GiB each, all equally far from each other. */
static void make_host(uint32_t n, uint32_t cpus)
{
    memset(&host, 0, sizeof(host));
    memset(bytes, 0, sizeof(bytes));
    host.n_nodes = n;
    for (uint32_t i = 0; i < n; i++) {
        struct topology_node *node = &host.nodes[i];

        *node = (struct topology_node){.number = i, .n_cpus = cpus, .memory_bytes = 8 * GIB, .may_allocate = true};
        for (uint32_t cpu = 0; cpu < cpus; cpu++)
            cpu_bits_add(&node->cpus, i * cpus + cpu);
        for (uint32_t j = 0; j < n; j++)
            host.distance[i][j] = i == j ? 10 : 20;
        bytes[i] = GIB;
    }
}

static void no_cpus(uint32_t node)
{
    host.nodes[node].n_cpus = 0;
    memset(&host.nodes[node].cpus, 0, sizeof(host.nodes[node].cpus));
}

static uint32_t count(int node)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < plan.n_workers; i++)
        n += plan.workers[i].node == node;
    return n;
}

/* What holds of any plan. */
static void check_whole(const struct plan_input *input)
{
    uint64_t shards = 0, memory = 0;

    cr_assert_eq(plan.n_workers, input->n_lanes);
    for (uint32_t i = 0; i < plan.n_workers; i++) {
        const struct plan_worker *worker = &plan.workers[i];

        cr_assert_eq(worker->lane, i);
        cr_assert(worker->node >= 0 && worker->node < (int)host.n_nodes);
        cr_assert_lt(worker->shard_part, worker->shard_parts);
        cr_assert_eq(worker->shard_parts, count(worker->node));
        cr_assert(worker->rail == PLAN_NONE || worker->rail < (int)input->n_rails);
        cr_assert_eq(worker->rail == PLAN_NONE, !input->n_rails);
        if (worker->cpu_node != PLAN_NONE)
            cr_assert_gt(host.nodes[worker->cpu_node].n_cpus, 0);
        if (host.nodes[worker->node].n_cpus)
            cr_assert_eq(worker->cpu_node, worker->node, "worker %u works away from home", i);
        if (!worker->shard_part)
            shards += worker->shard_bytes;
    }
    for (uint32_t node = 0; node < host.n_nodes; node++) {
        memory += input->node_bytes[node];
        cr_assert_gt(count(plan.server[node]), 0, "nobody sends node %u's memory", node);
        if (count((int)node))
            cr_assert_eq(plan.server[node], (int)node);
    }
    cr_assert_eq(shards, memory, "shards are not the memory");
}

static void make(uint32_t lanes, const struct plan_rail *rails, uint32_t n_rails)
{
    struct plan_input input = {&host, bytes, lanes, rails, n_rails};

    plan_make(&input, &plan);
    check_whole(&input);
}

Test(plan, any_shape_is_whole, .timeout = 30)
{
    static const struct plan_rail rails[] = {{"a", 0}, {"b", 1}, {"c", TOPOLOGY_UNKNOWN}, {"d", 63}};

    for (uint32_t nodes = 1; nodes <= 8; nodes++)
        for (uint32_t cpus = 0; cpus <= 3; cpus++)
            for (uint32_t lanes = 1; lanes <= 19; lanes += 3)
                for (uint32_t n_rails = 0; n_rails <= 4; n_rails++)
                    for (uint32_t empty = 0; empty <= nodes; empty++) {
                        make_host(nodes, cpus);
                        if (empty < nodes) {
                            bytes[empty] = 0;
                            no_cpus((empty + 1) % nodes);
                        }
                        make(lanes, rails, n_rails);
                    }
}

Test(plan, one_node_has_all_workers, .timeout = 10)
{
    make_host(1, 4);
    make(4, NULL, 0);
    cr_assert_eq(count(0), 4);
    cr_assert_eq(plan.workers[3].shard_bytes, GIB);
    cr_assert_eq(plan_lanes(&host, bytes, 4), 4);
}

Test(plan, lanes_follow_the_memory, .timeout = 10)
{
    make_host(2, 8);
    bytes[0] = 3 * GIB;
    make(4, NULL, 0);
    cr_assert_eq(count(0), 3);
    cr_assert_eq(count(1), 1);
    bytes[0] = GIB;
    make(4, NULL, 0);
    cr_assert_eq(count(0), 2);
    bytes[1] = 0;
    make(4, NULL, 0);
    cr_assert_eq(count(0), 4, "a node without guest memory needs no worker");
}

Test(plan, every_node_with_memory_has_one_before_any_has_two, .timeout = 10)
{
    make_host(4, 8);
    bytes[0] = 1000 * GIB;
    make(4, NULL, 0);
    for (int node = 0; node < 4; node++)
        cr_assert_eq(count(node), 1, "node %d", node);
}

Test(plan, lanes_enough_for_every_node, .timeout = 10)
{
    make_host(4, 8);
    cr_assert_eq(plan_lanes(&host, bytes, 1), 4);
    cr_assert_eq(plan_lanes(&host, bytes, 2), 4);
    cr_assert_eq(plan_lanes(&host, bytes, 4), 4);
    cr_assert_eq(plan_lanes(&host, bytes, 6), 6);
    bytes[3] = 4096; /* too little for a lane's share: one more instead */
    cr_assert_eq(plan_lanes(&host, bytes, 3), 4);
    cr_assert_eq(plan_lanes(&host, bytes, 4), 5);
    bytes[1] = bytes[2] = bytes[3] = 0;
    cr_assert_eq(plan_lanes(&host, bytes, 4), 4);
    cr_assert_eq(plan_lanes(&host, bytes, 64), 64);
    memset(bytes, 0, sizeof(bytes));
    cr_assert_eq(plan_lanes(&host, bytes, 4), 4);
    make_host(8, 8);
    cr_assert_eq(plan_lanes(&host, bytes, 64), 64, "no more than there can be");
}

Test(plan, no_more_workers_than_cpus_while_there_are_some_elsewhere, .timeout = 10)
{
    make_host(2, 2);
    bytes[0] = 100 * GIB;
    make(4, NULL, 0);
    cr_assert_eq(count(0), 2);
    cr_assert_eq(count(1), 2);
    make(6, NULL, 0); /* none are idle any more: by memory */
    cr_assert_eq(count(0), 4);
}

Test(plan, with_fewer_lanes_than_nodes_the_nearest_serve, .timeout = 10)
{
    make_host(4, 4);
    bytes[1] = 4 * GIB;
    bytes[2] = 3 * GIB;
    host.distance[0][2] = 15;
    host.distance[3][1] = 12;
    make(2, NULL, 0);
    cr_assert_eq(count(1), 1);
    cr_assert_eq(count(2), 1);
    cr_assert_eq(plan.server[0], 2);
    cr_assert_eq(plan.server[3], 1);
    cr_assert_eq(plan.workers[0].shard_bytes, 5 * GIB);
}

Test(plan, equally_near_servers_share_the_rest, .timeout = 10)
{
    make_host(4, 4);
    bytes[0] = bytes[1] = 4 * GIB;
    make(2, NULL, 0);
    cr_assert_neq(plan.server[2], plan.server[3]);
}

Test(plan, memory_without_cpus_is_sent_from_the_nearest_that_has_some, .timeout = 10)
{
    make_host(4, 2);
    no_cpus(3);
    host.distance[3][1] = 14;
    make(4, NULL, 0);
    cr_assert_eq(count(3), 1);
    cr_assert_eq(plan.workers[3].node, 3);
    cr_assert_eq(plan.workers[3].cpu_node, 1);
    for (uint32_t i = 0; i < 4; i++)
        no_cpus(i);
    make(4, NULL, 0);
    cr_assert_eq(plan.workers[0].cpu_node, PLAN_NONE);
}

Test(plan, rails_near_the_worker_and_evenly_loaded, .timeout = 10)
{
    static const struct plan_rail two[] = {{"b", 1}, {"a", 0}};
    static const struct plan_rail on_one[] = {{"a", 0}, {"b", 0}};

    make_host(2, 4);
    make(4, two, 2);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(two[plan.workers[i].rail].node, plan.workers[i].node);
    make(4, on_one, 2);
    for (int rail = 0; rail < 2; rail++) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < 4; i++)
            n += plan.workers[i].rail == rail;
        cr_assert_eq(n, 2);
    }
    bytes[1] = 0; /* all workers on node 0: the far rail has its share all the same */
    make(4, two, 2);
    cr_assert_eq(plan.workers[0].rail, 1);
    cr_assert_eq(plan.workers[1].rail, 1);
    cr_assert_eq(plan.workers[2].rail, 0);
}

Test(plan, a_rail_that_is_nowhere_comes_after_the_near_before_the_far, .timeout = 10)
{
    static const struct plan_rail rails[] = {{"far", 1}, {"unknown", TOPOLOGY_UNKNOWN}, {"near", 0}};

    make_host(2, 4);
    bytes[1] = 0;
    make(3, rails, 3);
    cr_assert_eq(plan.workers[0].rail, 2);
    cr_assert_eq(plan.workers[1].rail, 1);
    cr_assert_eq(plan.workers[2].rail, 0);
}

Test(plan, what_is_not_known_is_taken_as_even, .timeout = 10)
{
    make_host(4, 4);
    memset(bytes, 0, sizeof(bytes));
    make(4, NULL, 0);
    for (int node = 0; node < 4; node++)
        cr_assert_eq(count(node), 1);
}

Test(plan, text_says_all_of_it, .timeout = 10)
{
    static const struct plan_rail rails[] = {{"rxe0", TOPOLOGY_UNKNOWN}};
    struct plan_input input;
    char text[4096], cut[16];
    size_t length;

    make_host(3, 2);
    host.nodes[2].number = 5;
    bytes[2] = GIB / 2;
    no_cpus(0);
    input = (struct plan_input){&host, bytes, 2, rails, 1};
    make(2, rails, 1);
    length = plan_text(&input, &plan, text, sizeof(text));
    cr_assert_eq(length, strlen(text));
    cr_assert_not_null(strstr(text, "rxe0"));
    cr_assert_not_null(strstr(text, "2-3"));
    cr_assert_not_null(strstr(text, "; runs on node 1"));
    cr_assert_not_null(strstr(text, "node 5 has no worker of its own: its 512 MiB"));
    cr_assert_not_null(strstr(text, "rail rxe0 does not say which node it is near"));
    cr_assert_eq(plan_text(&input, &plan, cut, sizeof(cut)), length);
    cr_assert_lt(strlen(cut), sizeof(cut));
}
