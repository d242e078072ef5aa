/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/vmm/long_mode.h"
#include "tools/vmm/machine.h"
#include "tools/vmm/payload_loader.h"
#include "tools/vmm/state.h"
#include "transport/error.h"

#define KIND         "tern-vmm 1"
#define RING_BYTES   (65536u * sizeof(struct kvm_dirty_gfn))
#define TSS_ADDRESS  0xfffbd000ull
#define STATE_MAX    (64u << 10)
#define IDENTITY_MAP 0xfffbc000ull

/* ---- what libtern calls ---- */

static int on_pause(void *opaque, struct tern_error *error)
{
    return vmm_pause(opaque, error);
}

static int on_resume(void *opaque, struct tern_error *error)
{
    return vmm_resume(opaque, error);
}

static int on_throttle(void *opaque, uint32_t percent, struct tern_error *error)
{
    struct vmm *vmm = opaque;

    (void)error;
    vmm->throttle_percent = percent;
    vcpu_throttle(&vmm->vcpu, percent);
    return 0;
}

static struct state_machine state_machine(struct vmm *vmm)
{
    return (struct state_machine){vmm->kvm_fd, vmm->vm_fd, vmm->vcpu.fd, &vmm->cpuid, &vmm->uart};
}

static int on_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    struct state_machine machine = state_machine(opaque);

    return state_save(&machine, buffer, capacity_bytes, length_bytes, error);
}

static int on_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct state_machine machine = state_machine(opaque);

    return state_load(&machine, buffer, length_bytes, error);
}

static int on_save_profile(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                           struct tern_error *error)
{
    struct state_machine machine = state_machine(opaque);

    return state_profile(&machine, buffer, capacity_bytes, length_bytes, error);
}

static int on_check_profile(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct state_machine machine = state_machine(opaque);

    return state_check(&machine, buffer, length_bytes, error);
}

const struct tern_vm *vmm_describe(struct vmm *vmm)
{
    vmm->description = (struct tern_vm){
        .struct_bytes = sizeof(vmm->description),
        .opaque = vmm,
        .kind = KIND,
        .regions = vmm->memory.regions,
        .n_regions = vmm->memory.n_regions,
        .tracker = vmm->tracker,
        .pause = on_pause,
        .resume = on_resume,
        .throttle = on_throttle,
        .save_state = on_save,
        .load_state = on_load,
        .save_profile = on_save_profile,
        .check_profile = on_check_profile,
        .state_capacity_bytes = STATE_MAX,
    };
    return &vmm->description;
}

/* ---- making a machine ---- */

static int cannot(const char *what, struct tern_error *error)
{
    return error_set(error, -errno, NULL, "%s: %s", what, strerror(errno));
}

static int open_kvm(struct vmm *vmm, struct tern_error *error)
{
    vmm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vmm->kvm_fd < 0)
        return error_set(error, -errno, "KVM must be on (modprobe kvm_intel or kvm_amd), and yours to use",
                         "cannot open /dev/kvm: %s", strerror(errno));
    vmm->vm_fd = ioctl(vmm->kvm_fd, KVM_CREATE_VM, 0);
    return vmm->vm_fd < 0 ? cannot("KVM cannot make a VM", error) : 0;
}

static int make_chips(struct vmm *vmm, struct tern_error *error)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    uint64_t identity_map = IDENTITY_MAP;

    if (ioctl(vmm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) || ioctl(vmm->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDRESS))
        return cannot("KVM_SET_TSS_ADDR", error);
    if (ioctl(vmm->vm_fd, KVM_CREATE_IRQCHIP, 0))
        return cannot("KVM cannot make an interrupt controller", error);
    return ioctl(vmm->vm_fd, KVM_CREATE_PIT2, &pit) ? cannot("KVM cannot make a timer", error) : 0;
}

/* Rings are a property of vCPUs that are still to be made. */
static int enable_rings(struct vmm *vmm, struct tern_error *error)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL, .args = {RING_BYTES}};

    if (vmm->config.tracker != VMM_TRACKER_KVM_RING)
        return 0;
    if (ioctl(vmm->kvm_fd, KVM_CHECK_EXTENSION, cap.cap) <= 0)
        cap.cap = KVM_CAP_DIRTY_LOG_RING;
    if (ioctl(vmm->vm_fd, KVM_ENABLE_CAP, &cap))
        return error_set(error, -errno, "Linux 5.11 has it; --tracker log needs nothing", "no KVM dirty ring: %s",
                         strerror(errno));
    return 0;
}

static int make_tracker(struct vmm *vmm, struct tern_error *error)
{
    const struct tern_kvm_slot slots[MEMORY_REGIONS] = {{0, 0}, {1, 1}};
    const struct memory *memory = &vmm->memory;

    switch (vmm->config.tracker) {
    case VMM_TRACKER_UFFD:
        return tern_tracker_uffd_create(memory->regions, memory->n_regions, false, &vmm->tracker, error);
    case VMM_TRACKER_KVM_RING:
        return tern_tracker_kvm_ring_create(vmm->vm_fd, &vmm->vcpu.fd, 1, RING_BYTES, slots, memory->n_regions,
                                            memory->regions, &vmm->tracker, error);
    default:
        return tern_tracker_kvm_log_create(vmm->vm_fd, slots, memory->n_regions, memory->regions, &vmm->tracker, error);
    }
}

