/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/residence.h"

#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BATCH_PAGES 4096u

/* One call's worth of pages, whole units. */
struct batch {
    void *addresses[BATCH_PAGES];
    int status[BATCH_PAGES];
    uint32_t n;
};

struct residence_sampling residence_sampling(uint64_t n_units, uint64_t page_bytes, uint64_t budget_pages)
{
    struct residence_sampling sampling = {1, RESIDENCE_UNIT_PAGES};

    if (page_bytes >= RESIDENCE_PAGE_BYTES * RESIDENCE_UNIT_PAGES)
        sampling.samples = 1;
    while (sampling.samples > 1 && n_units * sampling.samples > budget_pages)
        sampling.samples /= 2;
    while (n_units / sampling.stride > budget_pages)
        sampling.stride *= 2;
    return sampling;
}

static int ask(struct batch *batch)
{
    return move_pages(0, batch->n, batch->addresses, NULL, batch->status, 0) < 0 ? -errno : 0;
}

/* In memory but not in this process's page table: reading it maps what is there. */
static bool map_present(void *address)
{
    unsigned char present = 0;

    if (mincore(address, RESIDENCE_PAGE_BYTES, &present) || !(present & 1))
        return false;
    (void)*(volatile const uint8_t *)address;
    return true;
}

static int look(struct batch *batch)
{
    bool again = false;
    int r = ask(batch);

    for (uint32_t i = 0; i < batch->n && !r; i++)
        if (batch->status[i] == -ENOENT)
            again |= map_present(batch->addresses[i]);
    return r || !again ? r : ask(batch);
}

/* One unit's samples: its node, and its pages by proportion. */
static uint8_t judge_unit(const int *status, uint32_t n, uint64_t pages, struct residence *counts)
{
    uint32_t seen[TOPOLOGY_NODES_MAX] = {0}, known = 0, best = 0;

    for (uint32_t i = 0; i < n; i++)
        if (status[i] >= 0 && status[i] < (int)TOPOLOGY_NODES_MAX) {
            seen[status[i]]++;
            known++;
        }
    for (uint32_t node = 0; node < TOPOLOGY_NODES_MAX && known; node++) {
        counts->pages[node] += seen[node] * pages / n;
        if (seen[node] > seen[best])
            best = node;
    }
    counts->unknown_pages += (n - known) * pages / n;
    return known ? (uint8_t)best : RESIDENCE_UNKNOWN;
}

/* The pages that sampled unit `unit` speaks for, and those of it that are looked at. */
static uint32_t add_samples(struct batch *batch, uint8_t *base, uint64_t n_pages, uint64_t unit,
                            const struct residence_sampling *sampling)
{
    uint64_t first = unit * RESIDENCE_UNIT_PAGES;
    uint64_t pages = n_pages - first < RESIDENCE_UNIT_PAGES ? n_pages - first : RESIDENCE_UNIT_PAGES;
    uint32_t samples = sampling->samples < pages ? sampling->samples : (uint32_t)pages;

    for (uint32_t i = 0; i < samples; i++)
        batch->addresses[batch->n++] = base + (first + i * pages / samples) * RESIDENCE_PAGE_BYTES;
    return samples;
}

static int read_batch(struct batch *batch, uint8_t *base, uint64_t n_pages, uint64_t *unit,
                      const struct residence_sampling *sampling, uint8_t *unit_node, struct residence *counts)
{
    uint64_t n_units = (n_pages + RESIDENCE_UNIT_PAGES - 1) / RESIDENCE_UNIT_PAGES, from = *unit, at;
    uint32_t samples, done = 0;
    int r;

    batch->n = 0;
    for (at = from; at < n_units && batch->n + sampling->samples <= BATCH_PAGES; at += sampling->stride)
        add_samples(batch, base, n_pages, at, sampling);
    r = look(batch);
    if (r)
        return r;
    for (at = from; at < n_units && done < batch->n; at += sampling->stride) {
        uint64_t units = n_units - at < sampling->stride ? n_units - at : sampling->stride;
        uint64_t first = at * RESIDENCE_UNIT_PAGES, end = first + units * RESIDENCE_UNIT_PAGES;
        uint64_t of_unit = n_pages - first < RESIDENCE_UNIT_PAGES ? n_pages - first : RESIDENCE_UNIT_PAGES;
        uint8_t node;

        samples = sampling->samples < of_unit ? sampling->samples : (uint32_t)of_unit;
        node = judge_unit(batch->status + done, samples, (end < n_pages ? end : n_pages) - first, counts);
        if (unit_node)
            memset(unit_node + at, node, units);
        done += samples;
    }
    *unit = at;
    return 0;
}

int residence_read(void *base, uint64_t length_bytes, uint64_t page_bytes, uint64_t budget_pages, uint8_t *unit_node,
                   struct residence *counts)
{
    uint64_t n_pages = length_bytes / RESIDENCE_PAGE_BYTES, unit = 0;
    uint64_t n_units = (n_pages + RESIDENCE_UNIT_PAGES - 1) / RESIDENCE_UNIT_PAGES;
    struct residence_sampling sampling = residence_sampling(n_units, page_bytes, budget_pages);
    struct batch *batch = malloc(sizeof(*batch));
    int r = 0;

    if (!batch)
        return -ENOMEM;
    if (unit_node)
        memset(unit_node, RESIDENCE_UNKNOWN, n_units);
    while (unit < n_units && !r)
        r = read_batch(batch, base, n_pages, &unit, &sampling, unit_node, counts);
    counts->sampled |= sampling.stride > 1 || (sampling.samples < RESIDENCE_UNIT_PAGES &&
                                               page_bytes < RESIDENCE_PAGE_BYTES * RESIDENCE_UNIT_PAGES);
    free(batch);
    return r;
}
