/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that cannot be registered, and writes that must not land: the verbs provider on a soft-RoCE device. Run in the
 * lab by suite_verbs_errors.sh. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lab/verbs_child.h"
#include "tests/lab/verbs_ends.h"

/* ---- RLIMIT_MEMLOCK ---- */

/* Lanes that are connected; nothing is registered yet. */
static void connected(struct ends *ends)
{
    struct tern_error error = {0};

    ends_init(ends, pair_host(false));
    ends->options.registration = ends->source_registers = LINK_REGISTER_PIN;
    ends_listen(ends);
    cr_assert_eq(ends_connect(ends, ends->token, &error), 0, "%s", error.message);
    cr_assert_eq(link_verbs.source_add(ends->source, 0, ends->from, REGION_BYTES, &error), 0);
}

static void cannot_register(struct ends *ends, uint64_t chunk, const char *what)
{
    struct tern_error error = {0};
    struct link_key key = {0};

    cr_assert_eq(link_verbs.source_register_chunk(ends->source, 0, chunk, &error), -ENOMEM);
    says(&error, what);
    cr_assert_not_null(strstr(error.hint, "ulimit -l unlimited"), "%s", error.hint);
    cr_assert_eq(link_verbs.destination_register_chunk(ends->destination, 0, chunk, &key, &error), -ENOMEM);
    says(&error, what);
    cr_assert_eq(key.rkey[0], 0, "a key was written although it failed");
}

Test(memlock, too_low_for_one_chunk, .timeout = 60)
{
    struct ends ends;

    connected(&ends);
    limit_memlock(64 << 10, true);
    cannot_register(&ends, 0, "cannot register 2 MiB: RLIMIT_MEMLOCK is 64 KiB");
    ends_free(&ends);
}

Test(memlock, too_low_for_a_second_chunk, .timeout = 60)
{
    struct tern_error error = {0};
    struct ends ends;

    connected(&ends);
    limit_memlock(3 * MIB, true);
    cr_assert_eq(link_verbs.source_register_chunk(ends.source, 0, 0, &error), 0, "%s", error.message);
    cannot_register(&ends, 1, "cannot register 2 MiB: RLIMIT_MEMLOCK is 3 MiB, of which 2 MiB are in use");
    ends_free(&ends);
}

Test(memlock, holds_not_for_who_may_lock_memory, .timeout = 60)
{
    struct ends ends;

    connected(&ends);
    limit_memlock(64 << 10, false);
    link_verbs.source_close(ends.source);
    link_verbs.destination_close(ends.destination);
    ends.source = NULL;
    ends.destination = NULL;
    ends_free(&ends);
    ends_init(&ends, pair_host(false));
    ends_join(&ends);
    ends_write_all(&ends);
    ends_free(&ends);
}

Test(memlock, a_migration_says_it_and_the_guest_stays, .timeout = 60)
{
    struct pair pair;

    limit_memlock(MIB / 2, true);
    pair_init(&pair, &small_guest, NULL, pair_host(false));
    pair.source_options.registration = pair.destination_options.registration = TERN_REGISTER_PIN;
    pair_run(&pair);
    pair_check_stayed(&pair);
    says(&pair.source_error, "RLIMIT_MEMLOCK is 512 KiB");
    cr_assert_neq(pair.source_error.side, TERN_SIDE_NONE);
    pair_free(&pair);
}

/* ---- completions ---- */

static int write_and_wait(struct ends *ends, uint32_t lane, struct tern_error *error)
{
    struct link_run run = {.offset_bytes = CHUNK_BYTES + 4096, .length_bytes = 4096};
    int r = link_verbs.post(ends->source, lane, &run, 1, error);

    return r < 0 ? r : link_verbs.wait(ends->source, lane, LINK_WAIT_DRAINED, 25000, error);
}

static void nothing_landed(const struct ends *ends)
{
    for (uint64_t i = 0; i < REGION_BYTES; i++)
        cr_assert_eq(ends->to[i], 0, "byte 0x%llx was written", (unsigned long long)i);
}

