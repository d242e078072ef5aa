/* SPDX-License-Identifier: BSD-2-Clause */
/* What tern doctor advises, what it reads of a made-up /sys, and that both renderings say the same of this host. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/common/plan_json.h"
#include "tools/common/report.h"
#include "tools/tern/doctor.h"

static struct doctor_facts facts;

/* A host that lacks nothing. */
static void make_whole(void)
{
    memset(&facts, 0, sizeof(facts));
    facts.topology.n_nodes = 2;
    facts.topology.nodes[0].may_allocate = facts.topology.nodes[1].may_allocate = true;
    facts.n_ports = 1;
    facts.ports[0] = (struct doctor_port){.device = "mlx5_0", .is_active = true, .gids = "3", .node = 1};
    facts.has_verbs = facts.has_rdma_cm = facts.has_wp_async = facts.has_pagemap_scan = true;
    facts.memlock_bytes = DOCTOR_UNLIMITED;
}

static bool advises(const char *word)
{
    const char *hints[DOCTOR_HINTS_MAX];
    uint32_t n = doctor_hints(&facts, hints);

    for (uint32_t i = 0; i < n; i++)
        if (strstr(hints[i], word))
            return true;
    return false;
}

static uint32_t advice(void)
{
    const char *hints[DOCTOR_HINTS_MAX];

    return doctor_hints(&facts, hints);
}

Test(doctor, a_whole_host_needs_no_hint, .timeout = 10)
{
    make_whole();
    cr_assert_eq(advice(), 0);
}

Test(doctor, each_lack_has_its_hint, .timeout = 10)
{
    make_whole();
    facts.ports[0].is_active = false;
    cr_assert(advises("no RDMA port is active") && advice() == 1);
    make_whole();
    facts.ports[0].gids[0] = 0;
    cr_assert(advises("GID") && advice() == 1);
    make_whole();
    facts.has_verbs = false;
    cr_assert(advises("modprobe ib_uverbs") && advice() == 1);
    make_whole();
    facts.has_rdma_cm = false;
    cr_assert(advises("modprobe rdma_ucm") && advice() == 1);
    make_whole();
    facts.ports[0].node = TOPOLOGY_UNKNOWN;
    cr_assert(advises("which NUMA node") && advice() == 1);
    facts.topology.n_nodes = 1;
    cr_assert_eq(advice(), 0, "with one node it does not matter");
    make_whole();
    facts.memlock_bytes = 8 << 20;
    cr_assert(advises("ulimit -l unlimited") && advice() == 1);
    facts.may_exceed_memlock = true;
    cr_assert_eq(advice(), 0);
    make_whole();
    facts.topology.nodes[1].may_allocate = false;
    cr_assert(advises("cpuset.mems") && advice() == 1);
    make_whole();
    facts.kvm = -EACCES;
    cr_assert(advises("group kvm") && advice() == 1);
    facts.kvm = -ENOENT;
    cr_assert(advises("modprobe kvm_intel") && advice() == 1);
    make_whole();
    facts.has_wp_async = false;
    cr_assert(advises("CONFIG_MEM_SOFT_DIRTY") && advice() == 1);
    facts.has_soft_dirty = true;
    cr_assert(advises("holds it still") && advice() == 1);
    memset(&facts, 0, sizeof(facts));
    cr_assert(advises("rdma link add"));
    cr_assert_leq(advice(), DOCTOR_HINTS_MAX);
}

