/* SPDX-License-Identifier: BSD-2-Clause */
/* The device state of a machine: everything but its memory, as blocks.
 *
 * Format, version 1, little endian: a header { u64 magic, u32 version, u32 n_blocks, u64 length in all, u64 XXH3 of
 * what follows }, then blocks { u32 kind, u32 length, the bytes, zeros to a multiple of 8 }. Each kind of enum
 * state_block is there exactly once. Nothing is given to KVM before all of it has been checked. */
#ifndef TOOLS_VMM_STATE_H
#define TOOLS_VMM_STATE_H

#include <stddef.h>

#include "tools/vmm/cpuid.h"
#include "tools/vmm/uart.h"
#include "transport/tern_error.h"

#define STATE_VERSION 1u

struct state_machine {
    int kvm_fd, vm_fd, vcpu_fd;
    struct cpuid *cpuid;
    struct uart *uart;
};

/* state_save: the vCPU stands still. errors -ENOSPC, and KVM's own */
int state_save(const struct state_machine *machine, void *buffer, size_t capacity_bytes, size_t *length_bytes,
               struct tern_error *error);

/* state_profile: what state_check needs: the CPU that the guest sees. */
int state_profile(const struct state_machine *machine, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                  struct tern_error *error);
/* state_check: can this machine run such a guest? errors as state_load's for CPU features */
int state_check(const struct state_machine *machine, const void *buffer, size_t length_bytes, struct tern_error *error);

/* state_load: into a machine that has not run.
 * errors   -EINVAL damaged, another version, or a block is missing; -ENOTSUP names a CPU feature or an MSR that this
 *          host does not have */
int state_load(const struct state_machine *machine, const void *buffer, size_t length_bytes, struct tern_error *error);

#endif
