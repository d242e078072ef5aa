/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/fake_engine.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "transport/clock.h"
#include "transport/error.h"

struct fake fake;

static bool guest_runs(void *guest)
{
    (void)guest;
    return atomic_load(&fake.runs);
}

static int guest_pause(void *guest, struct tern_error *error)
{
    (void)guest;
    (void)error;
    atomic_store(&fake.runs, false);
    return 0;
}

static int guest_resume(void *guest, struct tern_error *error)
{
    (void)guest;
    (void)error;
    atomic_store(&fake.runs, true);
    return 0;
}

static const struct tern_vm *guest_describe(void *guest)
{
    static const struct tern_vm vm = {.struct_bytes = sizeof(vm)};

    (void)guest;
    return &vm;
}

static void guest_status(void *guest, struct json_object *into)
{
    (void)guest;
    json_object_object_add(into, "heartbeat", json_object_new_int(7));
}

static int guest_verify(void *guest, struct json_object *into, struct tern_error *error)
{
    (void)guest;
    json_object_object_add(into, "pages", json_object_new_int(9));
    return atomic_load(&fake.runs) ? 0 : error_set(error, -EILSEQ, NULL, "page 5 is not as it was written");
}

const struct guest_ops fake_guest = {guest_runs, guest_pause, guest_resume, guest_describe, guest_status, guest_verify};

static void options_init(struct tern_options *options)
{
    *options = (struct tern_options){.struct_bytes = sizeof(*options), .gid_index = -1};
}

static int source_create(const struct tern_vm *vm, const struct tern_options *options, struct tern_source **out,
                         struct tern_error *error)
{
    (void)vm;
    if (!strcmp(options->host, "nowhere"))
        return error_set(error, -EINVAL, "go elsewhere", "no way");
    fake.options = *options;
    *out = (struct tern_source *)&fake;
    return 0;
}

static void tell(enum tern_event_kind kind, const char *text)
{
    struct tern_event event = {.kind = kind,
                               .side = TERN_SIDE_SOURCE,
                               .phase = TERN_PHASE_PRE_COPY,
                               .round = 2,
                               .rate_bps = 1000000000,
                               .transport = "tcp",
                               .device = "tcp",
                               .text = text};

    fake.options.on_event(fake.options.event_opaque, &event);
}

/* Runs until it is let go or cancelled. */
static int fake_run(struct tern_result *result, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms(FAKE_ENGINE_MS);

    tell(TERN_EVENT_PHASE, NULL);
    tell(TERN_EVENT_WARNING, "mind the gap");
    atomic_store(&fake.under_way, true);
    while (!atomic_load(&fake.proceed) && (atomic_load(&fake.deaf) || !atomic_load(&fake.cancelled)) &&
           clock_left_ms(deadline_ns)) {
        tell(TERN_EVENT_PROGRESS, NULL);
        poll(NULL, 0, 2);
    }
    atomic_store(&fake.under_way, false);
    snprintf(result->transport, sizeof(result->transport), "tcp");
    result->lanes = 3;
    if (!atomic_load(&fake.proceed))
        return error_set(error, -ECANCELED, NULL, "cancelled");
    result->outcome = (enum tern_outcome)atomic_load(&fake.outcome);
    switch (result->outcome) {
    case TERN_OUTCOME_MIGRATED:
        atomic_store(&fake.runs, atomic_load(&fake.receive));
        return 0;
    case TERN_OUTCOME_SUSPENDED:
        atomic_store(&fake.runs, false);
        return 0;
    case TERN_OUTCOME_RESUMED:
        return 0;
    case TERN_OUTCOME_IN_DOUBT:
        atomic_store(&fake.runs, false);
        return error_set(error, -EINPROGRESS, NULL, "the peer is gone");
    default:
        error_set(error, -ECONNRESET, "look there", "the peer is gone");
        error->side = TERN_SIDE_DESTINATION;
        return -ECONNRESET;
    }
}

static int source_run(struct tern_source *source, struct tern_result *result, struct tern_error *error)
{
    (void)source;
    return fake_run(result, error);
}

static void source_cancel(struct tern_source *source)
{
    (void)source;
    atomic_store(&fake.cancelled, true);
}

static void source_destroy(struct tern_source *source)
{
    (void)source;
}

static int destination_create(const struct tern_vm *vm, const struct tern_options *options,
                              struct tern_destination **out, struct tern_error *error)
{
    (void)vm;
    (void)error;
    fake.options = *options;
    *out = (struct tern_destination *)&fake;
    return 0;
}

static uint16_t destination_port(const struct tern_destination *destination)
{
    (void)destination;
    return 4242;
}

static int destination_run(struct tern_destination *destination, struct tern_result *result, struct tern_error *error)
{
    (void)destination;
    return fake_run(result, error);
}

static void destination_cancel(struct tern_destination *destination)
{
    (void)destination;
    atomic_store(&fake.cancelled, true);
}

static void destination_destroy(struct tern_destination *destination)
{
    (void)destination;
}

static int suspend_create(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                          struct tern_suspend **out, struct tern_error *error)
{
    (void)vm;
    fake.options = *options;
    *out = (struct tern_suspend *)&fake;
    return strcmp(path, "/full") ? 0 : error_set(error, -ENOSPC, NULL, "no room");
}

static int suspend_run(struct tern_suspend *suspend, struct tern_result *result, struct tern_error *error)
{
    (void)suspend;
    return fake_run(result, error);
}

static void suspend_cancel(struct tern_suspend *suspend)
{
    (void)suspend;
    atomic_store(&fake.cancelled, true);
}

static void suspend_destroy(struct tern_suspend *suspend)
{
    (void)suspend;
}

static int resume_create(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                         struct tern_resume **out, struct tern_error *error)
{
    (void)vm;
    (void)path;
    (void)error;
    fake.options = *options;
    *out = (struct tern_resume *)&fake;
    return 0;
}

/* Its guest runs at once, and the rest of its memory is read until the test says so. */
static int resume_run(struct tern_resume *resume, struct tern_result *result, struct tern_error *error)
{
    struct tern_event event = {.kind = TERN_EVENT_PHASE, .phase = TERN_PHASE_ACTIVATE};

    (void)resume;
    atomic_store(&fake.runs, true);
    fake.options.on_event(fake.options.event_opaque, &event);
    return fake_run(result, error);
}

static void resume_cancel(struct tern_resume *resume)
{
    (void)resume;
    atomic_store(&fake.cancelled, true);
}

static void resume_destroy(struct tern_resume *resume)
{
    (void)resume;
}

const struct engine_ops fake_engine = {
    .options_init = options_init,
    .source_create = source_create,
    .source_run = source_run,
    .source_cancel = source_cancel,
    .source_destroy = source_destroy,
    .destination_create = destination_create,
    .destination_port = destination_port,
    .destination_run = destination_run,
    .destination_cancel = destination_cancel,
    .destination_destroy = destination_destroy,
    .suspend_create = suspend_create,
    .suspend_run = suspend_run,
    .suspend_cancel = suspend_cancel,
    .suspend_destroy = suspend_destroy,
    .resume_create = resume_create,
    .resume_run = resume_run,
    .resume_cancel = resume_cancel,
    .resume_destroy = resume_destroy,
};
