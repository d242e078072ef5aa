/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker does to be at home on its node: run on its CPUs, have its own memory there. Thread-safe. */
#ifndef NUMA_WORKERS_H
#define NUMA_WORKERS_H

#include "numa/topology.h"

/* worker_pin: let the calling thread run on these CPUs only. errors -EINVAL none of them may be used */
int worker_pin(const struct cpu_bits *cpus);

/* worker_memory: bytes of zeroed memory, on node (the kernel's number) if there is room, TOPOLOGY_UNKNOWN: wherever it
 * is first touched. NULL if there is none. worker_memory_free takes NULL. */
void *worker_memory(size_t bytes, int32_t node);
void worker_memory_free(void *memory, size_t bytes);

#endif
