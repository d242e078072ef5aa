/* SPDX-License-Identifier: BSD-2-Clause */
/* What the trackers see of a real vCPU: every page of the steps that it took, and no page that it never touches. A page
 * that the payload's sweep only read may be among them: KVM counts what it maps writable as written. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kvm/machine.h"
#include "tools/vmm/payload_loader.h"

#define REGION_PAGES (32 * MIB / TERN_PAGE_BYTES)
#define REGION_WORDS (REGION_PAGES / 64)

static const struct {
    enum vmm_tracker tracker;
    enum vmm_backing backing;
    const char *name;
} cases[] = {
    {VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, "KVM dirty log"},
    {VMM_TRACKER_KVM_LOG, VMM_BACKING_MEMFD, "KVM dirty log"},
    {VMM_TRACKER_KVM_RING, VMM_BACKING_ANONYMOUS, "KVM dirty ring"},
    {VMM_TRACKER_UFFD, VMM_BACKING_MEMFD, "userfaultfd"},
};

struct dirty {
    uint64_t words[2][REGION_WORDS];
};

/* The word of a data page's bit, and its bit. */
static uint64_t *bit_of(struct dirty *dirty, const struct payload_mailbox *box, uint64_t page, uint64_t *bit)
{
    uint64_t address = payload_address(box, page);
    int region = address >= MEMORY_HIGH_ADDRESS;
    uint64_t index = (address - (region ? MEMORY_HIGH_ADDRESS : 0)) / TERN_PAGE_BYTES;

    *bit = 1ull << index % 64;
    return &dirty->words[region][index / 64];
}

/* Fetch, and clear what was fetched where that is a step of its own. */
static void take(struct machine *machine, struct dirty *dirty)
{
    const struct tern_tracker *tracker = &machine->vmm->tracker;
    struct tern_error error = {0};

    memset(dirty, 0, sizeof(*dirty));
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(tracker->ops->fetch(tracker->self, i, dirty->words[i], &error), 0, "%s", error.message);
        if (tracker->ops->clear)
            cr_assert_eq(tracker->ops->clear(tracker->self, i, 0, REGION_PAGES, dirty->words[i], &error), 0, "%s",
                         error.message);
    }
}

/* The pages that steps (from, to] wrote. */
static void expect(const struct payload_mailbox *box, uint64_t from, uint64_t to, struct dirty *dirty)
{
    memset(dirty, 0, sizeof(*dirty));
    for (uint64_t step = from + 1; step <= to; step++) {
        uint64_t bit,
            page = pick_page((enum payload_pattern)box->pattern, box->working_pages, step, chain_at(box->seed, step));

        *bit_of(dirty, box, page, &bit) |= bit;
    }
}

static void compare(const struct payload_mailbox *box, struct dirty *seen, struct dirty *expected)
{
    for (uint64_t page = 0; page < box->low_pages + box->high_pages; page++) {
        uint64_t bit;
        bool is_seen = *bit_of(seen, box, page, &bit) & bit, is_expected = *bit_of(expected, box, page, &bit) & bit;

        cr_assert(is_seen || !is_expected, "data page %llu: written, not seen", (unsigned long long)page);
        cr_assert(!is_seen || page < box->working_pages, "data page %llu: seen, never touched",
                  (unsigned long long)page);
    }
    cr_assert(seen->words[0][0] >> (PAYLOAD_MAILBOX / TERN_PAGE_BYTES) & 1, "the mailbox was written");
}

static void hold(struct machine *machine)
{
    struct tern_error error = {0};

    cr_assert_eq(heartbeat_hold(machine->vmm, &error), 0, "%s", error.message);
}

static void sees_exactly_what_was_written(int i)
{
    struct tern_error error = {0};
    struct machine machine;
    const struct payload_mailbox *box;
    struct dirty *seen = calloc(1, sizeof(*seen)), *expected = calloc(1, sizeof(*expected));
    const struct tern_tracker *tracker;

    machine_create(&machine, cases[i].tracker, cases[i].backing, &machine_payload);
    box = (const struct payload_mailbox *)payload_mailbox(&machine.vmm->memory);
    tracker = &machine.vmm->tracker;
    cr_assert(!strncmp(tracker->ops->name, cases[i].name, strlen(cases[i].name)), "%s", tracker->ops->name);
    machine_resume(&machine);
    machine_wait_step(&machine, 200);
    for (int turn = 0; turn < 2; turn++) { /* a tracker can be started again */
        uint64_t from;

        hold(&machine);
        cr_assert_eq(tracker->ops->start(tracker->self, &error), 0, "%s", error.message);
        take(&machine, seen); /* one that takes every page as dirty at first has its say here */
        for (int round = 0; round < 5; round++) {
            from = box->step;
            heartbeat_release(machine.vmm);
            machine_wait_step(&machine, from + 300);
            hold(&machine);
            take(&machine, seen);
            expect(box, from, box->step, expected);
            compare(box, seen, expected);
            take(&machine, seen);
            for (uint64_t word = 0; word < REGION_WORDS; word++)
                cr_assert_eq(seen->words[0][word] | seen->words[1][word], 0, "dirty although nobody wrote");
        }
        tracker->ops->stop(tracker->self);
        heartbeat_release(machine.vmm);
        machine_wait_step(&machine, box->step + 100);
    }
    machine_check(&machine);
    free(seen);
    free(expected);
    machine_destroy(&machine);
}

