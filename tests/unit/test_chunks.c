/* SPDX-License-Identifier: BSD-2-Clause */
/* A chunk is ready when both halves have come, in any order, and never before; who waits is woken, also by the end. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "migrate/chunks.h"

#define MIB (1ull << 20)

static const uint64_t sizes[] = {5 * MIB, 2 * MIB, 2 * MIB + 4096}; /* 3, 1 and 2 chunks of 2 MiB */
static const uint64_t n_chunks[] = {3, 1, 2};
static struct chunks *chunks;

static void make(void)
{
    struct tern_error error = {0};

    cr_assert_eq(chunks_create(3, sizes, 2 * MIB, &chunks, &error), 0, "%s", error.message);
}

Test(chunks, both_halves_in_either_order)
{
    make();
    cr_assert_not(chunks_ready(chunks, 0, 1));
    cr_assert_eq(chunks_mark(chunks, 0, 1, CHUNK_LOCAL), 0);
    cr_assert_not(chunks_ready(chunks, 0, 1));
    cr_assert_eq(chunks_mark(chunks, 0, 1, CHUNK_KEYED), 0);
    cr_assert(chunks_ready(chunks, 0, 1));
    cr_assert_eq(chunks_mark(chunks, 2, 1, CHUNK_KEYED), 0);
    cr_assert_not(chunks_ready(chunks, 2, 1));
    cr_assert_eq(chunks_mark(chunks, 2, 1, CHUNK_LOCAL), 0);
    cr_assert(chunks_ready(chunks, 2, 1));
    cr_assert_eq(chunks_wait(chunks, 2, 1), 0);
    chunks_destroy(chunks);
}

/* Each chunk has a state of its own: the last of a region is not the first of the next. */
Test(chunks, no_other_chunk_becomes_ready)
{
    for (uint32_t region = 0; region < 3; region++)
        for (uint64_t chunk = 0; chunk < n_chunks[region]; chunk++) {
            make();
            cr_assert_eq(chunks_mark(chunks, region, chunk, CHUNK_LOCAL), 0);
            cr_assert_eq(chunks_mark(chunks, region, chunk, CHUNK_KEYED), 0);
            for (uint32_t r = 0; r < 3; r++)
                for (uint64_t c = 0; c < n_chunks[r]; c++)
                    cr_assert_eq(!!chunks_ready(chunks, r, c), r == region && c == chunk);
            chunks_destroy(chunks);
        }
}

/* Keys come from the peer: what does not exist, or comes twice, is told. */
Test(chunks, marks_that_are_refused)
{
    make();
    for (uint32_t region = 0; region < 3; region++) {
        cr_assert_eq(chunks_mark(chunks, region, n_chunks[region], CHUNK_KEYED), -EINVAL);
        cr_assert_eq(chunks_mark(chunks, region, UINT64_MAX, CHUNK_KEYED), -EINVAL);
    }
    cr_assert_eq(chunks_mark(chunks, 3, 0, CHUNK_KEYED), -EINVAL);
    cr_assert_eq(chunks_mark(chunks, UINT32_MAX, 0, CHUNK_KEYED), -EINVAL);
    cr_assert_eq(chunks_mark(chunks, 1, 0, CHUNK_KEYED), 0);
    cr_assert_eq(chunks_mark(chunks, 1, 0, CHUNK_KEYED), -EALREADY);
    cr_assert_not(chunks_ready(chunks, 1, 0));
    chunks_destroy(chunks);
}

Test(chunks, destroy_takes_null)
{
    chunks_destroy(NULL);
}

/* ---- waiting ---- */

struct waiter {
    uint32_t region;
    uint64_t chunk;
    pthread_t thread;
    int result;
    _Atomic bool done;
};

static void *wait_main(void *argument)
{
    struct waiter *waiter = argument;

    waiter->result = chunks_wait(chunks, waiter->region, waiter->chunk);
    atomic_store(&waiter->done, true);
    return NULL;
}

static void waiter_start(struct waiter *waiter, uint32_t region, uint64_t chunk)
{
    *waiter = (struct waiter){.region = region, .chunk = chunk};
    cr_assert_eq(pthread_create(&waiter->thread, NULL, wait_main, waiter), 0);
}

Test(chunks, waits_for_both_halves_of_its_own_chunk, .timeout = 30)
{
    struct waiter first, second;

    make();
    waiter_start(&first, 0, 2);
    waiter_start(&second, 1, 0);
    cr_assert_eq(chunks_mark(chunks, 0, 2, CHUNK_LOCAL), 0);
    cr_assert_eq(chunks_mark(chunks, 1, 0, CHUNK_KEYED), 0);
    cr_assert_eq(chunks_mark(chunks, 0, 2, CHUNK_KEYED), 0);
    pthread_join(first.thread, NULL);
    cr_assert_eq(first.result, 0);
    cr_assert_not(atomic_load(&second.done), "one half was enough");
    cr_assert_eq(chunks_mark(chunks, 1, 0, CHUNK_LOCAL), 0);
    pthread_join(second.thread, NULL);
    cr_assert_eq(second.result, 0);
    chunks_destroy(chunks);
}

Test(chunks, abort_ends_all_waiting_now_and_later, .timeout = 30)
{
    struct waiter waiters[4];

    make();
    for (uint32_t i = 0; i < 4; i++)
        waiter_start(&waiters[i], 0, i % 3);
    chunks_abort(chunks);
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(waiters[i].thread, NULL);
        cr_assert_eq(waiters[i].result, -ECANCELED);
    }
    cr_assert_eq(chunks_wait(chunks, 1, 0), -ECANCELED);
    chunks_abort(chunks);
    chunks_destroy(chunks);
}

/* Two threads bring the halves while others wait: no wake-up is lost. */
#define MANY 4000u

static void *mark_main(void *half)
{
    for (uint64_t chunk = 0; chunk < MANY; chunk++)
        if (chunks_mark(chunks, 0, chunk, *(uint32_t *)half))
            return half;
    return NULL;
}

static void *wait_all_main(void *result)
{
    for (uint64_t chunk = 0; chunk < MANY; chunk++)
        if (chunks_wait(chunks, 0, chunk) || !chunks_ready(chunks, 0, chunk))
            return result;
    return NULL;
}

Test(chunks, halves_from_two_threads, .timeout = 60)
{
    uint64_t size = MANY * 2 * MIB;
    uint32_t halves[] = {CHUNK_LOCAL, CHUNK_KEYED};
    pthread_t threads[4];

    cr_assert_eq(chunks_create(1, &size, 2 * MIB, &chunks, NULL), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, i < 2 ? wait_all_main : mark_main, &halves[i % 2]), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        cr_assert_null(failed, "thread %d", i);
    }
    chunks_destroy(chunks);
}
