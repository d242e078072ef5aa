/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>

#include "numa/topology.h"

void cpu_bits_add(struct cpu_bits *bits, uint32_t cpu)
{
    if (cpu < TOPOLOGY_CPUS_MAX)
        bits->words[cpu / 64] |= 1ull << cpu % 64;
}

bool cpu_bits_has(const struct cpu_bits *bits, uint32_t cpu)
{
    return cpu < TOPOLOGY_CPUS_MAX && (bits->words[cpu / 64] >> cpu % 64 & 1);
}

uint32_t cpu_bits_count(const struct cpu_bits *bits)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < TOPOLOGY_CPUS_MAX / 64; i++)
        count += (uint32_t)__builtin_popcountll(bits->words[i]);
    return count;
}

char *cpu_bits_text(const struct cpu_bits *bits, char *text, size_t capacity)
{
    size_t at = 0;

    text[0] = 0;
    for (uint32_t cpu = 0; cpu < TOPOLOGY_CPUS_MAX; cpu++) {
        uint32_t last = cpu;

        if (!cpu_bits_has(bits, cpu))
            continue;
        while (cpu_bits_has(bits, last + 1))
            last++;
        if (at + 24 > capacity) { /* a longer list is cut, and shows it */
            snprintf(text + at, capacity - at, ",...");
            break;
        }
        at += (size_t)snprintf(text + at, capacity - at, last == cpu ? "%s%u" : "%s%u-%u", at ? "," : "", cpu, last);
        cpu = last;
    }
    return text;
}
