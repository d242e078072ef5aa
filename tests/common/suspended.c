/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/common/suspended.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/clock.h"

#define STEP_WAIT_MS 20000

const struct process_guest_config suspended_busy = {.memory_bytes = 64 << 20,
                                                    .high_bytes = 16 << 20,
                                                    .random_bytes = 24 << 20,
                                                    .working_set_bytes = 4 << 20,
                                                    .dirty_pages_ps = 2000,
                                                    .seed = 11};

static void on_event(void *opaque, const struct tern_event *event)
{
    struct suspended *suspended = opaque;

    if (event->kind == TERN_EVENT_WARNING)
        snprintf(suspended->warnings, sizeof(suspended->warnings), "%s", event->text);
    if (suspended->on_event)
        suspended->on_event(suspended, event);
}

static int resume_and_compare(void *opaque, struct tern_error *error)
{
    struct suspended *suspended = opaque;

    if (suspended->blind)
        return suspended->resume(suspended->back, error);
    suspended->compared = true;
    suspended->equal = process_guest_equal(suspended->guest, suspended->back, &suspended->first_difference);
    return suspended->resume(suspended->back, error);
}

static int load_state(void *opaque, const void *buffer, size_t length, struct tern_error *error)
{
    struct suspended *suspended = opaque;
    struct tern_vm vm;

    process_guest_describe(suspended->back, &vm);
    return vm.load_state(vm.opaque, buffer, length, error);
}

static int pause_back(void *opaque, struct tern_error *error)
{
    struct suspended *suspended = opaque;
    struct tern_vm vm;

    process_guest_describe(suspended->back, &vm);
    return vm.pause(vm.opaque, error);
}

void suspended_init(struct suspended *suspended, const struct process_guest_config *config, const char *parent)
{
    struct tern_error error = {0};

    *suspended = (struct suspended){.config = *config};
    snprintf(suspended->folder, sizeof(suspended->folder), "%s/tern-test.XXXXXX", parent ? parent : "/var/tmp");
    cr_assert_not_null(mkdtemp(suspended->folder));
    snprintf(suspended->path, sizeof(suspended->path), "%s/image", suspended->folder);
    cr_assert_eq(process_guest_create(config, true, &suspended->guest, &error), 0, "%s", error.message);
    process_guest_describe(suspended->guest, &suspended->vm);
    tern_options_init(&suspended->options);
    suspended->options.on_event = on_event;
    suspended->options.event_opaque = suspended;
    suspended->options.downtime_limit_ns = 2 * NS_PER_S; /* tests judge no speed */
    process_guest_start(suspended->guest);
}

void suspended_free(struct suspended *suspended)
{
    char path[128];

    process_guest_destroy(suspended->guest);
    process_guest_destroy(suspended->back);
    unlink(suspended->path);
    snprintf(path, sizeof(path), "%s.partial", suspended->path);
    unlink(path);
    cr_assert_eq(rmdir(suspended->folder), 0, "something is left in %s", suspended->folder);
}

int suspended_suspend(struct suspended *suspended)
{
    struct tern_suspend *session;
    int r = tern_suspend_create(&suspended->vm, suspended->path, &suspended->options, &session, &suspended->error);

    if (r)
        return r;
    suspended->result.struct_bytes = sizeof(suspended->result);
    r = tern_suspend_run(session, &suspended->result, &suspended->error);
    tern_suspend_destroy(session);
    return r;
}

int suspended_resume(struct suspended *suspended, bool eager)
{
    struct tern_resume *session;
    int r;

    process_guest_destroy(suspended->back);
    cr_assert_eq(process_guest_create(&suspended->config, false, &suspended->back, &suspended->error), 0, "%s",
                 suspended->error.message);
    for (uint64_t at = 0; at < suspended->config.memory_bytes; at += 3 << 20) /* as a look at its status would */
        cr_assert_eq(*(volatile uint8_t *)process_guest_at(suspended->back, at), 0);
    process_guest_describe(suspended->back, &suspended->back_vm);
    suspended->resume = suspended->back_vm.resume;
    suspended->back_vm.opaque = suspended;
    suspended->back_vm.resume = resume_and_compare;
    suspended->back_vm.load_state = load_state;
    suspended->back_vm.pause = pause_back;
    suspended->options.eager = eager;
    r = tern_resume_create(&suspended->back_vm, suspended->path, &suspended->options, &session, &suspended->error);
    if (r)
        return r;
    suspended->result.struct_bytes = sizeof(suspended->result);
    r = tern_resume_run(session, &suspended->result, &suspended->error);
    tern_resume_destroy(session);
    return r;
}

static void expect_steps(struct process_guest *guest, const char *name)
{
    uint64_t before = process_guest_steps(guest), deadline_ns = clock_after_ms(STEP_WAIT_MS);

    while (process_guest_steps(guest) == before) {
        cr_assert(clock_left_ms(deadline_ns), "%s: the guest takes no step", name);
        poll(NULL, 0, 1);
    }
}

void suspended_expect_stayed(struct suspended *suspended, const char *name)
{
    cr_assert_eq(suspended->result.outcome, TERN_OUTCOME_FAILED, "%s", name);
    cr_assert(process_guest_runs(suspended->guest), "%s", name);
    expect_steps(suspended->guest, name);
}

void suspended_expect_back(struct suspended *suspended)
{
    cr_assert_eq(suspended->result.outcome, TERN_OUTCOME_RESUMED);
    cr_assert(suspended->compared);
    cr_assert(suspended->equal, "the guests differ at %llu", (unsigned long long)suspended->first_difference);
    cr_assert_not(process_guest_runs(suspended->guest));
    cr_assert(process_guest_runs(suspended->back));
    expect_steps(suspended->back, "resumed");
}

void suspended_swap(struct suspended *suspended)
{
    struct tern_error error = {0};

    process_guest_destroy(suspended->guest);
    suspended->guest = suspended->back;
    suspended->back = NULL;
    suspended->compared = false;
    cr_assert_eq(process_guest_load_tracker(suspended->guest, &error), 0, "%s", error.message);
    process_guest_describe(suspended->guest, &suspended->vm);
}

bool suspended_has(const struct suspended *suspended, const char *suffix)
{
    char path[128];

    snprintf(path, sizeof(path), "%s%s", suspended->path, suffix);
    return !access(path, F_OK);
}
