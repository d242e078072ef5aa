/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/chunks.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "migrate/wire.h"
#include "transport/error.h"

#define READY (CHUNK_LOCAL | CHUNK_KEYED)

struct chunks {
    uint32_t n_regions;
    uint64_t first_chunk[WIRE_REGIONS_MAX + 2];
    _Atomic uint8_t *state;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool aborted;
};

int chunks_create(uint32_t n_regions, const uint64_t *region_bytes, uint64_t chunk_bytes, struct chunks **out,
                  struct tern_error *error)
{
    struct chunks *chunks = calloc(1, sizeof(*chunks));
    uint64_t total = 0;

    if (!chunks)
        return error_set(error, -ENOMEM, NULL, "out of memory for the table of chunks");
    pthread_mutex_init(&chunks->lock, NULL);
    pthread_cond_init(&chunks->changed, NULL);
    chunks->n_regions = n_regions;
    for (uint32_t i = 0; i < n_regions; i++) {
        chunks->first_chunk[i] = total;
        total += (region_bytes[i] + chunk_bytes - 1) / chunk_bytes;
    }
    chunks->first_chunk[n_regions] = total;
    chunks->state = calloc(total, sizeof(*chunks->state));
    if (!chunks->state) {
        chunks_destroy(chunks);
        return error_set(error, -ENOMEM, NULL, "out of memory for the table of chunks");
    }
    *out = chunks;
    return 0;
}

void chunks_destroy(struct chunks *chunks)
{
    if (!chunks)
        return;
    free(chunks->state);
    pthread_cond_destroy(&chunks->changed);
    pthread_mutex_destroy(&chunks->lock);
    free(chunks);
}

static _Atomic uint8_t *find(struct chunks *chunks, uint32_t region, uint64_t chunk)
{
    if (region >= chunks->n_regions || chunk >= chunks->first_chunk[region + 1] - chunks->first_chunk[region])
        return NULL;
    return &chunks->state[chunks->first_chunk[region] + chunk];
}

int chunks_mark(struct chunks *chunks, uint32_t region, uint64_t chunk, uint32_t half)
{
    _Atomic uint8_t *state = find(chunks, region, chunk);

    if (!state)
        return -EINVAL;
    if (atomic_fetch_or(state, (uint8_t)half) & half)
        return -EALREADY;
    pthread_mutex_lock(&chunks->lock);
    pthread_cond_broadcast(&chunks->changed);
    pthread_mutex_unlock(&chunks->lock);
    return 0;
}

int chunks_ready(struct chunks *chunks, uint32_t region, uint64_t chunk)
{
    return atomic_load_explicit(find(chunks, region, chunk), memory_order_acquire) == READY;
}

int chunks_wait(struct chunks *chunks, uint32_t region, uint64_t chunk)
{
    int r = 0;

    if (chunks_ready(chunks, region, chunk))
        return 0;
    pthread_mutex_lock(&chunks->lock);
    while (!chunks_ready(chunks, region, chunk) && !chunks->aborted)
        pthread_cond_wait(&chunks->changed, &chunks->lock);
    if (chunks->aborted)
        r = -ECANCELED;
    pthread_mutex_unlock(&chunks->lock);
    return r;
}

void chunks_abort(struct chunks *chunks)
{
    pthread_mutex_lock(&chunks->lock);
    chunks->aborted = true;
    pthread_cond_broadcast(&chunks->changed);
    pthread_mutex_unlock(&chunks->lock);
}
