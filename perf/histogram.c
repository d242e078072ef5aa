/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/histogram.h"

#define STEPS (1u << HISTOGRAM_BITS)

size_t histogram_bucket(uint64_t value)
{
    int top = value ? 63 - __builtin_clzll(value) : 0, dropped;

    if (top <= HISTOGRAM_BITS)
        return value;
    dropped = top - HISTOGRAM_BITS;
    return ((size_t)(dropped + 1) << HISTOGRAM_BITS) + ((value >> dropped) & (STEPS - 1));
}

uint64_t histogram_middle(size_t bucket)
{
    int dropped;

    if (bucket < 2 * STEPS)
        return bucket;
    dropped = (int)(bucket >> HISTOGRAM_BITS) - 1;
    return ((uint64_t)(STEPS + (bucket & (STEPS - 1))) << dropped) + (1ull << dropped) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->counts[histogram_bucket(value)]++;
    if (value > histogram->max)
        histogram->max = value;
    if (!histogram->n || value < histogram->min)
        histogram->min = value;
    histogram->n++;
}

static uint64_t within(const struct histogram *histogram, uint64_t value)
{
    return value > histogram->max ? histogram->max : value < histogram->min ? histogram->min : value;
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->n;
    uint64_t seen = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS && histogram->n && share < 1; i++) {
        seen += histogram->counts[i];
        if (seen && (double)seen >= wanted)
            return within(histogram, histogram_middle(i));
    }
    return histogram->max;
}

uint64_t histogram_typical(const struct histogram *histogram)
{
    size_t fullest = 0;

    for (size_t i = 1; i < HISTOGRAM_BUCKETS; i++)
        if (histogram->counts[i] > histogram->counts[fullest])
            fullest = i;
    return histogram->n ? within(histogram, histogram_middle(fullest)) : 0;
}
