/* SPDX-License-Identifier: BSD-2-Clause */
/* Chunks are registered once each, in the order in which they were asked for, until one fails. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "migrate/registrar.h"
#include "transport/error.h"

#define MIB     (1ull << 20)
#define REGIONS 2
#define CHUNKS  64u

static const uint64_t sizes[REGIONS] = {CHUNKS * 2 * MIB, 2 * MIB + 4096};

/* What the callbacks saw. Criterion's asserts are for the main thread: these record. */
struct record {
    _Atomic uint32_t times[REGIONS][CHUNKS];
    _Atomic uint32_t n, n_failed, at_once, at_once_max;
    uint32_t order[CHUNKS * REGIONS]; /* region * CHUNKS + chunk; for one thread */
    _Atomic int64_t fail_at;          /* chunk of region 0; -1: none */
    bool gated;
    sem_t entered, gate, done;
    struct tern_error error;
};

static struct record record;
static struct registrar *registrar;

static int do_chunk(void *opaque, uint32_t region, uint64_t chunk, struct tern_error *error)
{
    uint32_t now = atomic_fetch_add(&record.at_once, 1) + 1, max = atomic_load(&record.at_once_max);

    (void)opaque;
    while (now > max && !atomic_compare_exchange_weak(&record.at_once_max, &max, now))
        ;
    sem_post(&record.entered);
    if (record.gated)
        while (sem_wait(&record.gate))
            ;
    record.order[atomic_fetch_add(&record.n, 1)] = region * CHUNKS + (uint32_t)chunk;
    atomic_fetch_add(&record.times[region][chunk], 1);
    atomic_fetch_sub(&record.at_once, 1);
    if (region == 0 && (int64_t)chunk == atomic_load(&record.fail_at))
        return error_set(error, -ENOMEM, "hint", "no memory for chunk %lu", chunk);
    sem_post(&record.done);
    return 0;
}

static void failed(void *opaque, const struct tern_error *error)
{
    (void)opaque;
    record.error = *error;
    atomic_fetch_add(&record.n_failed, 1);
    sem_post(&record.done);
}

static void make(uint32_t n_threads, bool gated, int64_t fail_at)
{
    struct registrar_config config = {REGIONS, sizes, 2 * MIB, n_threads, do_chunk, failed, NULL};
    struct tern_error error = {0};

    memset(&record, 0, sizeof(record));
    record.gated = gated;
    record.fail_at = fail_at;
    sem_init(&record.entered, 0, 0);
    sem_init(&record.gate, 0, 0);
    sem_init(&record.done, 0, 0);
    cr_assert_eq(registrar_create(&config, &registrar, &error), 0, "%s", error.message);
}

static void wait_for(sem_t *semaphore, uint32_t n)
{
    while (n)
        n -= !sem_wait(semaphore);
}

Test(registrar, in_the_order_asked_for, .timeout = 30)
{
    static const uint32_t asked[] = {5, 3, 4, 63, 0};

    make(1, false, -1);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(registrar_want(registrar, 0, asked[i]), 1);
    cr_assert_eq(registrar_want(registrar, 1, 1), 1);
    wait_for(&record.done, 6);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(record.order[i], asked[i]);
    cr_assert_eq(record.order[5], CHUNKS + 1);
    registrar_destroy(registrar);
}

Test(registrar, each_chunk_once, .timeout = 30)
{
    make(4, false, -1);
    for (int round = 0; round < 3; round++)
        for (uint32_t chunk = 0; chunk < CHUNKS; chunk++)
            cr_assert_eq(registrar_want(registrar, 0, chunk), round == 0);
    wait_for(&record.done, CHUNKS);
    registrar_destroy(registrar);
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++)
        cr_assert_eq(record.times[0][chunk], 1, "chunk %u: %u times", chunk, record.times[0][chunk]);
    cr_assert_eq(record.n, CHUNKS);
    cr_assert_eq(record.n_failed, 0);
}

/* Wishes come from the peer. */
Test(registrar, chunks_that_do_not_exist, .timeout = 30)
{
    make(1, false, -1);
    cr_assert_eq(registrar_want(registrar, 0, CHUNKS), -EINVAL);
    cr_assert_eq(registrar_want(registrar, 1, 2), -EINVAL);
    cr_assert_eq(registrar_want(registrar, 0, UINT64_MAX), -EINVAL);
    cr_assert_eq(registrar_want(registrar, REGIONS, 0), -EINVAL);
    cr_assert_eq(registrar_want(registrar, UINT32_MAX, 0), -EINVAL);
    cr_assert_eq(registrar_want(registrar, 1, 1), 1);
    wait_for(&record.done, 1);
    registrar_destroy(registrar);
    cr_assert_eq(record.n, 1);
}

Test(registrar, several_at_once, .timeout = 30)
{
    make(3, true, -1);
    for (uint32_t chunk = 0; chunk < 6; chunk++)
        registrar_want(registrar, 0, chunk);
    wait_for(&record.entered, 3); /* all three threads are within the callback */
    for (int i = 0; i < 6; i++)
        sem_post(&record.gate);
    wait_for(&record.done, 6);
    registrar_destroy(registrar);
    cr_assert_eq(record.at_once_max, 3);
    cr_assert_eq(record.n, 6);
}

Test(registrar, a_failure_is_told_once_and_ends_it, .timeout = 30)
{
    make(1, false, 2);
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++)
        registrar_want(registrar, 0, chunk);
    wait_for(&record.done, 3);
    cr_assert_eq(record.n_failed, 1);
    cr_assert_str_eq(record.error.message, "no memory for chunk 2");
    cr_assert_eq(record.error.code, -ENOMEM);
    registrar_want(registrar, 1, 0);
    registrar_destroy(registrar);
    cr_assert_eq(record.n, 3, "more were done after the failure");
    cr_assert_eq(record.n_failed, 1);
}

static void *destroy_main(void *argument)
{
    registrar_destroy(argument);
    return NULL;
}

Test(registrar, destroy_waits_for_what_is_under_way, .timeout = 30)
{
    make(2, true, -1);
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++)
        registrar_want(registrar, 0, chunk);
    wait_for(&record.entered, 2);

    pthread_t ending;
    cr_assert_eq(pthread_create(&ending, NULL, destroy_main, registrar), 0);
    for (int i = 0; i < (int)CHUNKS; i++)
        sem_post(&record.gate);
    pthread_join(ending, NULL);
    cr_assert_eq(record.at_once, 0, "a callback is still running");
}

Test(registrar, destroy_takes_null_and_an_idle_one, .timeout = 30)
{
    registrar_destroy(NULL);
    make(8, false, -1);
    registrar_destroy(registrar);
    make(1000, false, -1); /* cut to what is sensible */
    registrar_destroy(registrar);
}
