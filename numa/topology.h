/* SPDX-License-Identifier: BSD-2-Clause */
/* This host's NUMA nodes as far as a migration cares: CPUs that this process may use, memory, distances, and where each
 * network card and RDMA device is. A plain struct: what follows from it (plan.h) is tested on made-up ones.
 * Invariant: nodes are sorted by number, and every CPU that may be used is in one node at least.
 */
#ifndef NUMA_TOPOLOGY_H
#define NUMA_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOPOLOGY_NODES_MAX   64u
#define TOPOLOGY_CPUS_MAX    2048u
#define TOPOLOGY_DEVICES_MAX 32u
#define TOPOLOGY_NEAR        10u /* distance of a node to itself (ACPI SLIT) */
#define TOPOLOGY_FAR         20u /* of any other, where the firmware gives none */
#define TOPOLOGY_UNKNOWN     (-1)

struct cpu_bits {
    uint64_t words[TOPOLOGY_CPUS_MAX / 64];
};

struct topology_node {
    uint32_t number;      /* the kernel's */
    uint32_t n_cpus;      /* that this process may use: cgroup's cpuset and the thread's affinity are respected */
    struct cpu_bits cpus; /* those */
    uint64_t memory_bytes, free_bytes;
    uint64_t cache_bytes; /* the largest last-level cache over its CPUs; 0 unknown */
    bool may_allocate;    /* the cgroup's cpuset lets this process have memory there */
};

/* node: the kernel's number, or TOPOLOGY_UNKNOWN: the device does not say (soft-RoCE never does; then its network
 * card's is taken, and a virtual card has none either). */
struct topology_device {
    char name[32];
    char netdev[32]; /* of an RDMA device: the network card under it, or "" */
    bool is_rdma;
    int32_t node;
};

struct topology {
    uint32_t n_nodes, n_devices;
    struct topology_node nodes[TOPOLOGY_NODES_MAX];
    uint16_t distance[TOPOLOGY_NODES_MAX][TOPOLOGY_NODES_MAX]; /* by position, not by number */
    struct topology_device devices[TOPOLOGY_DEVICES_MAX];
};

/* topology_has_nodes: has this host more than one node? One small file is read, where topology_read takes milliseconds.
 */
bool topology_has_nodes(void);

/* topology_read: nodes (hwloc) and devices (/sys) of this host, for the calling thread's affinity.
 * errors   -ENOMEM, -EIO hwloc cannot read this host
 * source   hwloc.h; Documentation/ABI/stable/sysfs-class-infiniband */
int topology_read(struct topology *out);

/* topology_read_devices: the devices alone, below sysfs ("/sys"). Those that cannot be read are left out. */
void topology_read_devices(const char *sysfs, struct topology *out);

/* topology_find: position of the node with the kernel's number, or -1. */
int topology_find(const struct topology *topology, uint32_t number);

/* Distance from one position to another; to a node that is unknown (-1), between near and far. */
uint32_t topology_distance(const struct topology *topology, int from, int to);

/* cpu_bits_*: sets of CPUs. cpu_bits_text: "0-3,8" into text; returns text. */
void cpu_bits_add(struct cpu_bits *bits, uint32_t cpu);
bool cpu_bits_has(const struct cpu_bits *bits, uint32_t cpu);
uint32_t cpu_bits_count(const struct cpu_bits *bits);
char *cpu_bits_text(const struct cpu_bits *bits, char *text, size_t capacity);

#endif
