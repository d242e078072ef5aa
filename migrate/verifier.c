/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/verifier.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/bitmap.h"
#include "migrate/digest.h"
#include "migrate/untouched.h"
#include "migrate/wire.h"
#include "transport/clock.h"
#include "transport/error.h"

#define BATCH_WORDS (DIGEST_GROUP_PAGES / 64)

struct verified_region {
    const struct tern_region *region;
    uint64_t n_pages, n_words;
    uint64_t *noted;    /* of the present round; session thread only */
    uint64_t *released; /* to be digested */
    struct digest_table digests;
};

struct verifier {
    uint32_t n_regions;
    struct verified_region regions[WIRE_REGIONS_MAX];
    pthread_t thread;
    bool runs;

    pthread_mutex_t lock; /* guards released bitmaps and all below */
    pthread_cond_t changed;
    uint64_t backlog_pages, pages_ps;
    uint64_t measured_pages, measured_ns;
    bool ending;
};

/* Take one group's released pages; they are digested without the lock. */
static bool take_batch(struct verifier *verifier, uint32_t *region, uint64_t *word, uint64_t taken[BATCH_WORDS])
{
    for (uint32_t i = 0; i < verifier->n_regions; i++) {
        struct verified_region *v = &verifier->regions[i];

        for (uint64_t at = *region == i ? *word : 0; at < v->n_words; at += BATCH_WORDS) {
            uint64_t any = 0;

            for (uint32_t k = 0; k < BATCH_WORDS; k++)
                any |= v->released[at + k];
            if (!any)
                continue;
            memcpy(taken, v->released + at, BATCH_WORDS * sizeof(*taken));
            memset(v->released + at, 0, BATCH_WORDS * sizeof(*taken));
            *region = i;
            *word = at;
            return true;
        }
    }
    return false;
}

static uint64_t digest_batch(struct verified_region *v, uint64_t word, const uint64_t taken[BATCH_WORDS])
{
    uint64_t count = 0;

    for (uint32_t k = 0; k < BATCH_WORDS; k++)
        for (uint64_t bits = taken[k]; bits; bits &= bits - 1, count++) {
            uint64_t page = (word + k) * 64 + (uint64_t)__builtin_ctzll(bits);

            digest_table_set(&v->digests, page, digest_page((const uint8_t *)v->region->base + page * TERN_PAGE_BYTES));
        }
    return count;
}

static void *verifier_main(void *argument)
{
    struct verifier *verifier = argument;
    uint64_t taken[BATCH_WORDS], word = 0;
    uint32_t region = 0;

    pthread_mutex_lock(&verifier->lock);
    while (!verifier->ending) {
        uint64_t begin_ns, count;

        if (!verifier->backlog_pages) {
            pthread_cond_broadcast(&verifier->changed);
            pthread_cond_wait(&verifier->changed, &verifier->lock);
            region = 0;
            word = 0;
            continue;
        }
        if (!take_batch(verifier, &region, &word, taken)) {
            region = 0; /* what was released behind the cursor */
            word = 0;
            continue;
        }
        pthread_mutex_unlock(&verifier->lock);
        begin_ns = clock_now_ns();
        count = digest_batch(&verifier->regions[region], word, taken);
        pthread_mutex_lock(&verifier->lock);
        verifier->measured_ns += clock_now_ns() - begin_ns;
        verifier->measured_pages += count;
        verifier->backlog_pages -= count;
        if (verifier->measured_ns)
            verifier->pages_ps = (uint64_t)((double)verifier->measured_pages * 1e9 / (double)verifier->measured_ns);
    }
    pthread_cond_broadcast(&verifier->changed);
    pthread_mutex_unlock(&verifier->lock);
    return NULL;
}

static int region_init(struct verified_region *v, const struct tern_region *region, struct tern_error *error)
{
    v->region = region;
    v->n_pages = region->length_bytes / TERN_PAGE_BYTES;
    v->n_words = (bitmap_words(v->n_pages) + BATCH_WORDS - 1) / BATCH_WORDS * BATCH_WORDS;
    v->noted = calloc(v->n_words, sizeof(*v->noted));
    v->released = calloc(v->n_words, sizeof(*v->released));
    if (!v->noted || !v->released)
        return error_set(error, -ENOMEM, "migrate without verify", "out of memory for the digests of region '%s'",
                         region->name);
    return digest_table_init(&v->digests, v->n_pages, error);
}

