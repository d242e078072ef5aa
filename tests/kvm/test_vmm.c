/* SPDX-License-Identifier: BSD-2-Clause */
/* One machine: its guest runs, stops, slows down and checks itself; its state survives a round trip and refuses damage.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/kvm/machine.h"
#include "tools/vmm/payload_loader.h"
#include "tools/vmm/state.h"

#define STATE_BYTES 65536u

/* A machine whose guest is under way. */
static void run(struct machine *machine)
{
    machine_create(machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    machine_resume(machine);
    machine_wait_step(machine, 100);
}

Test(vmm, payload_runs_and_its_memory_is_as_it_must_be, .timeout = 60)
{
    struct machine machine;
    struct vmm_status status;

    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    machine_resume(&machine);
    machine_wait_step(&machine, 12000); /* more than a sweep */
    machine_check(&machine);
    vmm_status(machine.vmm, &status);
    cr_assert(status.is_payload);
    cr_assert_geq(status.sweeps, 1);
    machine_destroy(&machine);
}

/* Of a guest whose image is damaged, or is still read: whoever serves the status would end, or wait. */
Test(vmm, status_does_not_touch_guest_memory, .timeout = 60)
{
    struct machine machine;
    struct vmm_status status;

    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    machine_resume(&machine);
    machine_wait_step(&machine, 200);
    machine_pause(&machine);
    cr_assert_eq(mprotect(vmm_at(machine.vmm, 0, 0), 2 * MIB, PROT_NONE), 0);
    vmm_status(machine.vmm, &status);
    cr_assert(status.is_payload);
    cr_assert_geq(status.step, 200);
    machine_destroy(&machine);
}

Test(vmm, every_pattern_stays_whole, .timeout = 60)
{
    for (int pattern = PAYLOAD_UNIFORM; pattern <= PAYLOAD_HOT_COLD; pattern++) {
        struct vmm_payload payload = machine_payload;
        struct machine machine;

        payload.pattern = (enum payload_pattern)pattern;
        machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_MEMFD, &payload);
        machine_resume(&machine);
        machine_wait_step(&machine, 1000);
        machine_check(&machine);
        machine_destroy(&machine);
    }
}

Test(vmm, paused_guest_stands_still, .timeout = 60)
{
    struct machine machine;
    uint8_t *before = malloc(32 * MIB);
    struct kvm_regs then, now;

    run(&machine);
    machine_pause(&machine);
    cr_assert(!vmm_runs(machine.vmm));
    memcpy(before, vmm_at(machine.vmm, 0, 0), 32 * MIB);
    cr_assert_eq(ioctl(machine.vmm->vcpu.fd, KVM_GET_REGS, &then), 0);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    cr_assert_eq(ioctl(machine.vmm->vcpu.fd, KVM_GET_REGS, &now), 0);
    cr_assert_eq(memcmp(&then, &now, sizeof(then)), 0);
    cr_assert_eq(memcmp(before, vmm_at(machine.vmm, 0, 0), 32 * MIB), 0);
    machine_resume(&machine);
    machine_wait_step(&machine, machine_step(&machine) + 100);
    machine_check(&machine);
    free(before);
    machine_destroy(&machine);
}

Test(vmm, pausing_anywhere_loses_nothing, .timeout = 60)
{
    struct machine machine;

    run(&machine);
    for (int i = 0; i < 200; i++) {
        machine_pause(&machine);
        machine_resume(&machine);
    }
    machine_wait_step(&machine, machine_step(&machine) + 100);
    machine_check(&machine);
    machine_destroy(&machine);
}

Test(vmm, throttled_guest_goes_on, .timeout = 60)
{
    struct machine machine;
    const struct tern_vm *vm;

    run(&machine);
    vm = vmm_describe(machine.vmm);
    for (uint32_t percent = 20; percent < 100; percent += 79) { /* 20, 99 */
        cr_assert_eq(vm->throttle(vm->opaque, percent, NULL), 0);
        machine_wait_step(&machine, machine_step(&machine) + 20);
    }
    machine_pause(&machine);
    machine_resume(&machine);
    cr_assert_eq(vm->throttle(vm->opaque, 0, NULL), 0);
    machine_wait_step(&machine, machine_step(&machine) + 500);
    machine_check(&machine);
    machine_destroy(&machine);
}

static void expect_damage(struct machine *machine, const char *what)
{
    struct tern_error error = {0};
    struct vmm_verdict verdict;

    cr_assert_eq(vmm_verify(machine->vmm, &verdict, &error), -EILSEQ, "%s", what);
    cr_assert(strstr(error.message, what), "%s", error.message);
}

