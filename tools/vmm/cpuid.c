/* SPDX-License-Identifier: BSD-2-Clause */
/* source: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E; Linux Documentation/virt/kvm/x86/cpuid.rst */
#include "tools/vmm/cpuid.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "transport/error.h"

#define FEATURE_HYPERVISOR (1u << 31) /* CPUID.1:ECX */

int cpuid_host(int kvm_fd, struct cpuid *cpuid, struct tern_error *error)
{
    *cpuid = (struct cpuid){.nent = CPUID_MAX};
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid))
        return error_set(error, -errno, NULL, "KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

        if (entry->function == 1) { /* APIC id 0, one CPU */
            entry->ebx = (entry->ebx & 0xff00) | 1u << 16;
            entry->ecx |= FEATURE_HYPERVISOR;
        } else if (entry->function == 0xb || entry->function == 0x1f) {
            entry->edx = 0;
        }
    }
    return 0;
}

int cpuid_give(int vcpu_fd, struct cpuid *cpuid, struct tern_error *error)
{
    if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid))
        return error_set(error, -errno, NULL, "KVM does not take the guest's CPUID: %s", strerror(errno));
    return 0;
}

/* Leaves and registers that are sets of features. */
static const struct feature_leaf {
    uint32_t function, index;
    bool regs[4];
} feature_leaves[] = {
    {0x1, 0, {false, false, true, true}},         {0x7, 0, {false, true, true, true}},
    {0x7, 1, {true, false, false, true}},         {0xd, 1, {true, false, false, false}},
    {0x80000001, 0, {false, false, true, true}},  {0x80000008, 0, {false, true, false, false}},
    {0x40000001, 0, {true, false, false, false}},
};

static const struct kvm_cpuid_entry2 *find(const struct cpuid *cpuid, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < cpuid->nent; i++)
        if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
            return &cpuid->entries[i];
    return NULL;
}

bool cpuid_lacks(const struct cpuid *host, const struct cpuid *guest, uint32_t *function, uint32_t *index,
                 unsigned *reg, uint32_t *bits)
{
    static const struct kvm_cpuid_entry2 none;

    for (size_t i = 0; i < sizeof(feature_leaves) / sizeof(feature_leaves[0]); i++) {
        const struct feature_leaf *leaf = &feature_leaves[i];
        const struct kvm_cpuid_entry2 *seen = find(guest, leaf->function, leaf->index);
        const struct kvm_cpuid_entry2 *has = find(host, leaf->function, leaf->index);
        const uint32_t *want = seen ? &seen->eax : &none.eax, *have = has ? &has->eax : &none.eax;

        for (unsigned r = 0; r < 4; r++) {
            if (!leaf->regs[r] || !(want[r] & ~have[r]))
                continue;
            *function = leaf->function;
            *index = leaf->index;
            *reg = r;
            *bits = want[r] & ~have[r];
            return true;
        }
    }
    return false;
}
