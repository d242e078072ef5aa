/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks about which the two hosts may disagree: CPUID, the MSRs, the TSC's rate. And the serial port. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "tools/vmm/state_blocks.h"
#include "transport/error.h"

#define MSRS_MAX 1024u

/* ---- CPUID ---- */

static long cpuid_save(const struct state_machine *machine, enum state_block kind, void *bytes, size_t capacity_bytes,
                       struct tern_error *error)
{
    size_t length_bytes = machine->cpuid->nent * sizeof(machine->cpuid->entries[0]);

    (void)kind;
    (void)error;
    if (capacity_bytes < length_bytes)
        return -ENOSPC;
    memcpy(bytes, machine->cpuid->entries, length_bytes);
    return (long)length_bytes;
}

static bool cpuid_unpack(const void *bytes, size_t length_bytes, struct cpuid *out)
{
    size_t n = length_bytes / sizeof(out->entries[0]);

    if (!n || n > CPUID_MAX || length_bytes % sizeof(out->entries[0]))
        return false;
    *out = (struct cpuid){.nent = (uint32_t)n};
    memcpy(out->entries, bytes, length_bytes);
    return true;
}

static int cpuid_fits(const struct state_machine *machine, enum state_block kind, const void *bytes,
                      size_t length_bytes, struct tern_error *error)
{
    struct cpuid host, guest;
    uint32_t function, index, bits;
    unsigned reg;
    int r;

    (void)kind;
    if (!cpuid_unpack(bytes, length_bytes, &guest))
        return error_set(error, -EINVAL, NULL, "the device state's block 'CPUID' is not one (%zu bytes)", length_bytes);
    r = cpuid_host(machine->kvm_fd, &host, error);
    if (r || !cpuid_lacks(&host, &guest, &function, &index, &reg, &bits))
        return r;
    return error_set(error, -ENOTSUP, "run the guest with a CPU that both hosts have",
                     "this host's CPU lacks features that the guest has seen: CPUID %#x.%u e%cx bits %#x", function,
                     index, (int)('a' + reg), bits);
}

static int cpuid_load(const struct state_machine *machine, enum state_block kind, const void *bytes,
                      size_t length_bytes, struct tern_error *error)
{
    (void)kind;
    cpuid_unpack(bytes, length_bytes, machine->cpuid);
    return cpuid_give(machine->vcpu_fd, machine->cpuid, error);
}

const struct block_ops state_cpuid = {"CPUID", cpuid_save, cpuid_fits, cpuid_load};

/* ---- MSRs ---- */

/* As KVM's struct kvm_msrs, of one. */
struct one_msr {
    uint32_t nmsrs, padding;
    struct kvm_msr_entry entries[1];
};

static int msr_indices(const struct state_machine *machine, struct kvm_msr_list **out, struct tern_error *error)
{
    struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSRS_MAX * sizeof(list->indices[0]));

    if (!list)
        return error_set(error, -ENOMEM, NULL, "no memory for the list of MSRs");
    list->nmsrs = MSRS_MAX;
    if (ioctl(machine->kvm_fd, KVM_GET_MSR_INDEX_LIST, list)) {
        int code = error_set(error, -errno, NULL, "KVM_GET_MSR_INDEX_LIST: %s", strerror(errno));

        free(list);
        return code;
    }
    *out = list;
    return 0;
}

/* KVM lists MSRs that this vCPU may not have; those are left out. */
static long msrs_save(const struct state_machine *machine, enum state_block kind, void *bytes, size_t capacity_bytes,
                      struct tern_error *error)
{
    struct kvm_msr_entry *entries = bytes;
    struct kvm_msr_list *list = NULL;
    long length_bytes = 0;
    int r = msr_indices(machine, &list, error);

    (void)kind;
    if (r)
        return r;
    for (uint32_t i = 0, n = 0; i < list->nmsrs; i++) {
        struct one_msr one = {.nmsrs = 1, .entries = {{.index = list->indices[i]}}};

        if (ioctl(machine->vcpu_fd, KVM_GET_MSRS, &one) != 1)
            continue;
        if (capacity_bytes < (n + 1) * sizeof(*entries)) {
            length_bytes = -ENOSPC;
            break;
        }
        entries[n++] = one.entries[0];
        length_bytes = (long)(n * sizeof(*entries));
    }
    free(list);
    return length_bytes;
}