Test(vmm, verify_names_the_damage, .timeout = 60)
{
    struct machine machine;
    uint64_t *filled;
    uint8_t *empty, *unused;

    run(&machine);
    filled = (uint64_t *)vmm_at(machine.vmm, 0, 20 * MIB + 2048);
    empty = vmm_at(machine.vmm, 1, 30 * MIB + 17);
    unused = vmm_at(machine.vmm, 0, 0xf000);
    *filled ^= 1;
    expect_damage(&machine, "0x1400800 (the page's content)");
    *filled ^= 1;
    *empty = 1;
    expect_damage(&machine, "0x101e00010 (the page's content)");
    *empty = 0;
    *unused = 1;
    expect_damage(&machine, "0xf000 (unused memory)");
    *unused = 0;
    machine_check(&machine);
    machine_destroy(&machine);
}

/* The older copy of a page is whole in itself; the guest's own sweep finds it, and so does verify. */
Test(vmm, page_that_fell_back_is_found, .timeout = 60)
{
    struct machine machine;
    struct vmm_payload payload = machine_payload;
    uint64_t *words;
    uint64_t old[2];

    payload.working_set_bytes = 4 * MIB;
    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &payload);
    machine_resume(&machine);
    machine_wait_step(&machine, 20000); /* every page was written more than once, or nearly */
    machine_pause(&machine);
    words = memory_at(&machine.vmm->memory,
                      payload_address((const struct payload_mailbox *)payload_mailbox(&machine.vmm->memory), 5), 16);
    memcpy(old, words, sizeof(old));
    memset(words, 0, sizeof(old)); /* as it was when nothing had been written */
    cr_assert_neq(old[1], 0);
    machine_resume(&machine);
    machine_wait_ended(&machine);
    cr_assert(strstr(machine.failure.message, "a page of its working set is lost"), "%s", machine.failure.message);
    cr_assert_neq(vmm_pause(machine.vmm, NULL), 0, "a broken guest cannot be migrated");
    machine_destroy(&machine);
}

/* Between two batches nothing is kept in registers: try until one is hit in its middle. */
Test(vmm, lost_registers_are_found, .timeout = 60)
{
    struct vmm_payload payload = machine_payload;
    struct machine machine;
    struct kvm_fpu fpu;

    payload.dirty_pages_ps = 0;
    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &payload);
    machine_resume(&machine);
    for (int i = 0; i < 100 && !machine.ended; i++) {
        if (vmm_pause(machine.vmm, NULL))
            break;
        cr_assert_eq(ioctl(machine.vmm->vcpu.fd, KVM_GET_FPU, &fpu), 0);
        fpu.xmm[7][3] ^= 1;
        cr_assert_eq(ioctl(machine.vmm->vcpu.fd, KVM_SET_FPU, &fpu), 0);
        vmm_resume(machine.vmm, NULL);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    machine_wait_ended(&machine);
    cr_assert(strstr(machine.failure.message, "XMM registers"), "%s", machine.failure.message);
    machine_destroy(&machine);
}

static size_t save(struct machine *machine, uint8_t *state, size_t capacity_bytes)
{
    const struct tern_vm *vm = vmm_describe(machine->vmm);
    struct tern_error error = {0};
    size_t length_bytes = 0;

    cr_assert_eq(vm->save_state(vm->opaque, state, capacity_bytes, &length_bytes, &error), 0, "%s", error.message);
    return length_bytes;
}

static int load(struct machine *machine, const uint8_t *state, size_t length_bytes, struct tern_error *error)
{
    const struct tern_vm *vm = vmm_describe(machine->vmm);

    return vm->load_state(vm->opaque, state, length_bytes, error);
}

