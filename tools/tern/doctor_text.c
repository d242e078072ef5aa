/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "tools/common/units.h"
#include "tools/tern/doctor.h"

static void print_nodes(const struct doctor_facts *facts, FILE *out)
{
    const struct topology *t = &facts->topology;

    fprintf(out, "NUMA nodes\n");
    for (uint32_t i = 0; i < t->n_nodes; i++) {
        const struct topology_node *node = &t->nodes[i];
        char cpus[128], a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES];

        fprintf(out, "  node %-4u %s, %s free; CPUs for tern: %s%s; distances", node->number,
                units_size(node->memory_bytes, a), units_size(node->free_bytes, b),
                node->n_cpus ? cpu_bits_text(&node->cpus, cpus, sizeof(cpus)) : "none",
                node->may_allocate ? "" : "; no memory for tern");
        for (uint32_t j = 0; j < t->n_nodes; j++)
            fprintf(out, " %u", t->distance[i][j]);
        fputc('\n', out);
    }
}

static void print_ports(const struct doctor_facts *facts, FILE *out)
{
    fprintf(out, "RDMA\n");
    if (!facts->n_ports)
        fprintf(out, "  no device\n");
    for (uint32_t i = 0; i < facts->n_ports; i++) {
        const struct doctor_port *port = &facts->ports[i];
        char node[24] = "node unknown";

        if (port->node != TOPOLOGY_UNKNOWN)
            snprintf(node, sizeof(node), "node %d", port->node);
        fprintf(out, "  %s port %u: %s, %s%s%s, %s; usable GIDs: %s\n", port->device, port->port, port->state,
                port->link_layer, port->netdev[0] ? " on " : "", port->netdev, node,
                port->gids[0] ? port->gids : "none");
    }
    if (facts->n_ports)
        fprintf(out, "  device files: uverbs %s, rdma_cm %s\n", facts->has_verbs ? "yes" : "no",
                facts->has_rdma_cm ? "yes" : "no");
}

static void print_memory(const struct doctor_facts *facts, FILE *out)
{
    char a[UNITS_TEXT_BYTES];

    fprintf(out, "memory\n  RLIMIT_MEMLOCK %s%s\n",
            facts->memlock_bytes == DOCTOR_UNLIMITED ? "unlimited" : units_size(facts->memlock_bytes, a),
            facts->may_exceed_memlock ? ", which does not bind this user (CAP_IPC_LOCK)" : "");
    for (uint32_t i = 0; i < facts->n_huge; i++)
        fprintf(out, "  huge pages of %s: %llu, %llu free\n", units_size(facts->huge[i].page_bytes, a),
                (unsigned long long)facts->huge[i].total, (unsigned long long)facts->huge[i].free);
}

static void print_kernel(const struct doctor_facts *facts, FILE *out)
{
    fprintf(out, "kernel %s\n  /dev/kvm: %s\n  userfaultfd: %s\n", facts->kernel,
            facts->kvm ? strerror(-facts->kvm) : "yes", facts->userfaultfd ? strerror(-facts->userfaultfd) : "yes");
    fprintf(out, "  asynchronous write-protection: %s, PAGEMAP_SCAN: %s, soft-dirty: %s\n",
            facts->has_wp_async ? "yes" : "no", facts->has_pagemap_scan ? "yes" : "no",
            facts->has_soft_dirty ? "yes" : "no");
}

void doctor_text(const struct doctor_facts *facts, FILE *out)
{
    const char *hints[DOCTOR_HINTS_MAX];
    uint32_t n = doctor_hints(facts, hints);

    print_nodes(facts, out);
    print_ports(facts, out);
    print_memory(facts, out);
    print_kernel(facts, out);
    for (uint32_t i = 0; i < n; i++)
        fprintf(out, "hint: %s\n", hints[i]);
}
