/* SPDX-License-Identifier: BSD-2-Clause */
/* Each callback of the VMM and of its tracker fails in turn, with words and without, with codes that mean something
 * else elsewhere: the guest runs on at the source, the user hears which callback it was, and what began is taken back.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/common/pair.h"

#define MIB        (1ull << 20)
#define WORDS      "the VMM's own words"
#define PATIENT_MS 30000 /* of the peers with each other */
#define PROMPT_MS  15000 /* so nobody waited for a peer to fall silent */

enum callback {
    SOURCE_INHIBIT,
    TRACKER_START,
    TRACKER_FETCH,
    TRACKER_CLEAR,
    THROTTLE,
    SOURCE_PREPARE,
    PAUSE,
    SAVE_STATE,
    DESTINATION_INHIBIT,
    DESTINATION_PREPARE,
    LOAD_STATE,
    RESUME,
};

static const char *const names[] = {
    "inhibit_discards", "tracker.start",    "tracker.fetch", "tracker.clear", "throttle", "prepare", "pause",
    "save_state",       "inhibit_discards", "prepare",       "load_state",    "resume",
};

/* One script at a time: the callbacks of two VMs and a tracker share it. */
static struct script {
    enum callback callback;
    int code;
    uint32_t on_call; /* the first, second ... call fails */
    bool speaks;

    _Atomic uint32_t calls;
    struct tern_vm source, destination; /* the guests' own */
    struct tern_tracker_ops ops;
    bool paused;
    uint32_t tracking;
    int source_inhibits, destination_inhibits;
    bool fail_resume_too;
} script;

static int answer(enum callback callback, struct tern_error *error)
{
    if (callback != script.callback || ++script.calls != script.on_call)
        return 0;
    if (script.speaks)
        snprintf(error->message, sizeof(error->message), WORDS);
    return script.code;
}

static int tracker_start(void *tracker, struct tern_error *error)
{
    int r = answer(TRACKER_START, error);

    if (!r)
        r = script.source.tracker.ops->start(tracker, error);
    script.tracking += !r;
    return r;
}

static int tracker_fetch(void *tracker, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    int r = answer(TRACKER_FETCH, error);

    return r ? r : script.source.tracker.ops->fetch(tracker, region, bitmap, error);
}

static int tracker_clear(void *tracker, uint32_t region, uint64_t first_page, uint64_t n_pages, const uint64_t *mask,
                         struct tern_error *error)
{
    int r = answer(TRACKER_CLEAR, error);

    if (!r && script.source.tracker.ops->clear)
        r = script.source.tracker.ops->clear(tracker, region, first_page, n_pages, mask, error);
    return r;
}

static void tracker_stop(void *tracker)
{
    script.tracking--;
    script.source.tracker.ops->stop(tracker);
}

static int source_inhibit(void *opaque, bool on, struct tern_error *error)
{
    int r = on ? answer(SOURCE_INHIBIT, error) : 0;

    (void)opaque;
    script.source_inhibits += r ? 0 : on ? 1 : -1;
    return r;
}

static int source_throttle(void *opaque, uint32_t percent, struct tern_error *error)
{
    int r = percent ? answer(THROTTLE, error) : 0;

    return r ? r : script.source.throttle(opaque, percent, error);
}

/* While the guest still runs. */
static int source_prepare(void *opaque, struct tern_error *error)
{
    (void)opaque;
    return script.paused ? -EPROTO : answer(SOURCE_PREPARE, error);
}

static int destination_prepare(void *opaque, struct tern_error *error)
{
    (void)opaque;
    return script.paused ? -EPROTO : answer(DESTINATION_PREPARE, error);
}

static int source_pause(void *opaque, struct tern_error *error)
{
    int r = answer(PAUSE, error);

    script.paused = true;
    return r ? r : script.source.pause(opaque, error);
}

static int source_resume(void *opaque, struct tern_error *error)
{
    if (script.fail_resume_too)
        return -EBUSY;
    return script.source.resume(opaque, error);
}

static int source_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                       struct tern_error *error)
{
    int r = answer(SAVE_STATE, error);

    return r ? r : script.source.save_state(opaque, buffer, capacity_bytes, length_bytes, error);
}

static int destination_inhibit(void *opaque, bool on, struct tern_error *error)
{
    int r = on ? answer(DESTINATION_INHIBIT, error) : 0;

    (void)opaque;
    script.destination_inhibits += r ? 0 : on ? 1 : -1;
    return r;
}

static int destination_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    int r = answer(LOAD_STATE, error);

    return r ? r : script.destination.load_state(opaque, buffer, length_bytes, error);
}

static int destination_resume(void *opaque, struct tern_error *error)
{
    int r = answer(RESUME, error);

    return r ? r : script.destination.resume(opaque, error);
}

