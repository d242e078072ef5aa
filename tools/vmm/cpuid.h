/* SPDX-License-Identifier: BSD-2-Clause */
/* The CPU that a guest sees. The table that KVM was given is kept here: what KVM_GET_CPUID2 gives back is not always
 * it. */
#ifndef TOOLS_VMM_CPUID_H
#define TOOLS_VMM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/tern_error.h"

#define CPUID_MAX 256u

/* As KVM's struct kvm_cpuid2, of fixed length. */
struct cpuid {
    uint32_t nent, padding;
    struct kvm_cpuid_entry2 entries[CPUID_MAX];
};

/* cpuid_host: all that this host's KVM can give a guest with one CPU. */
int cpuid_host(int kvm_fd, struct cpuid *cpuid, struct tern_error *error);
int cpuid_give(int vcpu_fd, struct cpuid *cpuid, struct tern_error *error);

/* cpuid_lacks: does the host lack a feature that the guest has seen? Then the leaf, the register (0..3: eax..edx) and
 * the bits. Pure. */
bool cpuid_lacks(const struct cpuid *host, const struct cpuid *guest, uint32_t *function, uint32_t *index,
                 unsigned *reg, uint32_t *bits);

#endif
