/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "tools/tern/doctor.h"

#define MEMLOCK_ENOUGH (1ull << 30)

static uint32_t rdma_hints(const struct doctor_facts *facts, const char **out)
{
    bool any_active = false, any_unknown = false, any_usable = false;
    uint32_t n = 0;

    for (uint32_t i = 0; i < facts->n_ports; i++) {
        any_active |= facts->ports[i].is_active;
        any_usable |= facts->ports[i].is_active && facts->ports[i].gids[0];
        any_unknown |= facts->ports[i].node == TOPOLOGY_UNKNOWN;
    }
    if (!facts->n_ports)
        out[n++] = "no RDMA device, so migrations go over TCP: load a driver, or make a soft-RoCE device: "
                   "rdma link add rxe0 type rxe netdev IFACE";
    else if (!any_active)
        out[n++] = "no RDMA port is active: check the cable, and 'ip link set IFACE up'";
    else if (!any_usable)
        out[n++] = "no active RDMA port has a RoCE v2 or InfiniBand GID: give its interface an address";
    if (facts->n_ports && !facts->has_verbs)
        out[n++] = "RDMA cannot be used: /dev/infiniband/uverbs0 is missing or not ours: modprobe ib_uverbs";
    if (facts->n_ports && !facts->has_rdma_cm)
        out[n++] = "RDMA connections cannot be made: /dev/infiniband/rdma_cm is missing or not ours: modprobe rdma_ucm";
    if (any_unknown && facts->topology.n_nodes > 1)
        out[n++] =
            "an RDMA device does not say which NUMA node it is near: it is used after those that are near, before "
            "those that are far";
    return n;
}

static uint32_t memory_hints(const struct doctor_facts *facts, const char **out)
{
    uint32_t n = 0;
    bool forbidden = false;

    if (facts->n_ports && !facts->may_exceed_memlock && facts->memlock_bytes < MEMLOCK_ENOUGH)
        out[n++] = "guest memory cannot be pinned for RDMA: run 'ulimit -l unlimited' or set LimitMEMLOCK=infinity";
    for (uint32_t i = 0; i < facts->topology.n_nodes; i++)
        forbidden |= !facts->topology.nodes[i].may_allocate;
    if (forbidden)
        out[n++] = "a cpuset keeps tern's memory off some NUMA nodes: see cpuset.mems of its cgroup";
    return n;
}

uint32_t doctor_hints(const struct doctor_facts *facts, const char *out[DOCTOR_HINTS_MAX])
{
    uint32_t n = rdma_hints(facts, out);

    n += memory_hints(facts, out + n);
    if (facts->kvm == -EACCES || facts->kvm == -EPERM)
        out[n++] = "/dev/kvm is not ours to open: join the group kvm, or run as root";
    else if (facts->kvm)
        out[n++] =
            "no /dev/kvm, so guests are emulated: switch virtualization on in the firmware, modprobe kvm_intel or "
            "kvm_amd";
    if (!facts->has_wp_async || !facts->has_pagemap_scan)
        out[n++] =
            facts->has_soft_dirty
                ? "a QEMU's pages are tracked by soft-dirty, which holds it still each round: Linux 6.7 does without"
                : "a QEMU's pages cannot be tracked: Linux 6.7, or a kernel with CONFIG_MEM_SOFT_DIRTY, can";
    return n;
}
