/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/common/pair.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_WAIT_MS        10000
#define EMULATED_STOP_NS    1000000000ull /* what an emulated host manages at its slowest; tests do not judge speed */
#define EMULATED_SILENCE_MS 20000

static void source_event(void *opaque, const struct tern_event *event)
{
    struct pair *pair = opaque;

    if (event->kind == TERN_EVENT_ROUND)
        atomic_fetch_add(&pair->source_rounds, 1);
    if (event->kind == TERN_EVENT_PHASE)
        atomic_store(&pair->source_phase, event->phase);
    if (pair->on_source_event)
        pair->on_source_event(pair, event);
}

static void destination_event(void *opaque, const struct tern_event *event)
{
    struct pair *pair = opaque;

    if (event->kind == TERN_EVENT_ROUND)
        atomic_fetch_add(&pair->destination_rounds, 1);
    if (event->kind == TERN_EVENT_WARNING) {
        strncat(pair->warnings, event->text, sizeof(pair->warnings) - strlen(pair->warnings) - 2);
        strcat(pair->warnings, "\n");
    }
    if (pair->on_destination_event)
        pair->on_destination_event(pair, event);
}

/* Both guests stand still here: what arrived must be what left. */
static int resume_and_compare(void *opaque, struct tern_error *error)
{
    struct pair *pair = opaque;

    pair->compared = true;
    pair->equal = process_guest_equal(pair->source, pair->destination, &pair->first_difference);
    if (pair->fail_resume)
        return pair->fail_resume;
    return pair->resume(pair->destination, error);
}

/* The destination's callbacks get the pair; these hand on to the guest. */
static int load_state(void *opaque, const void *buffer, size_t length, struct tern_error *error)
{
    struct pair *pair = opaque;
    struct tern_vm vm;

    process_guest_describe(pair->destination, &vm);
    return vm.load_state(vm.opaque, buffer, length, error);
}

/* The lab runs the same tests over its soft-RoCE device: TERN_TEST_TRANSPORT=verbs, TERN_TEST_HOST and _HOST6. */
const char *pair_host(bool ipv6)
{
    const char *host = getenv(ipv6 ? "TERN_TEST_HOST6" : "TERN_TEST_HOST");

    return host ? host : ipv6 ? "::1" : "127.0.0.1";
}

static enum tern_transport transport(void)
{
    const char *name = getenv("TERN_TEST_TRANSPORT");

    return name && !strcmp(name, "verbs") ? TERN_TRANSPORT_VERBS : TERN_TRANSPORT_TCP;
}

void pair_init(struct pair *pair, const struct process_guest_config *source,
               const struct process_guest_config *destination, const char *host)
{
    struct tern_error error = {0};

    memset(pair, 0, sizeof(*pair));
    cr_assert_eq(process_guest_create(source, true, &pair->source, &error), 0, "%s", error.message);
    cr_assert_eq(process_guest_create(destination ? destination : source, false, &pair->destination, &error), 0, "%s",
                 error.message);
    process_guest_describe(pair->source, &pair->source_vm);
    process_guest_describe(pair->destination, &pair->destination_vm);
    pair->resume = pair->destination_vm.resume;
    pair->destination_vm.opaque = pair;
    pair->destination_vm.resume = resume_and_compare;
    pair->destination_vm.load_state = load_state;
    tern_options_init(&pair->source_options);
    tern_options_init(&pair->destination_options);
    pair->source_options.host = pair->destination_options.host = host;
    pair->source_options.transport = transport();
    pair->source_options.verify = true;
    if (pair->source_options.transport == TERN_TRANSPORT_VERBS) {
        pair->source_options.downtime_limit_ns = EMULATED_STOP_NS;
        pair->source_options.peer_timeout_ms = pair->destination_options.peer_timeout_ms = EMULATED_SILENCE_MS;
    }
    pair->source_options.on_event = source_event;
    pair->destination_options.on_event = destination_event;
    pair->source_options.event_opaque = pair->destination_options.event_opaque = pair;
    pair->destination_options.port = UINT16_MAX;
}

