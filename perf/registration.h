/* SPDX-License-Identifier: BSD-2-Clause */
/* How long it takes to register memory with an RDMA device, in chunks, by several threads, as tern does it. */
#ifndef PERF_REGISTRATION_H
#define PERF_REGISTRATION_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/tern_error.h"

struct registration_device {
    struct ibv_context *context;
    struct ibv_pd *pd;
    char name[64];
};

/* registration_open: the device of that name, or the first one. errors -ENODEV with what to do */
int registration_open(const char *name, struct registration_device *out, struct tern_error *error);
/* registration_close: takes a zeroed one. */
void registration_close(struct registration_device *device);

struct registration_case {
    uint64_t memory_bytes, chunk_bytes, page_bytes;
    uint32_t n_threads;
    bool populated; /* every page is there before; else registering brings it */
};

struct registration_times {
    uint64_t register_ns, deregister_ns;
};

/* registration_measure: map memory_bytes anew, register all of it, deregister, unmap.
 * errors   -ENOMEM also where RLIMIT_MEMLOCK forbids it; says so */
int registration_measure(const struct registration_device *device, const struct registration_case *what,
                         struct registration_times *out, struct tern_error *error);

#endif
