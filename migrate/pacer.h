/* SPDX-License-Identifier: BSD-2-Clause */
/* --bandwidth: the workers of a link share one allowance of bytes. Pure arithmetic over a caller's clock; the
 * sleeping is the worker's. */
#ifndef MIGRATE_PACER_H
#define MIGRATE_PACER_H

#include <stdatomic.h>
#include <stdint.h>

struct pacer {
    uint64_t bandwidth_bps;      /* payload bits a second; 0: no limit */
    _Atomic uint64_t free_at_ns; /* when all that was taken so far has been paid for */
};

/* pacer_take: take bytes at now_ns. returns how long to wait before they may be sent, in ns.
 * Time that was not used is forgotten, but for PACER_BURST_NS, so that a pause does not make a flood.
 * thread   any */
#define PACER_BURST_NS 2000000ull
uint64_t pacer_take(struct pacer *pacer, uint64_t bytes, uint64_t now_ns);

#endif