static void make_file(const char *root, const char *path, const char *text)
{
    char at[512];
    FILE *f;

    snprintf(at, sizeof(at), "%s/class/infiniband/%s", root, path);
    for (char *slash = strchr(at + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(at, 0777);
        *slash = '/';
    }
    f = fopen(at, "w");
    cr_assert(f && fputs(text, f) >= 0 && !fclose(f), "%s", at);
}

Test(doctor, ports_of_a_sysfs, .timeout = 30)
{
    char root[] = "/tmp/doctor.XXXXXX", command[64];

    cr_assert_not_null(mkdtemp(root));
    make_file(root, "rxe0/ports/1/state", "4: ACTIVE\n");
    make_file(root, "rxe0/ports/1/link_layer", "Ethernet\n");
    make_file(root, "rxe0/ports/1/gids/0", "fe80:0000:0000:0000:5054:00ff:fe77:0001\n");
    make_file(root, "rxe0/ports/1/gid_attrs/types/0", "IB/RoCE v1\n");
    make_file(root, "rxe0/ports/1/gids/1", "0000:0000:0000:0000:0000:ffff:0a4d:0001\n");
    make_file(root, "rxe0/ports/1/gid_attrs/types/1", "RoCE v2\n");
    make_file(root, "rxe0/ports/1/gid_attrs/ndevs/1", "eth0\n");
    make_file(root, "rxe0/ports/1/gids/2", "0000:0000:0000:0000:0000:0000:0000:0000\n");
    make_file(root, "rxe0/ports/1/gid_attrs/types/2", "RoCE v2\n");
    make_file(root, "ib0/ports/2/state", "1: DOWN\n");
    make_file(root, "ib0/ports/2/link_layer", "InfiniBand\n");
    make_file(root, "ib0/ports/2/gids/0", "fe80:0000:0000:0000:0000:0000:0000:0001\n");
    make_file(root, "ib0/ports/2/gid_attrs/types/0", "IB/RoCE v1\n");
    memset(&facts, 0, sizeof(facts));
    doctor_read_ports(root, &facts);
    cr_assert_eq(facts.n_ports, 2);
    cr_assert_str_eq(facts.ports[0].device, "ib0");
    cr_assert_eq(facts.ports[0].port, 2);
    cr_assert_str_eq(facts.ports[0].state, "DOWN");
    cr_assert_not(facts.ports[0].is_active);
    cr_assert_str_eq(facts.ports[0].gids, "0");
    cr_assert(facts.ports[1].is_active);
    cr_assert_str_eq(facts.ports[1].gids, "1", "v1 and zero are of no use: %s", facts.ports[1].gids);
    cr_assert_str_eq(facts.ports[1].netdev, "eth0");
    snprintf(command, sizeof(command), "rm -r %s", root);
    cr_assert_eq(system(command), 0);
}

Test(doctor, this_host, .timeout = 30)
{
    struct tern_error error = {0};
    struct json_object *object, *nodes;
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    cr_assert_eq(doctor_read(&facts, &error), 0, "%s", error.message);
    object = doctor_json(&facts);
    cr_assert(json_object_object_get_ex(object, "nodes", &nodes));
    cr_assert_eq(json_object_array_length(nodes), facts.topology.n_nodes);
    cr_assert_eq(json_member_flag(object, "kvm"), !access("/dev/kvm", R_OK | W_OK));
    doctor_text(&facts, out);
    fclose(out);
    cr_assert_not_null(strstr(text, facts.kernel));
    cr_assert_not_null(strstr(text, "RLIMIT_MEMLOCK"));
    cr_assert_str_eq(json_member_text(object, "kernel"), facts.kernel);
    json_object_put(object);
    free(text);
}

Test(doctor, a_plan_as_json, .timeout = 10)
{
    static const struct plan_rail rails[] = {{"rxe0", 0}};
    static uint64_t bytes[TOPOLOGY_NODES_MAX] = {5 << 20, 3 << 20};
    struct plan_input input = {&facts.topology, bytes, 1, rails, 1};
    struct json_object *object, *workers, *served;
    struct plan plan;

    make_whole();
    facts.topology.nodes[1].number = 4;
    facts.topology.nodes[0].n_cpus = 1;
    cpu_bits_add(&facts.topology.nodes[0].cpus, 7);
    plan_make(&input, &plan);
    object = plan_json(&input, &plan);
    cr_assert(json_object_object_get_ex(object, "workers", &workers));
    cr_assert(json_object_object_get_ex(object, "served", &served));
    cr_assert_eq(json_object_array_length(workers), 1);
    workers = json_object_array_get_idx(workers, 0);
    cr_assert_str_eq(json_member_text(workers, "cpus"), "7");
    cr_assert_str_eq(json_member_text(workers, "rail"), "rxe0");
    cr_assert_eq(json_member_number(workers, "shard_bytes"), 8 << 20);
    cr_assert_eq(json_object_array_length(served), 1);
    cr_assert_eq(json_member_number(json_object_array_get_idx(served, 0), "node"), 4);
    json_object_put(object);
}