Test(completion, a_wrong_key_writes_nothing_and_is_named, .timeout = 60)
{
    struct tern_error error = {0};
    struct link_key wrong;
    struct ends ends;
    char there[32];

    ends_init(&ends, pair_host(false));
    ends_join(&ends);
    wrong = ends.keys[1];
    wrong.rkey[0] = ends.keys[0].rkey[0]; /* a good key, of other memory */
    link_verbs.source_set_key(ends.source, 0, 1, wrong);
    cr_assert_eq(write_and_wait(&ends, 0, &error), -EREMOTEIO);
    says(&error, "lane 0 to 10.77.0.1: a write of 4096 bytes to region 0 at 0x201000");
    snprintf(there, sizeof(there), "there at 0x%llx", (unsigned long long)wrong.address + 4096);
    says(&error, there);
    says(&error, "remote access error");
    nothing_landed(&ends);
    ends_free(&ends);
}

Test(completion, a_destination_link_takes_no_keys_of_another, .timeout = 60)
{
    struct tern_error error = {0};
    struct ends one, other;

    ends_init(&one, pair_host(false));
    ends_init(&other, pair_host(false));
    ends_join(&one);
    ends_join(&other);
    link_verbs.source_set_key(one.source, 0, 1, other.keys[1]);
    cr_assert_eq(write_and_wait(&one, 1, &error), -EREMOTEIO);
    says(&error, "remote");
    nothing_landed(&other);
    nothing_landed(&one);
    ends_free(&one);
    ends_free(&other);
}

/* First the lane's end is heard of, then the write that was posted on it fails: nobody acknowledges it. */
Test(completion, a_write_after_teardown_lands_nowhere, .timeout = 90)
{
    struct tern_error error = {0};
    struct ends ends;
    int r;

    ends_init(&ends, pair_host(false));
    ends_join(&ends);
    link_verbs.destination_teardown(ends.destination);
    r = write_and_wait(&ends, 0, &error);
    if (r == -ENOTCONN) {
        says(&error, "lane 0 to 10.77.0.1 is down: the destination ended it");
        r = link_verbs.wait(ends.source, 0, LINK_WAIT_DRAINED, 40000, &error);
    }
    cr_assert_eq(r, -EREMOTEIO, "%d: %s", r, error.message);
    says(&error, "a write of 4096 bytes to region 0 at 0x201000");
    says(&error, "retry counter exceeded");
    nothing_landed(&ends);
    ends_free(&ends);
}

/* Writes the region over and over, other bytes each time, until the lane fails; then, if it was its end that was heard
 * of, until what is under way has failed too, or there is nothing that could. */
static void *write_for_ever(void *argument)
{
    struct link_run run = {.length_bytes = REGION_BYTES};
    struct ends *ends = argument;
    uint8_t value = 0;
    int r = 0;

    while (r >= 0) {
        memset(ends->from, ++value, REGION_BYTES);
        r = link_verbs.post(ends->source, 0, &run, 1, &ends->wait_error);
        if (r >= 0)
            r = link_verbs.wait(ends->source, 0, LINK_WAIT_DRAINED, 25000, &ends->wait_error);
    }
    if (r == -ENOTCONN)
        r = link_verbs.wait(ends->source, 0, LINK_WAIT_DRAINED, 25000, &ends->wait_error);
    ends->wait_code = r;
    return NULL;
}

static void stream_ends_with_teardown(enum link_register destination_registers)
{
    uint8_t *seen = malloc(REGION_BYTES);
    pthread_t thread;
    struct ends ends;

    ends_init(&ends, pair_host(false));
    ends.options.registration = destination_registers;
    ends_join(&ends);
    cr_assert_eq(pthread_create(&thread, NULL, write_for_ever, &ends), 0);
    while (*(volatile uint8_t *)(ends.to + REGION_BYTES - 1) < 3)
        usleep(1000);
    link_verbs.destination_teardown(ends.destination);
    memcpy(seen, ends.to, REGION_BYTES); /* what is there now is all that will ever be */
    pthread_join(thread, NULL);
    if (destination_registers == LINK_REGISTER_RING && ends.wait_code == -ENOTCONN)
        says(&ends.wait_error, "the destination ended it"); /* all slots were full, and nothing was under way */
    else
        cr_assert_eq(ends.wait_code, -EREMOTEIO, "%d: %s", ends.wait_code, ends.wait_error.message);
    cr_assert_eq(memcmp(seen, ends.to, REGION_BYTES), 0, "a write landed after the teardown");
    free(seen);
    ends_free(&ends);
}

Test(completion, a_stream_of_writes_ends_with_teardown, .timeout = 90)
{
    stream_ends_with_teardown(LINK_REGISTER_AUTO);
}

Test(completion, a_stream_into_a_ring_ends_with_teardown, .timeout = 90)
{
    stream_ends_with_teardown(LINK_REGISTER_RING);
}
