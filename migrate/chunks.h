/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's view of chunks: a run may be posted once its chunk is registered here (LOCAL) and the destination's
 * key of it has come (KEYED). Workers wait here for the chunk that they need next.
 */
#ifndef MIGRATE_CHUNKS_H
#define MIGRATE_CHUNKS_H

#include <stdint.h>

#include "transport/tern_error.h"

#define CHUNK_LOCAL 1u
#define CHUNK_KEYED 2u

struct chunks;

/* chunks_create: n_regions regions of region_bytes each (borrowed during the call). errors -ENOMEM */
int chunks_create(uint32_t n_regions, const uint64_t *region_bytes, uint64_t chunk_bytes, struct chunks **out,
                  struct tern_error *error);
void chunks_destroy(struct chunks *chunks);

/* chunks_mark: one half of a chunk's readiness has come. returns 0, -EINVAL no such chunk, -EALREADY. Any thread. */
int chunks_mark(struct chunks *chunks, uint32_t region, uint64_t chunk, uint32_t half);

/* chunks_ready: look only; cheap, no lock. */
int chunks_ready(struct chunks *chunks, uint32_t region, uint64_t chunk);

/* chunks_wait: until the chunk is ready. returns 0 or -ECANCELED after chunks_abort. Any thread. */
int chunks_wait(struct chunks *chunks, uint32_t region, uint64_t chunk);
void chunks_abort(struct chunks *chunks);

#endif