static int msrs_fits(const struct state_machine *machine, enum state_block kind, const void *bytes, size_t length_bytes,
                     struct tern_error *error)
{
    (void)machine;
    (void)kind;
    (void)bytes;
    if (!length_bytes || length_bytes % sizeof(struct kvm_msr_entry) ||
        length_bytes / sizeof(struct kvm_msr_entry) > MSRS_MAX)
        return error_set(error, -EINVAL, NULL, "the device state's block 'MSRs' is not one (%zu bytes)", length_bytes);
    return 0;
}

/* An MSR that cannot be written is no loss if it reads the same here, or was zero there. */
static int msrs_load(const struct state_machine *machine, enum state_block kind, const void *bytes, size_t length_bytes,
                     struct tern_error *error)
{
    const struct kvm_msr_entry *entries = bytes;

    (void)kind;
    for (size_t i = 0; i < length_bytes / sizeof(*entries); i++) {
        struct one_msr one = {.nmsrs = 1, .entries = {{.index = entries[i].index, .data = entries[i].data}}};

        if (ioctl(machine->vcpu_fd, KVM_SET_MSRS, &one) == 1 || !entries[i].data)
            continue;
        one.entries[0].data = 0;
        if (ioctl(machine->vcpu_fd, KVM_GET_MSRS, &one) != 1 || one.entries[0].data != entries[i].data)
            return error_set(error, -ENOTSUP, NULL, "this host's KVM does not take the guest's MSR %#x = %#llx",
                             entries[i].index, (unsigned long long)entries[i].data);
    }
    return 0;
}

const struct block_ops state_msrs = {"MSRs", msrs_save, msrs_fits, msrs_load};

/* ---- TSC rate ---- */

static long tsc_khz_save(const struct state_machine *machine, enum state_block kind, void *bytes, size_t capacity_bytes,
                         struct tern_error *error)
{
    int khz = ioctl(machine->vcpu_fd, KVM_GET_TSC_KHZ, 0);
    uint64_t value = khz > 0 ? (uint64_t)khz : 0;

    (void)kind;
    (void)error;
    if (capacity_bytes < sizeof(value))
        return -ENOSPC;
    memcpy(bytes, &value, sizeof(value));
    return sizeof(value);
}

static int tsc_khz_fits(const struct state_machine *machine, enum state_block kind, const void *bytes,
                        size_t length_bytes, struct tern_error *error)
{
    (void)machine;
    (void)kind;
    (void)bytes;
    return length_bytes == sizeof(uint64_t)
               ? 0
               : error_set(error, -EINVAL, NULL, "the device state's block 'TSC rate' is not one (%zu bytes)",
                           length_bytes);
}

/* Where the CPU cannot scale its TSC, a guest with kvmclock follows the other rate by itself. */
static int tsc_khz_load(const struct state_machine *machine, enum state_block kind, const void *bytes,
                        size_t length_bytes, struct tern_error *error)
{
    uint64_t khz;

    (void)kind;
    (void)length_bytes;
    (void)error;
    memcpy(&khz, bytes, sizeof(khz));
    if (khz && ioctl(machine->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0)
        ioctl(machine->vcpu_fd, KVM_SET_TSC_KHZ, khz);
    return 0;
}

const struct block_ops state_tsc_khz = {"TSC rate", tsc_khz_save, tsc_khz_fits, tsc_khz_load};

/* ---- serial port ---- */

static long uart_save(const struct state_machine *machine, enum state_block kind, void *bytes, size_t capacity_bytes,
                      struct tern_error *error)
{
    (void)kind;
    (void)error;
    if (capacity_bytes < sizeof(*machine->uart))
        return -ENOSPC;
    memcpy(bytes, machine->uart, sizeof(*machine->uart));
    return sizeof(*machine->uart);
}

static int uart_fits(const struct state_machine *machine, enum state_block kind, const void *bytes, size_t length_bytes,
                     struct tern_error *error)
{
    const struct uart *uart = bytes;

    (void)machine;
    (void)kind;
    if (length_bytes != sizeof(*uart) || uart->rx_first >= UART_RX_SIZE || uart->rx_count > UART_RX_SIZE)
        return error_set(error, -EINVAL, NULL, "the device state's block 'serial port' is not one (%zu bytes)",
                         length_bytes);
    return 0;
}

static int uart_load(const struct state_machine *machine, enum state_block kind, const void *bytes, size_t length_bytes,
                     struct tern_error *error)
{
    (void)kind;
    (void)error;
    memcpy(machine->uart, bytes, length_bytes);
    return 0;
}

const struct block_ops state_uart = {"serial port", uart_save, uart_fits, uart_load};
