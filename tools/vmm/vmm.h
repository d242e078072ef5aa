/* SPDX-License-Identifier: BSD-2-Clause */
/* The reference VMM: one vCPU under KVM, memory in one or two regions, a serial port, and either the built-in payload
 * guest or Linux. It is an embedder of libtern like any other: vmm_describe is where it says what it is.
 *
 * Invariant: once the guest has run, the VMM itself never writes guest memory, so that what the vCPU's dirty tracking
 * sees is all there is to see. */
#ifndef TOOLS_VMM_VMM_H
#define TOOLS_VMM_VMM_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/tern.h"
#include "tools/vmm/payload/chain.h"

enum vmm_backing {
    VMM_BACKING_ANONYMOUS, /* transparent huge pages advised */
    VMM_BACKING_MEMFD,
    VMM_BACKING_HUGE_2M,
    VMM_BACKING_HUGE_1G,
};

enum vmm_tracker {
    VMM_TRACKER_KVM_LOG,
    VMM_TRACKER_KVM_RING,
    VMM_TRACKER_UFFD,
};

/* memory_bytes   guest memory, in whole pages of the backing
 * low_bytes      of it below 4 GiB; 0: up to 3 GiB
 * serial_fd      what the guest writes to its serial port goes here; -1: nowhere. Borrowed
 * on_end         the guest has ended by itself (failure NULL) or broke; called once at most, from the vCPU's thread */
struct vmm_config {
    uint64_t memory_bytes;
    uint64_t low_bytes;
    enum vmm_backing backing;
    enum vmm_tracker tracker;
    int serial_fd;
    void (*on_end)(void *opaque, const struct tern_error *failure);
    void *end_opaque;
};

struct vmm_payload {
    uint64_t filled_bytes;
    uint64_t working_set_bytes;
    uint64_t dirty_pages_ps; /* 0: as fast as it goes */
    enum payload_pattern pattern;
    uint64_t seed;
};

struct vmm_linux {
    const char *kernel; /* bzImage */
    const char *initrd; /* may be NULL */
    const char *append; /* command line; may be NULL */
};

struct vmm_status {
    bool is_payload;     /* of one that came here: from its first heartbeat on */
    uint64_t heartbeats; /* since this process has the guest */
    uint64_t step;       /* of the payload, in all */
    uint64_t sweeps;     /* complete checks by the payload of its own working set */
};

struct vmm_verdict {
    uint64_t pages; /* checked, all words of each */
    uint64_t step;
    uint64_t sweeps;
};

struct vmm;

/* vmm_create: a machine without a guest, its vCPU stopped: what a destination needs.
 * errors   -ENOENT no /dev/kvm; -EINVAL names the value that is wrong; -ENOMEM says which memory */
int vmm_create(const struct vmm_config *config, struct vmm **out, struct tern_error *error);
/* Put a guest in, before the first resume. */
int vmm_load_payload(struct vmm *vmm, const struct vmm_payload *payload, struct tern_error *error);
int vmm_load_linux(struct vmm *vmm, const struct vmm_linux *linux_guest, struct tern_error *error);
/* Takes NULL and half-built machines; stops the vCPU first. */
void vmm_destroy(struct vmm *vmm);

/* What libtern needs; valid until destroy. */
const struct tern_vm *vmm_describe(struct vmm *vmm);

/* pause: on return the vCPU stands still and its state is complete. resume: let it go on.
 * errors   pause: -EIO the guest is broken; -ESRCH it has ended
 * thread   one at a time; vmm_runs and vmm_status any thread */
int vmm_pause(struct vmm *vmm, struct tern_error *error);
int vmm_resume(struct vmm *vmm, struct tern_error *error);
bool vmm_runs(struct vmm *vmm);
/* Does not touch guest memory, which may be missing. */
void vmm_status(struct vmm *vmm, struct vmm_status *status);

/* vmm_verify: hold the running payload guest at a heartbeat and compare its whole memory and its registers' chain with
 * what they must be. errors -EILSEQ names page and word; -EOPNOTSUPP it is no payload; -EBUSY it does not run;
 * -ETIMEDOUT no heartbeat within 10 s */
int vmm_verify(struct vmm *vmm, struct vmm_verdict *verdict, struct tern_error *error);

/* For tests: the byte of guest memory at this offset of region `region`. */
uint8_t *vmm_at(struct vmm *vmm, uint32_t region, uint64_t offset_bytes);

#endif