Test(kvm_trackers, log, .timeout = 60)
{
    sees_exactly_what_was_written(0);
}

Test(kvm_trackers, log_of_a_memfd, .timeout = 60)
{
    sees_exactly_what_was_written(1);
}

Test(kvm_trackers, ring, .timeout = 60)
{
    sees_exactly_what_was_written(2);
}

Test(kvm_trackers, userfaultfd, .timeout = 60)
{
    sees_exactly_what_was_written(3);
}

/* A page written between fetch and clear is not in the mask, and must be seen by the next fetch. */
Test(kvm_trackers, clear_keeps_what_is_not_in_the_mask, .timeout = 60)
{
    struct dirty *first = calloc(1, sizeof(*first)), *second = calloc(1, sizeof(*second));
    struct dirty *expected = calloc(1, sizeof(*expected));
    struct machine machine;
    const struct tern_tracker *tracker;
    const struct payload_mailbox *box;
    uint64_t from;

    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    tracker = &machine.vmm->tracker;
    box = (const struct payload_mailbox *)payload_mailbox(&machine.vmm->memory);
    cr_assert(tracker->ops->clear, "this host's KVM has no manual protection");
    machine_resume(&machine);
    machine_wait_step(&machine, 10);
    hold(&machine);
    cr_assert_eq(tracker->ops->start(tracker->self, NULL), 0);
    take(&machine, first);
    heartbeat_release(machine.vmm);
    machine_wait_step(&machine, machine_step(&machine) + 100);
    hold(&machine);
    memset(first, 0, sizeof(*first));
    for (uint32_t i = 0; i < 2; i++)
        cr_assert_eq(tracker->ops->fetch(tracker->self, i, first->words[i], NULL), 0);
    from = box->step;
    heartbeat_release(machine.vmm);
    machine_wait_step(&machine, from + 100);
    hold(&machine);
    for (uint32_t i = 0; i < 2; i++)
        cr_assert_eq(tracker->ops->clear(tracker->self, i, 0, REGION_PAGES, first->words[i], NULL), 0);
    take(&machine, second);
    expect(box, from, box->step, expected);
    for (int region = 0; region < 2; region++)
        for (uint64_t word = 0; word < REGION_WORDS; word++)
            expected->words[region][word] &= ~first->words[region][word]; /* those are sent as they are now */
    second->words[0][0] |= 1ull << PAYLOAD_MAILBOX / TERN_PAGE_BYTES;
    compare(box, second, expected);
    heartbeat_release(machine.vmm);
    free(first);
    free(second);
    free(expected);
    machine_destroy(&machine);
}

Test(kvm_trackers, slots_that_do_not_fit_are_refused, .timeout = 60)
{
    struct machine machine;
    struct tern_tracker tracker;
    struct tern_error error = {0};
    const struct tern_kvm_slot twice[2] = {{0, 0}, {1, 0}}, none[2] = {{0, 0}, {1, 5}}, wrong[2] = {{7, 0}, {8, 1}};

    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, NULL);
    cr_assert_neq(
        tern_tracker_kvm_log_create(machine.vmm->vm_fd, twice, 2, machine.vmm->memory.regions, &tracker, &error), 0);
    cr_assert_neq(
        tern_tracker_kvm_log_create(machine.vmm->vm_fd, none, 2, machine.vmm->memory.regions, &tracker, &error), 0);
    cr_assert_eq(
        tern_tracker_kvm_log_create(machine.vmm->vm_fd, wrong, 2, machine.vmm->memory.regions, &tracker, &error), 0);
    cr_assert_neq(tracker.ops->start(tracker.self, &error), 0);
    cr_assert(strstr(error.message, "KVM slot 7 (region 'ram-low')"), "%s", error.message);
    tern_tracker_destroy(&tracker);
    cr_assert_neq(tern_tracker_kvm_ring_create(machine.vmm->vm_fd, &machine.vmm->vcpu.fd, 1, 4096 * 3, wrong, 2,
                                               machine.vmm->memory.regions, &tracker, &error),
                  0);
    machine_destroy(&machine);
}
