/* SPDX-License-Identifier: BSD-2-Clause */
/* A figure measured several times: its median and its worst. Pure. */
#ifndef PERF_SAMPLES_H
#define PERF_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* samples_median: the middle one, or the mean of the two in the middle. Sorts values. n > 0. */
uint64_t samples_median(uint64_t *values, size_t n);
/* samples_worst: the smallest where more is better, else the largest. n > 0. */
uint64_t samples_worst(const uint64_t *values, size_t n, bool more_is_better);

#endif
