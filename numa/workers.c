/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/workers.h"

#include <errno.h>
#include <numaif.h>
#include <sched.h>
#include <sys/mman.h>

int worker_pin(const struct cpu_bits *cpus)
{
    size_t bytes = CPU_ALLOC_SIZE(TOPOLOGY_CPUS_MAX);
    cpu_set_t *set = CPU_ALLOC(TOPOLOGY_CPUS_MAX);
    int r;

    if (!set)
        return -ENOMEM;
    CPU_ZERO_S(bytes, set);
    for (uint32_t cpu = 0; cpu < TOPOLOGY_CPUS_MAX; cpu++)
        if (cpu_bits_has(cpus, cpu))
            CPU_SET_S(cpu, bytes, set);
    r = sched_setaffinity(0, bytes, set) ? -errno : 0;
    CPU_FREE(set);
    return r;
}

void *worker_memory(size_t bytes, int32_t node)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    if (node >= 0 && node < (int32_t)TOPOLOGY_NODES_MAX) {
        unsigned long mask = 1ul << node;

        mbind(memory, bytes, MPOL_PREFERRED, &mask, TOPOLOGY_NODES_MAX + 1, 0); /* else it is local by first touch */
    }
    return memory;
}

void worker_memory_free(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}