int verifier_create(const struct tern_region *regions, uint32_t n_regions, struct verifier **out,
                    struct tern_error *error)
{
    struct verifier *verifier = calloc(1, sizeof(*verifier));
    int r = 0;

    if (!verifier)
        return error_set(error, -ENOMEM, "migrate without verify", "out of memory for the digests");
    pthread_mutex_init(&verifier->lock, NULL);
    pthread_cond_init(&verifier->changed, NULL);
    verifier->n_regions = n_regions;
    for (uint32_t i = 0; i < n_regions && !r; i++)
        r = region_init(&verifier->regions[i], &regions[i], error);
    if (!r) {
        r = -pthread_create(&verifier->thread, NULL, verifier_main, verifier);
        verifier->runs = !r;
        if (r)
            error_set(error, r, NULL, "cannot start the thread that digests pages: %s", strerror(-r));
    }
    if (r)
        verifier_destroy(verifier);
    else
        *out = verifier;
    return r;
}

void verifier_destroy(struct verifier *verifier)
{
    if (!verifier)
        return;
    pthread_mutex_lock(&verifier->lock);
    verifier->ending = true;
    pthread_cond_broadcast(&verifier->changed);
    pthread_mutex_unlock(&verifier->lock);
    if (verifier->runs)
        pthread_join(verifier->thread, NULL);
    for (uint32_t i = 0; i < verifier->n_regions; i++) {
        free(verifier->regions[i].noted);
        free(verifier->regions[i].released);
        digest_table_free(&verifier->regions[i].digests);
    }
    pthread_cond_destroy(&verifier->changed);
    pthread_mutex_destroy(&verifier->lock);
    free(verifier);
}

int verifier_note(struct verifier *verifier, uint32_t region, uint64_t first_page, uint64_t n_pages)
{
    struct verified_region *v = &verifier->regions[region];

    if (region >= verifier->n_regions || first_page > v->n_pages || n_pages > v->n_pages - first_page)
        return -EINVAL;
    bitmap_set_range(v->noted, first_page, n_pages);
    return 0;
}

int verifier_note_touched(struct verifier *verifier, struct tern_error *error)
{
    int r = 0;

    for (uint32_t i = 0; i < verifier->n_regions && !r; i++)
        r = untouched_pages(verifier->regions[i].region->base, verifier->regions[i].region->length_bytes,
                            verifier->regions[i].noted, error);
    return r;
}

void verifier_release(struct verifier *verifier)
{
    pthread_mutex_lock(&verifier->lock);
    for (uint32_t i = 0; i < verifier->n_regions; i++) {
        struct verified_region *v = &verifier->regions[i];

        for (uint64_t word = 0; word < v->n_words; word++) {
            verifier->backlog_pages += (uint64_t)__builtin_popcountll(v->noted[word] & ~v->released[word]);
            v->released[word] |= v->noted[word];
            v->noted[word] = 0;
        }
    }
    pthread_cond_broadcast(&verifier->changed);
    pthread_mutex_unlock(&verifier->lock);
}

void verifier_wait(struct verifier *verifier)
{
    pthread_mutex_lock(&verifier->lock);
    while (verifier->backlog_pages && !verifier->ending)
        pthread_cond_wait(&verifier->changed, &verifier->lock);
    pthread_mutex_unlock(&verifier->lock);
}

uint64_t verifier_backlog(struct verifier *verifier, uint64_t *pages_ps)
{
    uint64_t backlog;

    pthread_mutex_lock(&verifier->lock);
    backlog = verifier->backlog_pages;
    *pages_ps = verifier->pages_ps;
    pthread_mutex_unlock(&verifier->lock);
    return backlog;
}

struct digest_table *verifier_table(struct verifier *verifier, uint32_t region)
{
    return &verifier->regions[region].digests;
}
