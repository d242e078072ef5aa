/* SPDX-License-Identifier: BSD-2-Clause */
/* This host's nodes, a made-up /sys, CPU sets and node maps. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "numa/node_map.h"
#include "numa/topology.h"
#include "numa/workers.h"

static struct topology host;

static uint32_t cpus_in_all(void)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < host.n_nodes; i++)
        n += host.nodes[i].n_cpus;
    return n;
}

Test(topology, this_host, .timeout = 30)
{
    cr_assert_eq(topology_read(&host), 0);
    cr_assert_geq(host.n_nodes, 1);
    cr_assert_eq(topology_has_nodes(), host.n_nodes > 1);
    cr_assert_gt(host.nodes[0].memory_bytes, 0);
    cr_assert(host.nodes[0].free_bytes > 0 && host.nodes[0].free_bytes < host.nodes[0].memory_bytes);
    cr_assert(host.nodes[0].may_allocate);
    cr_assert_eq(host.distance[0][0], TOPOLOGY_NEAR);
    cr_assert_eq(topology_find(&host, host.nodes[0].number), 0);
    cr_assert_eq(topology_find(&host, 4711), -1);
}

/* As taskset and a cgroup's cpuset do it. */
Test(topology, affinity_is_respected, .timeout = 30)
{
    struct cpu_bits one = {0};
    cpu_set_t allowed;

    CPU_ZERO(&allowed);
    cr_assert_eq(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    cr_assert_eq(topology_read(&host), 0);
    cr_assert_eq((int)cpus_in_all(), CPU_COUNT(&allowed));
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE && !cpu_bits_count(&one); cpu++)
        if (CPU_ISSET(cpu, &allowed))
            cpu_bits_add(&one, cpu);
    cr_assert_eq(worker_pin(&one), 0);
    cr_assert_eq(topology_read(&host), 0);
    cr_assert_eq(cpus_in_all(), 1);
    cr_assert_eq(worker_pin(&(struct cpu_bits){0}), -EINVAL);
}

