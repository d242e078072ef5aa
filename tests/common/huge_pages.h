/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine's huge pages, for tests that need some: each sees to it that there are enough. Two that do so at once
 * would take each other's, so their ctest entries hold the resource huge_pages. */
#ifndef TESTS_COMMON_HUGE_PAGES_H
#define TESTS_COMMON_HUGE_PAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static inline FILE *huge_pages_open(uint64_t page_bytes, const char *name, const char *mode)
{
    char path[96];

    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s", (unsigned long long)page_bytes / 1024,
             name);
    return fopen(path, mode);
}

/* name: nr_hugepages or free_hugepages; -1 where there are none of that size. */
static inline int huge_pages_count(uint64_t page_bytes, const char *name)
{
    FILE *f = huge_pages_open(page_bytes, name, "r");
    int n = -1;

    if (f && fscanf(f, "%d", &n) != 1)
        n = -1;
    if (f)
        fclose(f);
    return n;
}

static inline void huge_pages_set(uint64_t page_bytes, int total)
{
    FILE *f = huge_pages_open(page_bytes, "nr_hugepages", "w");

    if (f) {
        fprintf(f, "%d", total);
        fclose(f);
    }
}

/* wanted free ones, reserved if need be; they stay. false: this machine has not so many. */
static inline bool huge_pages_reserve(uint64_t page_bytes, int wanted)
{
    int spare = huge_pages_count(page_bytes, "free_hugepages");

    if (spare >= 0 && spare < wanted)
        huge_pages_set(page_bytes, huge_pages_count(page_bytes, "nr_hugepages") + wanted - spare);
    return huge_pages_count(page_bytes, "free_hugepages") >= wanted;
}

#endif
