/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts of values in log-linear buckets: exact below 128, above that 64 buckets to each power of two, so that a value
 * is known to 1.6 %. source: the scheme of fio's latency statistics (stat.h, FIO_IO_U_PLAT_BITS). Pure. */
#ifndef PERF_HISTOGRAM_H
#define PERF_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BITS    6
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)

/* Zeroed: empty. */
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t n, max, min;
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* histogram_quantile: the least value that at least this share (0..1) of all do not exceed, to a bucket's width, and
 * never more than the largest. 0 where it is empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

/* histogram_typical: the middle of the fullest bucket. */
uint64_t histogram_typical(const struct histogram *histogram);

/* The bucket of a value, and the middle of a bucket's values. */
size_t histogram_bucket(uint64_t value);
uint64_t histogram_middle(size_t bucket);

#endif