static int on_exit_of_vcpu(void *owner, struct kvm_run *run, struct tern_error *error)
{
    return io_exit(owner, run, error);
}

static void on_end_of_vcpu(void *owner, const struct tern_error *failure)
{
    struct vmm *vmm = owner;

    if (vmm->config.on_end)
        vmm->config.on_end(vmm->config.end_opaque, failure);
}

static const struct vcpu_ops vcpu_ops = {on_exit_of_vcpu, on_end_of_vcpu};

static int build(struct vmm *vmm, struct tern_error *error)
{
    int r = open_kvm(vmm, error);

    if (!r)
        r = memory_create(&vmm->config, &vmm->memory, error);
    if (!r)
        r = memory_give(&vmm->memory, vmm->vm_fd, error);
    if (!r)
        r = make_chips(vmm, error);
    if (!r)
        r = enable_rings(vmm, error);
    if (!r)
        r = vcpu_create(&vmm->vcpu, vmm->kvm_fd, vmm->vm_fd, &vcpu_ops, vmm, error);
    if (!r)
        r = cpuid_host(vmm->kvm_fd, &vmm->cpuid, error);
    if (!r)
        r = cpuid_give(vmm->vcpu.fd, &vmm->cpuid, error);
    return r ? r : make_tracker(vmm, error);
}

int vmm_create(const struct vmm_config *config, struct vmm **out, struct tern_error *error)
{
    struct vmm *vmm = calloc(1, sizeof(*vmm));
    int r;

    if (!vmm)
        return error_set(error, -ENOMEM, NULL, "no memory for the VM");
    vmm->config = *config;
    vmm->kvm_fd = vmm->vm_fd = -1;
    heartbeat_init(&vmm->heartbeat);
    r = build(vmm, error);
    if (r)
        vmm_destroy(vmm);
    else
        *out = vmm;
    return r;
}

void vmm_destroy(struct vmm *vmm)
{
    if (!vmm)
        return;
    heartbeat_release(vmm);
    vcpu_destroy(&vmm->vcpu);
    io_flush_serial(vmm);
    tern_tracker_destroy(&vmm->tracker);
    if (vmm->vm_fd >= 0)
        close(vmm->vm_fd);
    if (vmm->kvm_fd >= 0)
        close(vmm->kvm_fd);
    memory_destroy(&vmm->memory);
    heartbeat_destroy(&vmm->heartbeat);
    free(vmm);
}

/* ---- its guest ---- */

int vmm_load_payload(struct vmm *vmm, const struct vmm_payload *payload, struct tern_error *error)
{
    int r = payload_load(&vmm->memory, payload, error);

    vmm->is_payload = !r;
    return r ? r
             : long_mode_enter(vmm->vcpu.fd, PAYLOAD_TABLES, PAYLOAD_CODE, PAYLOAD_STACK_PAGE + PAYLOAD_PAGE_BYTES, 0,
                               error);
}

int vmm_load_linux(struct vmm *vmm, const struct vmm_linux *linux_guest, struct tern_error *error)
{
    return linux_load(vmm, linux_guest, error);
}

int vmm_pause(struct vmm *vmm, struct tern_error *error)
{
    int r = vcpu_pause(&vmm->vcpu, error);

    io_flush_serial(vmm);
    return r;
}

int vmm_resume(struct vmm *vmm, struct tern_error *error)
{
    return vcpu_resume(&vmm->vcpu, error);
}

bool vmm_runs(struct vmm *vmm)
{
    return vcpu_runs(&vmm->vcpu);
}

void vmm_status(struct vmm *vmm, struct vmm_status *status)
{
    *status = (struct vmm_status){
        .is_payload = vmm->is_payload,
        .heartbeats = vmm->heartbeat.count,
        .step = vmm->heartbeat.step,
        .sweeps = vmm->heartbeat.sweeps,
    };
}

int vmm_verify(struct vmm *vmm, struct vmm_verdict *verdict, struct tern_error *error)
{
    int r;

    if (!payload_mailbox(&vmm->memory))
        return error_set(error, -EOPNOTSUPP, NULL, "cannot verify: the guest is not the built-in payload");
    if (!vmm_runs(vmm))
        return error_set(error, -EBUSY, "'tern cont' it first", "cannot verify: the guest is paused");
    r = heartbeat_hold(vmm, error);
    if (r)
        return r;
    r = payload_check(&vmm->memory, verdict, error);
    heartbeat_release(vmm);
    return r;
}

uint8_t *vmm_at(struct vmm *vmm, uint32_t region, uint64_t offset_bytes)
{
    return (uint8_t *)vmm->memory.regions[region].base + offset_bytes;
}