static void wrap(struct pair *pair)
{
    struct tern_vm *source = &pair->source_vm, *destination = &pair->destination_vm;

    script.source = *source;
    script.destination = *destination;
    script.ops =
        (struct tern_tracker_ops){source->tracker.ops->name, tracker_start, tracker_fetch, tracker_clear, tracker_stop};
    source->tracker.ops = &script.ops;
    source->inhibit_discards = source_inhibit;
    source->throttle = source_throttle;
    source->prepare = source_prepare;
    source->pause = source_pause;
    source->resume = source_resume;
    source->save_state = source_save;
    destination->inhibit_discards = destination_inhibit;
    destination->prepare = destination_prepare;
    destination->load_state = destination_load;
    destination->resume = destination_resume;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static const struct process_guest_config busy = {
    .memory_bytes = 24 * MIB,
    .high_bytes = 8 * MIB,
    .random_bytes = 12 * MIB,
    .working_set_bytes = 4 * MIB,
    .dirty_pages_ps = 5000,
    .seed = 5,
};

/* Never converges at this bandwidth, so that it is throttled. */
static const struct process_guest_config busier = {
    .memory_bytes = 24 * MIB,
    .high_bytes = 8 * MIB,
    .random_bytes = 24 * MIB,
    .working_set_bytes = 24 * MIB,
    .seed = 6,
};

static bool is_of_source(enum callback callback)
{
    return callback < DESTINATION_INHIBIT;
}

static void check_words(const struct pair *pair)
{
    const char *expected = script.speaks ? WORDS : names[script.callback];
    const char *name = names[script.callback];

    cr_assert_not_null(strstr(pair->source_error.message, expected), "%s, code %d: source says: %s", name, script.code,
                       pair->source_error.message);
    if (is_of_source(script.callback))
        cr_assert_eq(pair->source_code, script.code, "%s: %d, not %d", name, pair->source_code, script.code);
    if (script.callback == LOAD_STATE || script.callback == RESUME)
        cr_assert_not_null(strstr(pair->destination_error.message, expected), "%s, code %d: destination says: %s", name,
                           script.code, pair->destination_error.message);
    cr_assert_eq(pair->source_error.code, pair->source_code);
    cr_assert_eq(pair->source_error.side, is_of_source(script.callback) ? TERN_SIDE_SOURCE : TERN_SIDE_DESTINATION,
                 "%s", name);
}

static void fails(enum callback callback, uint32_t on_call, int code, bool speaks)
{
    bool converges = callback != THROTTLE && on_call < 4;
    struct pair pair;
    uint64_t begin_ms;

    script = (struct script){.callback = callback, .code = code, .on_call = on_call, .speaks = speaks};
    pair_init(&pair, converges ? &busy : &busier, NULL, pair_host(false));
    wrap(&pair);
    pair.source_options.peer_timeout_ms = pair.destination_options.peer_timeout_ms = PATIENT_MS;
    if (!converges)
        pair.source_options.bandwidth_bps = 200000000; /* also on a busy machine the guest writes faster */
    begin_ms = now_ms();
    pair_run(&pair);
    cr_assert_geq(script.calls, on_call, "%s was not called", names[callback]);
    if (converges)
        cr_assert_lt(now_ms() - begin_ms, PROMPT_MS, "%s", names[callback]);
    pair_check_stayed(&pair);
    if (callback == RESUME) /* the source hears only that the destination is without the guest */
        cr_assert_not_null(strstr(pair.destination_error.message, speaks ? WORDS : "resume"), "%s",
                           pair.destination_error.message);
    else
        check_words(&pair);
    cr_assert_eq(script.tracking, 0);
    cr_assert_eq(script.source_inhibits, 0);
    cr_assert_eq(script.destination_inhibits, 0);
    pair_free(&pair);
}

/* Codes that libtern itself uses for time that passed, ends of connections and the like are the VMM's to use too. */
static void fails_in_every_way(enum callback callback, uint32_t on_call)
{
    static const int codes[] = {-EIO, -ETIMEDOUT, -ECONNRESET, -EPIPE, -EINPROGRESS};

    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
        if (is_of_source(callback) || codes[i] == -EIO || i % 2)
            fails(callback, on_call, codes[i], i % 2);
    fails(callback, on_call, -EIO, true);
    fails(callback, on_call, -ETIMEDOUT, false);
}

Test(callback, inhibit_discards_at_the_source, .timeout = 240)
{
    if (getenv("TERN_TEST_TRANSPORT")) /* verbs, in the lab; over tcp it is not called: test_inhibit.c */
        fails_in_every_way(SOURCE_INHIBIT, 1);
}

Test(callback, tracker_start, .timeout = 240)
{
    fails_in_every_way(TRACKER_START, 1);
}

Test(callback, tracker_fetch_in_pre_copy, .timeout = 240)
{
    fails_in_every_way(TRACKER_FETCH, 1);
}

/* The marking of touched pages clears first, then a worker does, while others post. */
Test(callback, tracker_clear, .timeout = 240)
{
    fails_in_every_way(TRACKER_CLEAR, 1);
    fails_in_every_way(TRACKER_CLEAR, 3);
    fails_in_every_way(TRACKER_CLEAR, 5);
}

Test(callback, throttle, .timeout = 240)
{
    fails(THROTTLE, 1, -EIO, true);
    fails(THROTTLE, 1, -ETIMEDOUT, false);
}

Test(callback, prepare_at_the_source, .timeout = 240)
{
    fails_in_every_way(SOURCE_PREPARE, 1);
    cr_assert(!script.paused);
}

Test(callback, prepare_at_the_destination, .timeout = 240)
{
    fails_in_every_way(DESTINATION_PREPARE, 1);
}

Test(callback, pause, .timeout = 240)
{
    fails_in_every_way(PAUSE, 1);
}

Test(callback, save_state, .timeout = 240)
{
    fails_in_every_way(SAVE_STATE, 1);
}

Test(callback, inhibit_discards_at_the_destination, .timeout = 240)
{
    fails_in_every_way(DESTINATION_INHIBIT, 1);
}

Test(callback, load_state, .timeout = 240)
{
    fails_in_every_way(LOAD_STATE, 1);
}

Test(callback, resume_at_the_destination, .timeout = 240)
{
    fails_in_every_way(RESUME, 1);
}

static int fetch_when_paused(void *tracker, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    return script.paused ? script.code : script.source.tracker.ops->fetch(tracker, region, bitmap, error);
}

Test(callback, tracker_fetch_while_the_guest_stands_still, .timeout = 240)
{
    struct pair pair;

    script = (struct script){.callback = TRACKER_FETCH, .code = -ETIMEDOUT};
    pair_init(&pair, &busy, NULL, pair_host(false));
    wrap(&pair);
    script.ops.fetch = fetch_when_paused;
    pair_run(&pair);
    pair_check_stayed(&pair);
    check_words(&pair);
    pair_free(&pair);
}

static int clear_when_paused(void *tracker, uint32_t region, uint64_t first_page, uint64_t n_pages,
                             const uint64_t *mask, struct tern_error *error)
{
    (void)tracker, (void)region, (void)first_page, (void)n_pages, (void)mask, (void)error;
    return script.paused ? script.code : 0;
}

Test(callback, tracker_clear_while_the_guest_stands_still, .timeout = 240)
{
    struct pair pair;

    script = (struct script){.callback = TRACKER_CLEAR, .code = -ETIMEDOUT};
    pair_init(&pair, &busy, NULL, pair_host(false));
    wrap(&pair);
    script.ops.clear = clear_when_paused;
    pair_run(&pair);
    pair_check_stayed(&pair);
    check_words(&pair);
    pair_free(&pair);
}

/* The worst: the guest can neither move nor go on. Both reasons are told, once each. */
Test(callback, resume_at_the_source_too, .timeout = 240)
{
    struct pair pair;

    script =
        (struct script){.callback = SAVE_STATE, .code = -EIO, .on_call = 1, .speaks = true, .fail_resume_too = true};
    pair_init(&pair, &busy, NULL, pair_host(false));
    wrap(&pair);
    pair_run(&pair);
    cr_assert_eq(pair.source_code, -EIO);
    cr_assert_eq(pair.source_result.outcome, TERN_OUTCOME_FAILED);
    cr_assert(!process_guest_runs(pair.source));
    cr_assert(!process_guest_runs(pair.destination));
    cr_assert_not_null(strstr(pair.source_error.message, "failed (" WORDS ") and"), "%s", pair.source_error.message);
    cr_assert_not_null(strstr(pair.source_error.message, "resume failed"), "%s", pair.source_error.message);
    pair_free(&pair);
}

static int save_too_much(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                         struct tern_error *error)
{
    (void)opaque, (void)buffer, (void)error;
    *length_bytes = capacity_bytes + (1ull << 40);
    return 0;
}

Test(callback, save_state_claims_more_than_there_is_room_for, .timeout = 240)
{
    struct pair pair;

    script = (struct script){.callback = SAVE_STATE};
    pair_init(&pair, &busy, NULL, pair_host(false));
    wrap(&pair);
    pair.source_vm.save_state = save_too_much;
    pair_run(&pair);
    pair_check_stayed(&pair);
    cr_assert_eq(pair.source_code, -ENOSPC);
    cr_assert_not_null(strstr(pair.source_error.message, "does not fit"), "%s", pair.source_error.message);
    pair_free(&pair);
}
