/* SPDX-License-Identifier: BSD-2-Clause */
/* Machines for the tests, with a payload guest. All assert. */
#ifndef TESTS_KVM_MACHINE_H
#define TESTS_KVM_MACHINE_H

#include <stdatomic.h>

#include "tools/vmm/machine.h"

#define MIB (1ull << 20)

struct machine {
    struct vmm *vmm;
    atomic_bool ended;
    struct tern_error failure; /* of the guest, once ended */
};

/* A machine of 64 MiB, half of it above 4 GiB; with a payload (may be NULL) that is not running yet. */
void machine_create(struct machine *machine, enum vmm_tracker tracker, enum vmm_backing backing,
                    const struct vmm_payload *payload);
void machine_destroy(struct machine *machine);

/* 16 MiB filled, 8 MiB working set, 4000 pages a second, across both regions. */
extern const struct vmm_payload machine_payload;

void machine_resume(struct machine *machine);
void machine_pause(struct machine *machine);
uint64_t machine_step(struct machine *machine);
/* Wait until the guest has come to this step; 20 s at most. */
void machine_wait_step(struct machine *machine, uint64_t step);
void machine_wait_ended(struct machine *machine);
/* Its memory and chain are as they must be. */
void machine_check(struct machine *machine);

#endif
