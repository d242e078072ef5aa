/* SPDX-License-Identifier: BSD-2-Clause */
/* What this host can do for tern. Facts are read once (doctor_facts.c, doctor_rdma.c); what to advise follows from them
 * alone (doctor_hints.c), and so do both renderings (doctor_text.c, doctor_json.c). */
#ifndef TOOLS_TERN_DOCTOR_H
#define TOOLS_TERN_DOCTOR_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "numa/topology.h"
#include "transport/tern_error.h"

#define DOCTOR_PORTS_MAX 32u
#define DOCTOR_HUGE_MAX  8u
#define DOCTOR_HINTS_MAX 16u
#define DOCTOR_UNLIMITED UINT64_MAX

/* A port of an RDMA device. gids: positions of those that RoCE v2 or InfiniBand can use, "0,1,3". */
struct doctor_port {
    char device[32], netdev[32], state[24], link_layer[24], gids[64];
    uint32_t port;
    int32_t node;
    bool is_active;
};

struct doctor_huge_pages {
    uint64_t page_bytes, total, free;
};

struct doctor_facts {
    char kernel[64];
    struct topology topology;
    uint32_t n_ports;
    struct doctor_port ports[DOCTOR_PORTS_MAX];
    bool has_verbs, has_rdma_cm; /* the device files by which programs reach RDMA */
    uint64_t memlock_bytes;      /* or DOCTOR_UNLIMITED */
    bool may_exceed_memlock;     /* CAP_IPC_LOCK */
    int kvm;                     /* 0 it works; -errno of opening /dev/kvm */
    int userfaultfd;             /* 0, or -errno */
    bool has_wp_async, has_pagemap_scan, has_soft_dirty;
    uint32_t n_huge;
    struct doctor_huge_pages huge[DOCTOR_HUGE_MAX];
};

/* doctor_read: everything that can be read; what cannot counts as missing. errors -EIO no topology */
int doctor_read(struct doctor_facts *out, struct tern_error *error);
/* doctor_read_ports: RDMA ports below sysfs ("/sys"). */
void doctor_read_ports(const char *sysfs, struct doctor_facts *out);

/* doctor_hints: what to do about what is missing, most important first. returns how many of out are set. Pure. */
uint32_t doctor_hints(const struct doctor_facts *facts, const char *out[DOCTOR_HINTS_MAX]);

void doctor_text(const struct doctor_facts *facts, FILE *out);
struct json_object *doctor_json(const struct doctor_facts *facts); /* the caller's */

#endif