static void *destination_main(void *argument)
{
    struct pair *pair = argument;

    pair->destination_code =
        tern_destination_run(pair->destination_session, &pair->destination_result, &pair->destination_error);
    return NULL;
}

void pair_start_destination(struct pair *pair)
{
    struct tern_error error = {0};

    pair->destination_result.struct_bytes = sizeof(pair->destination_result);
    cr_assert_eq(
        tern_destination_create(&pair->destination_vm, &pair->destination_options, &pair->destination_session, &error),
        0, "%s", error.message);
    pair->source_options.port = tern_destination_port(pair->destination_session);
    cr_assert_eq(pthread_create(&pair->destination_thread, NULL, destination_main, pair), 0);
}

void pair_join_destination(struct pair *pair)
{
    pthread_join(pair->destination_thread, NULL);
    tern_destination_destroy(pair->destination_session);
    pair->destination_session = NULL;
}

void pair_run(struct pair *pair)
{
    struct tern_error error = {0};

    pair_start_destination(pair);
    process_guest_start(pair->source);
    cr_assert_eq(tern_source_create(&pair->source_vm, &pair->source_options, &pair->source_session, &error), 0, "%s",
                 error.message);
    pair->source_result.struct_bytes = sizeof(pair->source_result);
    pair->source_code = tern_source_run(pair->source_session, &pair->source_result, &pair->source_error);
    if (pair->source_code) /* one that was turned away in phase 0 leaves the destination waiting */
        tern_destination_cancel(pair->destination_session);
    tern_source_destroy(pair->source_session);
    pair_join_destination(pair);
}

static bool takes_steps(struct process_guest *guest)
{
    uint64_t before = process_guest_steps(guest);

    for (int ms = 0; ms < STEP_WAIT_MS; ms++) {
        if (process_guest_steps(guest) > before)
            return true;
        usleep(1000);
    }
    return false;
}

void pair_check_moved(struct pair *pair)
{
    const struct tern_ledger *l = &pair->source_result.ledger;

    cr_assert_eq(pair->source_code, 0, "source: %s; destination: %s", pair->source_error.message,
                 pair->destination_error.message);
    cr_assert_eq(pair->destination_code, 0, "destination: %s", pair->destination_error.message);
    cr_assert_eq(pair->source_result.outcome, TERN_OUTCOME_MIGRATED);
    cr_assert_eq(pair->destination_result.outcome, TERN_OUTCOME_MIGRATED);
    cr_assert(pair->compared);
    cr_assert(pair->equal, "memory differs first at byte 0x%llx", (unsigned long long)pair->first_difference);
    cr_assert(!process_guest_runs(pair->source), "the guest runs twice");
    cr_assert(process_guest_runs(pair->destination));
    cr_assert_eq(pair->source_result.downtime_ns, l->stop_ns + l->last_scan_ns + l->last_write_ns + l->fence_ns +
                                                      l->state_ns + l->commit_ns + l->activate_ns);
    cr_assert_gt(pair->source_result.downtime_ns, 0);
    cr_assert_eq(pair->source_result.verified, pair->source_options.verify);
    if (pair->source_vm.opaque && process_guest_steps(pair->source))
        cr_assert(takes_steps(pair->destination), "the guest does not go on");
}

void pair_check_stayed(struct pair *pair)
{
    cr_assert_lt(pair->source_code, 0);
    cr_assert_eq(pair->source_result.outcome, TERN_OUTCOME_FAILED);
    cr_assert_eq(pair->destination_result.outcome, TERN_OUTCOME_FAILED);
    cr_assert(process_guest_runs(pair->source), "the source's guest stands still");
    cr_assert(!process_guest_runs(pair->destination));
    cr_assert(takes_steps(pair->source), "the source's guest does not go on");
    cr_assert_gt(strlen(pair->source_error.message), 0);
    cr_assert_null(strchr(pair->source_error.message, '\n'));
}

void pair_free(struct pair *pair)
{
    process_guest_destroy(pair->source);
    process_guest_destroy(pair->destination);
}
