/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/registrar.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/wire.h"
#include "transport/error.h"

#define THREADS_MAX 8u

struct registrar {
    struct registrar_config config;
    uint64_t first_chunk[WIRE_REGIONS_MAX + 2]; /* index of each region's chunk 0; the last is the total */
    pthread_t threads[THREADS_MAX];
    uint32_t n_started;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct wire_chunk *queue; /* every chunk is in it once at most, so it never wraps */
    uint64_t head, tail;
    bool *wanted;
    bool ending;
};

static void *registrar_main(void *argument)
{
    struct registrar *registrar = argument;
    struct tern_error error = {0};

    pthread_mutex_lock(&registrar->lock);
    while (!registrar->ending) {
        struct wire_chunk job;
        bool first_failure;
        int r;

        if (registrar->head == registrar->tail) {
            pthread_cond_wait(&registrar->changed, &registrar->lock);
            continue;
        }
        job = registrar->queue[registrar->head++];
        pthread_mutex_unlock(&registrar->lock);
        r = registrar->config.do_chunk(registrar->config.opaque, job.region, job.chunk, &error);
        pthread_mutex_lock(&registrar->lock);
        first_failure = r < 0 && !registrar->ending;
        if (r < 0)
            registrar->ending = true;
        if (first_failure) {
            pthread_mutex_unlock(&registrar->lock);
            registrar->config.failed(registrar->config.opaque, &error);
            pthread_mutex_lock(&registrar->lock);
        }
    }
    pthread_cond_broadcast(&registrar->changed);
    pthread_mutex_unlock(&registrar->lock);
    return NULL;
}

int registrar_create(const struct registrar_config *config, struct registrar **out, struct tern_error *error)
{
    struct registrar *registrar = calloc(1, sizeof(*registrar));
    uint64_t total = 0;
    int r = 0;

    if (!registrar)
        return error_set(error, -ENOMEM, NULL, "out of memory for the registration of guest memory");
    registrar->config = *config;
    pthread_mutex_init(&registrar->lock, NULL);
    pthread_cond_init(&registrar->changed, NULL);
    for (uint32_t i = 0; i < config->n_regions; i++) {
        registrar->first_chunk[i] = total;
        total += (config->region_bytes[i] + config->chunk_bytes - 1) / config->chunk_bytes;
    }
    registrar->first_chunk[config->n_regions] = total;
    registrar->queue = calloc(total, sizeof(*registrar->queue));
    registrar->wanted = calloc(total, sizeof(*registrar->wanted));
    if (!registrar->queue || !registrar->wanted)
        r = ENOMEM;
    while (!r && registrar->n_started < config->n_threads && registrar->n_started < THREADS_MAX) {
        r = pthread_create(&registrar->threads[registrar->n_started], NULL, registrar_main, registrar);
        registrar->n_started += !r;
    }
    if (r) {
        registrar_destroy(registrar);
        return error_set(error, -r, NULL, "cannot start the registration of guest memory: %s", strerror(r));
    }
    *out = registrar;
    return 0;
}

int registrar_want(struct registrar *registrar, uint32_t region, uint64_t chunk)
{
    uint64_t index;
    int r = 0;

    if (region >= registrar->config.n_regions ||
        chunk >= registrar->first_chunk[region + 1] - registrar->first_chunk[region])
        return -EINVAL;
    index = registrar->first_chunk[region] + chunk;
    pthread_mutex_lock(&registrar->lock);
    if (!registrar->wanted[index]) {
        registrar->wanted[index] = true;
        registrar->queue[registrar->tail++] = (struct wire_chunk){region, chunk};
        pthread_cond_signal(&registrar->changed);
        r = 1;
    }
    pthread_mutex_unlock(&registrar->lock);
    return r;
}

void registrar_destroy(struct registrar *registrar)
{
    if (!registrar)
        return;
    pthread_mutex_lock(&registrar->lock);
    registrar->ending = true;
    pthread_cond_broadcast(&registrar->changed);
    pthread_mutex_unlock(&registrar->lock);
    for (uint32_t i = 0; i < registrar->n_started; i++)
        pthread_join(registrar->threads[i], NULL);
    free(registrar->wanted);
    free(registrar->queue);
    pthread_cond_destroy(&registrar->changed);
    pthread_mutex_destroy(&registrar->lock);
    free(registrar);
}
