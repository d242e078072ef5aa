/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to the VMM: the parts of a machine. */
#ifndef TOOLS_VMM_MACHINE_H
#define TOOLS_VMM_MACHINE_H

#include <stdatomic.h>

#include "tools/vmm/cpuid.h"
#include "tools/vmm/memory.h"
#include "tools/vmm/uart.h"
#include "tools/vmm/vcpu.h"
#include "tools/vmm/vmm.h"

struct payload_mailbox;

/* What the payload's heartbeats are used for: to pace it, to report it, and to hold it still where its mailbox is true.
 */
struct heartbeat {
    _Atomic uint64_t count, step, sweeps;
    uint64_t due_ns; /* vCPU's thread only */

    pthread_mutex_t lock; /* guards hold and held */
    pthread_cond_t changed;
    bool hold, held;
};

/* What the guest has sent and is not written yet. */
struct serial_out {
    uint8_t bytes[256];
    size_t length;
    bool lost;
};

struct vmm {
    struct vmm_config config;
    int kvm_fd, vm_fd;
    struct memory memory;
    struct vcpu vcpu;
    struct cpuid cpuid; /* what the guest was given */
    struct uart uart;   /* the vCPU's thread, or whoever has it paused */
    bool irq_level;
    struct serial_out serial_out; /* likewise */
    struct heartbeat heartbeat;
    atomic_bool is_payload; /* its guest, as far as is known without a look at its memory */
    _Atomic uint32_t throttle_percent;
    struct tern_tracker tracker;
    struct tern_vm description;
};

/* io.c: 0, 1: the guest has reset itself, -errno */
int io_exit(struct vmm *vmm, struct kvm_run *run, struct tern_error *error);
/* The vCPU stands still. */
void io_flush_serial(struct vmm *vmm);

/* heartbeat.c: the guest has done a batch. */
int heartbeat_take(struct vmm *vmm, struct tern_error *error);
void heartbeat_init(struct heartbeat *heartbeat);
void heartbeat_destroy(struct heartbeat *heartbeat);
/* heartbeat_hold: on 0 the guest stands at a heartbeat until heartbeat_release. */
int heartbeat_hold(struct vmm *vmm, struct tern_error *error);
void heartbeat_release(struct vmm *vmm);

/* linux_boot.c: kernel, initrd, boot parameters, registers. */
int linux_load(struct vmm *vmm, const struct vmm_linux *linux_guest, struct tern_error *error);

#endif