static void make_file(const char *root, const char *path, const char *text)
{
    char at[512];
    FILE *f;

    snprintf(at, sizeof(at), "%s/%s", root, path);
    for (char *slash = strchr(at + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(at, 0777);
        *slash = '/';
    }
    f = fopen(at, "w");
    cr_assert(f && fputs(text, f) >= 0 && !fclose(f), "%s", at);
}

static int node_of(const char *name)
{
    for (uint32_t i = 0; i < host.n_devices; i++)
        if (!strcmp(host.devices[i].name, name))
            return host.devices[i].node;
    cr_assert_fail("no device %s", name);
    return -2;
}

Test(topology, devices_of_a_sysfs, .timeout = 30)
{
    char root[] = "/tmp/sysfs.XXXXXX", command[64];

    cr_assert_not_null(mkdtemp(root));
    make_file(root, "class/infiniband/mlx5_0/device/numa_node", "3\n");
    make_file(root, "class/infiniband/mlx5_0/ports/1/gid_attrs/ndevs/0", "eth9\n");
    make_file(root, "class/infiniband/rxe0/ports/1/gid_attrs/ndevs/1", "eth0\n"); /* the device itself says nothing */
    make_file(root, "class/infiniband/rxe1/ports/1/gid_attrs/ndevs/0", "lo\n");
    make_file(root, "class/infiniband/old/device/numa_node", "-1\n");
    make_file(root, "class/net/eth0/device/uevent", "");
    make_file(root, "class/net/eth0/device/numa_node", "1\n");
    make_file(root, "class/net/eth1/device/uevent", "");
    make_file(root, "class/net/lo/uevent", "");
    topology_read_devices(root, &host);
    cr_assert_eq(host.n_devices, 6, "%u", host.n_devices);
    cr_assert_eq(node_of("mlx5_0"), 3);
    cr_assert_eq(node_of("rxe0"), 1);
    cr_assert_eq(node_of("rxe1"), TOPOLOGY_UNKNOWN);
    cr_assert_eq(node_of("old"), TOPOLOGY_UNKNOWN);
    cr_assert_eq(node_of("eth0"), 1);
    cr_assert_eq(node_of("eth1"), TOPOLOGY_UNKNOWN);
    topology_read_devices("/nowhere", &host);
    cr_assert_eq(host.n_devices, 0);
    snprintf(command, sizeof(command), "rm -r %s", root);
    cr_assert_eq(system(command), 0);
}

Test(topology, cpu_sets, .timeout = 10)
{
    struct cpu_bits bits = {0};
    char text[64], small[32];

    cr_assert_str_eq(cpu_bits_text(&bits, text, sizeof(text)), "");
    cpu_bits_add(&bits, 0);
    for (uint32_t cpu = 62; cpu < 67; cpu++)
        cpu_bits_add(&bits, cpu);
    cpu_bits_add(&bits, TOPOLOGY_CPUS_MAX - 1);
    cpu_bits_add(&bits, TOPOLOGY_CPUS_MAX);
    cr_assert_eq(cpu_bits_count(&bits), 7);
    cr_assert(cpu_bits_has(&bits, 64) && !cpu_bits_has(&bits, 61) && !cpu_bits_has(&bits, TOPOLOGY_CPUS_MAX));
    cr_assert_str_eq(cpu_bits_text(&bits, text, sizeof(text)), "0,62-66,2047");
    for (uint32_t cpu = 100; cpu < 1000; cpu += 2)
        cpu_bits_add(&bits, cpu);
    cpu_bits_text(&bits, small, sizeof(small));
    cr_assert_lt(strlen(small), sizeof(small));
    cr_assert_str_eq(small + strlen(small) - 4, ",...");
}

Test(node_map, texts, .timeout = 10)
{
    static const char *const bad[] = {"",    "0",    "0:",   ":1",   "0:1,", "0:1;1:0",       "0:1,0:2",
                                      "a:b", "-1:0", "0:64", "64:0", "0:1 ", "99999999999:0", "0::1"};
    struct node_map map = {.n = 77};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(node_map_parse(bad[i], &map), -EINVAL, "'%s' was taken", bad[i]);
        cr_assert_eq(map.n, 77);
    }
    cr_assert_eq(node_map_parse("0:1,1:0,63:12", &map), 0);
    cr_assert(map.n == 3 && map.from[2] == 63 && map.to[2] == 12 && map.to[0] == 1);
    cr_assert_eq(node_map_parse(NULL, &map), 0);
    cr_assert_eq(map.n, 0);
}

Test(node_map, targets, .timeout = 10)
{
    struct node_map map, none = {0};

    memset(&host, 0, sizeof(host));
    host.n_nodes = 3;
    for (uint32_t i = 0; i < 3; i++)
        host.nodes[i] = (struct topology_node){.number = 2 * i, .memory_bytes = 1, .may_allocate = true};
    cr_assert_eq(node_map_parse("0:2,7:4", &map), 0);
    cr_assert_eq(node_map_missing(&map, &host), -1);
    cr_assert_eq(node_map_target(&map, &host, 0), 2);
    cr_assert_eq(node_map_target(&map, &host, 7), 4);
    cr_assert_eq(node_map_target(&map, &host, 2), 2, "the same number");
    cr_assert_eq(node_map_target(&map, &host, 1), NODE_MAP_INTERLEAVE, "no such node here");
    cr_assert_eq(node_map_target(&none, &host, 0), 0);
    host.nodes[2].may_allocate = false;
    cr_assert_eq(node_map_missing(&map, &host), 4);
    cr_assert_eq(node_map_target(&none, &host, 4), NODE_MAP_INTERLEAVE, "not ours to use");
    host.nodes[1].memory_bytes = 0;
    cr_assert_eq(node_map_missing(&map, &host), 2);
}
