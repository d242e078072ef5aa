/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks that KVM gives and takes as one struct. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "tools/vmm/state_blocks.h"
#include "transport/error.h"

struct plain {
    const char *name;
    unsigned long get, set;
    size_t length_bytes;
    bool of_vm;
    uint32_t chip; /* irqchip blocks say first which they are */
};

static const struct plain plains[STATE_BLOCKS] = {
    [BLOCK_PIC_MASTER] = {"PIC", KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, sizeof(struct kvm_irqchip), true,
                          KVM_IRQCHIP_PIC_MASTER},
    [BLOCK_PIC_SLAVE] = {"second PIC", KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, sizeof(struct kvm_irqchip), true,
                         KVM_IRQCHIP_PIC_SLAVE},
    [BLOCK_IOAPIC] = {"IOAPIC", KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, sizeof(struct kvm_irqchip), true, KVM_IRQCHIP_IOAPIC},
    [BLOCK_PIT] = {"PIT", KVM_GET_PIT2, KVM_SET_PIT2, sizeof(struct kvm_pit_state2), true, 0},
    [BLOCK_MP_STATE] = {"MP state", KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state), false, 0},
    [BLOCK_REGS] = {"registers", KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs), false, 0},
    [BLOCK_SREGS] = {"system registers", KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs), false, 0},
    [BLOCK_XCRS] = {"XCRs", KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs), false, 0},
    [BLOCK_XSAVE] = {"XSAVE area", KVM_GET_XSAVE, KVM_SET_XSAVE, sizeof(struct kvm_xsave), false, 0},
    [BLOCK_DEBUGREGS] = {"debug registers", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs), false,
                         0},
    [BLOCK_LAPIC] = {"LAPIC", KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state), false, 0},
    [BLOCK_EVENTS] = {"events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events), false, 0},
    [BLOCK_CLOCK] = {"clock", KVM_GET_CLOCK, KVM_SET_CLOCK, sizeof(struct kvm_clock_data), true, 0},
};

const char *state_block_name(enum state_block kind)
{
    static const char *const others[STATE_BLOCKS] = {
        [BLOCK_CPUID] = "CPUID", [BLOCK_TSC_KHZ] = "TSC rate", [BLOCK_MSRS] = "MSRs", [BLOCK_UART] = "serial port"};

    return plains[kind].name ? plains[kind].name : others[kind];
}

static bool is_irqchip(enum state_block kind)
{
    return plains[kind].get == KVM_GET_IRQCHIP;
}

static long save(const struct state_machine *machine, enum state_block kind, void *bytes, size_t capacity_bytes,
                 struct tern_error *error)
{
    const struct plain *plain = &plains[kind];

    if (capacity_bytes < plain->length_bytes)
        return -ENOSPC;
    memset(bytes, 0, plain->length_bytes);
    if (is_irqchip(kind))
        ((struct kvm_irqchip *)bytes)->chip_id = plain->chip;
    if (ioctl(plain->of_vm ? machine->vm_fd : machine->vcpu_fd, plain->get, bytes))
        return error_set(error, -errno, NULL, "cannot get the guest's %s from KVM: %s", plain->name, strerror(errno));
    return (long)plain->length_bytes;
}

static int fits(const struct state_machine *machine, enum state_block kind, const void *bytes, size_t length_bytes,
                struct tern_error *error)
{
    const struct plain *plain = &plains[kind];

    (void)machine;
    if (length_bytes != plain->length_bytes ||
        (is_irqchip(kind) && ((const struct kvm_irqchip *)bytes)->chip_id != plain->chip))
        return error_set(error, -EINVAL, NULL, "the device state's block '%s' is not one (%zu bytes)", plain->name,
                         length_bytes);
    return 0;
}

static int load(const struct state_machine *machine, enum state_block kind, const void *bytes, size_t length_bytes,
                struct tern_error *error)
{
    const struct plain *plain = &plains[kind];
    void *copy = malloc(length_bytes);
    int r = 0;

    if (!copy)
        return error_set(error, -ENOMEM, NULL, "no memory for the device state");
    memcpy(copy, bytes, length_bytes);
    if (kind == BLOCK_CLOCK) /* the guest's clock goes on from where it stood; the rest describes the source */
        *(struct kvm_clock_data *)copy =
            (struct kvm_clock_data){.clock = ((const struct kvm_clock_data *)bytes)->clock};
    if (ioctl(plain->of_vm ? machine->vm_fd : machine->vcpu_fd, plain->set, copy))
        r = error_set(error, -errno, NULL, "KVM does not take the guest's %s: %s", plain->name, strerror(errno));
    free(copy);
    return r;
}

const struct block_ops state_plain = {NULL, save, fits, load};