/* Registers, system registers, XSAVE, debug registers and LAPIC: the bytes that went in come out. */
Test(vmm, state_survives_a_round_trip, .timeout = 60)
{
    struct machine machine;
    struct machine other;
    struct kvm_xsave xsave, other_xsave;
    struct kvm_regs regs, other_regs;
    struct kvm_sregs sregs, other_sregs;
    struct kvm_debugregs debug = {.db = {0x1000, 0x2000, 0x3000, 0x4000}}, other_debug;
    uint8_t *state = aligned_alloc(64, STATE_BYTES);
    struct tern_error error = {0};
    size_t length_bytes;

    run(&machine);
    machine_pause(&machine);
    cr_assert_eq(ioctl(machine.vmm->vcpu.fd, KVM_SET_DEBUGREGS, &debug), 0);
    length_bytes = save(&machine, state, STATE_BYTES);
    machine_create(&other, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, NULL);
    cr_assert_eq(load(&other, state, length_bytes, &error), 0, "%s", error.message);

    cr_assert_eq(ioctl(machine.vmm->vcpu.fd, KVM_GET_REGS, &regs), 0);
    cr_assert_eq(ioctl(other.vmm->vcpu.fd, KVM_GET_REGS, &other_regs), 0);
    cr_assert_eq(memcmp(&regs, &other_regs, sizeof(regs)), 0);
    cr_assert_eq(ioctl(machine.vmm->vcpu.fd, KVM_GET_SREGS, &sregs), 0);
    cr_assert_eq(ioctl(other.vmm->vcpu.fd, KVM_GET_SREGS, &other_sregs), 0);
    cr_assert_eq(memcmp(&sregs, &other_sregs, sizeof(sregs)), 0);
    cr_assert_eq(ioctl(machine.vmm->vcpu.fd, KVM_GET_XSAVE, &xsave), 0);
    cr_assert_eq(ioctl(other.vmm->vcpu.fd, KVM_GET_XSAVE, &other_xsave), 0);
    cr_assert_eq(memcmp(&xsave.region[40], &other_xsave.region[40], 256), 0, "XMM registers differ");
    cr_assert_eq(ioctl(other.vmm->vcpu.fd, KVM_GET_DEBUGREGS, &other_debug), 0);
    cr_assert_eq(memcmp(debug.db, other_debug.db, sizeof(debug.db)), 0);
    free(state);
    machine_destroy(&other);
    machine_destroy(&machine);
}

Test(vmm, state_that_does_not_fit_says_so, .timeout = 60)
{
    struct machine machine;
    const struct tern_vm *vm;
    uint8_t *state = aligned_alloc(64, STATE_BYTES);
    size_t whole, length_bytes;

    run(&machine);
    vm = vmm_describe(machine.vmm);
    machine_pause(&machine);
    whole = save(&machine, state, STATE_BYTES);
    for (size_t capacity = 64; capacity < whole; capacity += 997)
        cr_assert_eq(vm->save_state(vm->opaque, state, capacity, &length_bytes, NULL), -ENOSPC, "%zu", capacity);
    free(state);
    machine_destroy(&machine);
}

Test(vmm, damaged_state_is_refused, .timeout = 60)
{
    struct machine machine;
    struct machine other;
    uint8_t *state = aligned_alloc(64, STATE_BYTES);
    struct kvm_regs before, after;
    struct tern_error error = {0};
    size_t length_bytes;

    run(&machine);
    machine_pause(&machine);
    length_bytes = save(&machine, state, STATE_BYTES);
    machine_create(&other, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, NULL);
    cr_assert_eq(ioctl(other.vmm->vcpu.fd, KVM_GET_REGS, &before), 0);
    for (size_t cut = 0; cut < length_bytes; cut += 501)
        cr_assert_eq(load(&other, state, cut, &error), -EINVAL);
    for (size_t at = 0; at < length_bytes; at += 211) {
        state[at] ^= 0x10;
        cr_assert_eq(load(&other, state, length_bytes, &error), -EINVAL, "byte %zu", at);
        state[at] ^= 0x10;
    }
    state[8] = 9; /* version */
    cr_assert_eq(load(&other, state, length_bytes, &error), -EINVAL);
    cr_assert(strstr(error.message, "version 9"), "%s", error.message);
    cr_assert_eq(ioctl(other.vmm->vcpu.fd, KVM_GET_REGS, &after), 0);
    cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0, "a refused state touched the machine");
    free(state);
    machine_destroy(&other);
    machine_destroy(&machine);
}

Test(vmm, what_does_not_fit_is_refused, .timeout = 60)
{
    struct vmm_config config = {.memory_bytes = 64 * MIB + 1, .serial_fd = -1};
    struct machine machine;
    struct vmm_payload payload = machine_payload;
    struct vmm_linux no_kernel = {.kernel = "/proc/self/exe"}, missing = {.kernel = "/nowhere/vmlinuz"};
    struct tern_error error = {0};
    struct vmm *vmm;

    cr_assert_eq(vmm_create(&config, &vmm, &error), -EINVAL);
    config.memory_bytes = 64 * MIB;
    config.low_bytes = 65 * MIB;
    cr_assert_eq(vmm_create(&config, &vmm, &error), -EINVAL);
    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, NULL);
    payload.filled_bytes = 65 * MIB;
    cr_assert_eq(vmm_load_payload(machine.vmm, &payload, &error), -EINVAL);
    cr_assert(strstr(error.message, "65 MiB"), "%s", error.message);
    cr_assert_eq(vmm_load_linux(machine.vmm, &no_kernel, &error), -EINVAL);
    cr_assert_eq(vmm_load_linux(machine.vmm, &missing, &error), -ENOENT);
    machine_destroy(&machine);
}
