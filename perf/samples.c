/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/samples.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

uint64_t samples_median(uint64_t *values, size_t n)
{
    qsort(values, n, sizeof(*values), compare);
    if (n % 2)
        return values[n / 2];
    return values[n / 2 - 1] + (values[n / 2] - values[n / 2 - 1]) / 2;
}

uint64_t samples_worst(const uint64_t *values, size_t n, bool more_is_better)
{
    uint64_t worst = values[0];

    for (size_t i = 1; i < n; i++)
        if (more_is_better ? values[i] < worst : values[i] > worst)
            worst = values[i];
    return worst;
}
