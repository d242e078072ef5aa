/* SPDX-License-Identifier: BSD-2-Clause */
/* A few threads that register chunks of memory in the order in which they were asked for, while other chunks are
 * already travelling. Each chunk is done once, however often it is asked for.
 * Knows neither the provider nor the peer: the two callbacks do.
 */
#ifndef MIGRATE_REGISTRAR_H
#define MIGRATE_REGISTRAR_H

#include <stdint.h>

#include "transport/tern_error.h"

struct registrar;

struct registrar_config {
    uint32_t n_regions;
    const uint64_t *region_bytes; /* borrowed during create */
    uint64_t chunk_bytes;
    uint32_t n_threads;
    /* do_chunk: register one chunk; several at once for different chunks. */
    int (*do_chunk)(void *opaque, uint32_t region, uint64_t chunk, struct tern_error *error);
    /* failed: do_chunk failed for the first time; no more are done. */
    void (*failed)(void *opaque, const struct tern_error *error);
    void *opaque;
};

/* registrar_create: start the threads. errors -ENOMEM, -EAGAIN */
int registrar_create(const struct registrar_config *config, struct registrar **out, struct tern_error *error);

/* registrar_want: queue a chunk, unless it was queued before. Any thread.
 * returns  1 queued now, 0 it was before, -EINVAL there is no such chunk */
int registrar_want(struct registrar *registrar, uint32_t region, uint64_t chunk);

/* registrar_destroy: drop what is queued, wait for what is under way, free. Takes NULL. */
void registrar_destroy(struct registrar *registrar);

#endif
