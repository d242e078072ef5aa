/* SPDX-License-Identifier: BSD-2-Clause */
/* A payload guest moves from one machine to another, over tcp here and over verbs in the lab, verified by the engine
 * before the handover, by the guest's own chain, and by a check of every word of its memory afterwards. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/common/pair.h"
#include "tests/kvm/machine.h"

struct move {
    struct machine source, destination;
    struct tern_options source_options, destination_options;
    struct tern_destination *session;
    struct tern_result source_result, destination_result;
    struct tern_error source_error, destination_error;
    int destination_code;
    pthread_t thread;
};

static void *run_destination(void *argument)
{
    struct move *move = argument;

    move->destination_code = tern_destination_run(move->session, &move->destination_result, &move->destination_error);
    return NULL;
}

static void set_options(struct move *move, bool ipv6)
{
    const char *transport = getenv("TERN_TEST_TRANSPORT");

    tern_options_init(&move->source_options);
    move->source_options.host = pair_host(ipv6);
    move->source_options.verify = true;
    move->source_options.downtime_limit_ns = 3000000000ull; /* emulated hosts are slow; speed is not tested here */
    move->source_options.transport =
        transport && !strcmp(transport, "verbs") ? TERN_TRANSPORT_VERBS : TERN_TRANSPORT_TCP;
    tern_options_init(&move->destination_options);
    move->destination_options.host = pair_host(ipv6);
    move->destination_options.port = UINT16_MAX;
    move->source_result.struct_bytes = sizeof(move->source_result);
    move->destination_result.struct_bytes = sizeof(move->destination_result);
}

static void start_destination(struct move *move)
{
    cr_assert_eq(tern_destination_create(vmm_describe(move->destination.vmm), &move->destination_options,
                                         &move->session, &move->destination_error),
                 0, "%s", move->destination_error.message);
    move->source_options.port = tern_destination_port(move->session);
    cr_assert_eq(pthread_create(&move->thread, NULL, run_destination, move), 0);
}

static int run_source(struct move *move)
{
    struct tern_source *source;
    int r;

    cr_assert_eq(
        tern_source_create(vmm_describe(move->source.vmm), &move->source_options, &source, &move->source_error), 0,
        "%s", move->source_error.message);
    r = tern_source_run(source, &move->source_result, &move->source_error);
    tern_source_destroy(source);
    if (r)
        tern_destination_cancel(move->session); /* one that turned a source away waits for the next */
    pthread_join(move->thread, NULL);
    tern_destination_destroy(move->session);
    return r;
}

static void check_moved(struct move *move, int code)
{
    cr_assert_eq(code, 0, "%s", move->source_error.message);
    cr_assert_eq(move->destination_code, 0, "%s", move->destination_error.message);
    cr_assert_eq(move->source_result.outcome, TERN_OUTCOME_MIGRATED);
    cr_assert(move->source_result.verified);
    cr_assert(!vmm_runs(move->source.vmm));
    cr_assert(vmm_runs(move->destination.vmm));
    machine_wait_step(&move->destination, machine_step(&move->source) + 300);
    machine_check(&move->destination);
}

static void moves(enum vmm_tracker tracker, enum vmm_backing backing, const struct vmm_payload *payload, bool ipv6)
{
    struct move move = {0};

    machine_create(&move.source, tracker, backing, payload);
    machine_create(&move.destination, tracker, backing, NULL);
    set_options(&move, ipv6);
    machine_resume(&move.source);
    machine_wait_step(&move.source, 200);
    start_destination(&move);
    check_moved(&move, run_source(&move));
    machine_destroy(&move.source);
    machine_destroy(&move.destination);
}

Test(vmm_migration, with_the_dirty_log, .timeout = 60)
{
    moves(VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload, false);
}

Test(vmm_migration, with_the_dirty_ring_over_ipv6, .timeout = 60)
{
    moves(VMM_TRACKER_KVM_RING, VMM_BACKING_ANONYMOUS, &machine_payload, true);
}

Test(vmm_migration, with_userfaultfd, .timeout = 60)
{
    moves(VMM_TRACKER_UFFD, VMM_BACKING_MEMFD, &machine_payload, false);
}

Test(vmm_migration, guest_at_full_speed, .timeout = 60)
{
    struct vmm_payload payload = machine_payload;

    payload.dirty_pages_ps = 0;
    payload.pattern = PAYLOAD_HOT_COLD;
    moves(VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &payload, false);
}

Test(vmm_migration, there_and_back_and_there_again, .timeout = 60)
{
    struct move move = {0};

    machine_create(&move.source, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    machine_resume(&move.source);
    machine_wait_step(&move.source, 100);
    for (int turn = 0; turn < 3; turn++) {
        machine_create(&move.destination, turn & 1 ? VMM_TRACKER_KVM_LOG : VMM_TRACKER_KVM_RING, VMM_BACKING_ANONYMOUS,
                       NULL);
        set_options(&move, false);
        start_destination(&move);
        check_moved(&move, run_source(&move));
        machine_destroy(&move.source);
        move.source = move.destination;
        move.source.vmm->config.end_opaque = &move.source;
    }
    machine_destroy(&move.source);
}

/* Found out before anything is sent. */
Test(vmm_migration, missing_cpu_feature_is_refused_and_the_guest_goes_on, .timeout = 60)
{
    struct move move = {0};
    struct cpuid *cpuid;

    machine_create(&move.source, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    machine_create(&move.destination, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, NULL);
    cpuid = &move.source.vmm->cpuid;
    for (uint32_t i = 0; i < cpuid->nent; i++)
        if (cpuid->entries[i].function == 7 && cpuid->entries[i].index == 0)
            cpuid->entries[i].ebx |= 1u << 16 | 1u << 26; /* AVX-512 F and PF, which no CPU here has both of */
    set_options(&move, false);
    machine_resume(&move.source);
    machine_wait_step(&move.source, 100);
    start_destination(&move);
    cr_assert_eq(run_source(&move), -ENOTSUP);
    cr_assert_eq(move.source_result.outcome, TERN_OUTCOME_FAILED);
    cr_assert(strstr(move.source_error.message, "CPUID 0x7.0 ebx"), "%s", move.source_error.message);
    cr_assert_eq(move.source_result.pages_sent, 0);
    cr_assert(vmm_runs(move.source.vmm));
    cr_assert(!vmm_runs(move.destination.vmm));
    machine_wait_step(&move.source, machine_step(&move.source) + 200);
    machine_check(&move.source);
    machine_destroy(&move.source);
    machine_destroy(&move.destination);
}

Test(vmm_migration, other_layout_is_refused_before_anything_moves, .timeout = 60)
{
    struct vmm_config config = {.memory_bytes = 64 * MIB, .low_bytes = 16 * MIB, .serial_fd = -1};
    struct move move = {0};
    struct tern_error error = {0};

    machine_create(&move.source, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    cr_assert_eq(vmm_create(&config, &move.destination.vmm, &error), 0, "%s", error.message);
    set_options(&move, false);
    machine_resume(&move.source);
    start_destination(&move);
    cr_assert_neq(run_source(&move), 0);
    cr_assert(strstr(move.source_error.message, "ram-low"), "%s", move.source_error.message);
    cr_assert_eq(move.source_result.pages_sent, 0);
    cr_assert(vmm_runs(move.source.vmm));
    machine_destroy(&move.source);
    vmm_destroy(move.destination.vmm);
}
