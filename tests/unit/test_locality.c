/* SPDX-License-Identifier: BSD-2-Clause */
/* From where a guest's units lie to who sends them and what the destination is told; on a made-up host. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/locality.h"

#define UNIT_BYTES WIRE_UNIT_BYTES
#define MANY       3000u

static struct locality locality;
static struct guest guest;
static uint8_t unit_node[MANY], unit_group[MANY];
static struct tern_region regions[2] = {{.length_bytes = 1000 * UNIT_BYTES},
                                        {.length_bytes = 2000 * UNIT_BYTES - 4096}};

/* Nodes 0, 3 and 7; a guest of two regions, all on node 0. */
static void make(void)
{
    static const uint32_t numbers[] = {0, 3, 7};

    memset(&locality, 0, sizeof(locality));
    memset(unit_node, 0, sizeof(unit_node));
    locality.unit_node = unit_node;
    locality.unit_group = unit_group;
    locality.n_units = MANY;
    locality.topology.n_nodes = 3;
    for (uint32_t i = 0; i < 3; i++) {
        locality.topology.nodes[i] = (struct topology_node){.number = numbers[i], .n_cpus = 4, .memory_bytes = 1};
        for (uint32_t j = 0; j < 3; j++)
            locality.topology.distance[i][j] = i == j ? 10 : 20;
        locality.node_bytes[i] = 1 << 30;
    }
    guest = (struct guest){.n_regions = 2, .n_units = MANY};
    guest.regions[0] = (struct guest_region){.region = &regions[0], .n_units = 1000};
    guest.regions[1] = (struct guest_region){.region = &regions[1], .n_units = 2000, .first_unit = 1000};
}

Test(locality, units_go_to_the_workers_of_their_node, .timeout = 10)
{
    make();
    for (uint32_t i = 0; i < MANY; i++)
        unit_node[i] = i < 500 ? 7 : i < 1500 ? 3 : i < 2900 ? 0 : 5; /* 5 is no node of this host any more */
    cr_assert_eq(locality_lanes(&locality, 2), 3);
    cr_assert_eq(locality_lanes(NULL, 4), 4);
    locality_plan(&locality, 3, NULL, 0);
    cr_assert_eq(unit_group[0], 2);
    cr_assert_eq(unit_group[499], 2);
    cr_assert_eq(unit_group[500], 1);
    cr_assert_eq(unit_group[1500], 0);
    cr_assert_eq(unit_group[2999], 0, "somebody sends it");
    cr_assert_eq(locality_position(&locality, 0), 2);
    cr_assert_eq(locality_position(&locality, 2999), -1);
}

Test(locality, with_one_lane_one_group_has_all, .timeout = 10)
{
    make();
    for (uint32_t i = 0; i < MANY; i++)
        unit_node[i] = (uint8_t[]){0, 3, 7}[i % 3];
    locality_plan(&locality, 1, NULL, 0);
    for (uint32_t i = 0; i < MANY; i++)
        cr_assert_eq(unit_group[i], locality.plan.workers[0].node);
}

/* Two lanes a node; the devices of this host say where they are. */
Test(locality, the_plan_has_the_rails_near_the_nodes, .timeout = 10)
{
    static const char *const rails[] = {"far", "near3", "near0"};

    make();
    locality.topology.devices[0] = (struct topology_device){"near0", "", true, 0};
    locality.topology.devices[1] = (struct topology_device){"near3", "", false, 7}; /* a network card of that name */
    locality.topology.devices[2] = (struct topology_device){"near3", "", true, 3};
    locality.topology.n_devices = 3;
    locality_plan(&locality, 6, rails, 3);
    for (uint32_t i = 0; i < 6; i++)
        cr_assert_eq(locality.plan.workers[i].rail, 2 - (int)i / 2, "lane %u rides %s", i,
                     rails[locality.plan.workers[i].rail]);
}

Test(locality, runs_stay_in_their_regions, .timeout = 10)
{
    static struct wire_residence runs[WIRE_RESIDENCE_MAX];

    make();
    unit_node[1500] = 3;
    cr_assert_eq(locality_runs(NULL, &guest, runs), 0);
    cr_assert_eq(locality_runs(&locality, &guest, runs), 4);
    cr_assert(runs[0].region == 0 && runs[0].first_unit == 0 && runs[0].n_units == 1000 && runs[0].node == 0);
    cr_assert(runs[1].region == 1 && runs[1].first_unit == 0 && runs[1].n_units == 500 && runs[1].node == 0);
    cr_assert(runs[2].region == 1 && runs[2].first_unit == 500 && runs[2].n_units == 1 && runs[2].node == 3);
    cr_assert(runs[3].region == 1 && runs[3].first_unit == 501 && runs[3].n_units == 1499);
}

/* Whatever the memory looks like, the message can be made and is taken. */
Test(locality, runs_fit_the_message, .timeout = 10)
{
    static struct wire_hello hello, out;
    static uint8_t buffer[WIRE_BUFFER_BYTES];

    make();
    for (uint32_t i = 0; i < MANY; i++)
        unit_node[i] = i % 2 ? 3 : 7;
    hello = (struct wire_hello){.n_lanes = 1, .chunk_bytes = 16 << 20, .n_regions = 2};
    for (int i = 0; i < 2; i++)
        hello.regions[i].length_bytes = regions[i].length_bytes;
    hello.n_residence = locality_runs(&locality, &guest, hello.residence);
    cr_assert(hello.n_residence > 0 && hello.n_residence <= WIRE_RESIDENCE_MAX);
    cr_assert_eq(wire_get_hello(buffer, wire_put_hello(buffer, &hello), &out), 0);
}

Test(locality, a_report_has_the_nodes_with_pages, .timeout = 10)
{
    struct residence found = {.sampled = true};
    struct tern_result result = {0};

    found.pages[3] = 10;
    found.pages[63] = 20;
    locality_report(&found, &result);
    cr_assert_eq(result.n_nodes, 2);
    cr_assert(result.nodes_sampled);
    cr_assert(result.nodes[0].node == 3 && result.nodes[0].pages == 10);
    cr_assert(result.nodes[1].node == 63 && result.nodes[1].pages == 20);
}
