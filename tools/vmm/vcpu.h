/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU and the thread that runs it. Knows KVM_RUN, stopping, going on and slowing down; what an exit means is its
 * owner's business. */
#ifndef TOOLS_VMM_VCPU_H
#define TOOLS_VMM_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "transport/tern_error.h"

/* on_exit   handle the exit in run; 0: go on, 1: the guest has ended, -errno: it is broken and *error says how
 * on_end    the guest has ended (failure NULL) or broke; the vCPU runs no more
 * Both are called from the vCPU's thread. */
struct vcpu_ops {
    int (*on_exit)(void *owner, struct kvm_run *run, struct tern_error *error);
    void (*on_end)(void *owner, const struct tern_error *failure);
};

struct vcpu {
    int fd;
    struct kvm_run *run; /* mapped, run_bytes long */
    size_t run_bytes;
    const struct vcpu_ops *ops;
    void *owner;
    pthread_t thread;
    bool has_thread;
    timer_t timer; /* ends the slice of time that a throttled guest has */
    bool has_timer;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    bool want_run;
    bool running;       /* the thread is in the guest, or handles an exit */
    uint32_t n_pausing; /* who waits until it is not running */
    bool ended;
    bool ending; /* the thread is to go */
    struct tern_error failure;
    uint32_t throttle_percent;
    uint64_t slice_began_ns;
};

/* vcpu_create: the vCPU, stopped. vcpu is the caller's, zeroed; on failure vcpu_destroy is still owed. */
int vcpu_create(struct vcpu *vcpu, int kvm_fd, int vm_fd, const struct vcpu_ops *ops, void *owner,
                struct tern_error *error);
void vcpu_destroy(struct vcpu *vcpu);

/* On return the thread stands still and KVM holds no half-done I/O. errors -EIO the guest is broken;
 * -ESRCH it has ended */
int vcpu_pause(struct vcpu *vcpu, struct tern_error *error);
int vcpu_resume(struct vcpu *vcpu, struct tern_error *error);
bool vcpu_runs(struct vcpu *vcpu);
/* Leave the guest (100 - percent) % of the time, 0..99. */
void vcpu_throttle(struct vcpu *vcpu, uint32_t percent);

/* From on_exit: wait until this time (CLOCK_MONOTONIC), or until the vCPU is to stop. */
void vcpu_wait_until(struct vcpu *vcpu, uint64_t until_ns);

#endif
