/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to the device state: the kinds of blocks, and how each gets out of KVM and in again. */
#ifndef TOOLS_VMM_STATE_BLOCKS_H
#define TOOLS_VMM_STATE_BLOCKS_H

#include "tools/vmm/state.h"

/* The order is that of loading: CPUID decides what the rest may hold, the LAPIC takes an APIC base from sregs, the TSC
 * deadline among the MSRs needs the LAPIC's timer mode, pending events come last. */
enum state_block {
    BLOCK_CPUID,
    BLOCK_TSC_KHZ,
    BLOCK_PIC_MASTER,
    BLOCK_PIC_SLAVE,
    BLOCK_IOAPIC,
    BLOCK_PIT,
    BLOCK_MP_STATE,
    BLOCK_REGS,
    BLOCK_SREGS,
    BLOCK_XCRS,
    BLOCK_XSAVE,
    BLOCK_DEBUGREGS,
    BLOCK_LAPIC,
    BLOCK_MSRS,
    BLOCK_EVENTS,
    BLOCK_CLOCK,
    BLOCK_UART,
    STATE_BLOCKS,
};

/* name    for messages
 * save    write into bytes, at most capacity; returns the length or -errno
 * fits    is this a block that load can take? Touches nothing
 * load    give it to KVM */
struct block_ops {
    const char *name;
    long (*save)(const struct state_machine *machine, enum state_block kind, void *bytes, size_t capacity_bytes,
                 struct tern_error *error);
    int (*fits)(const struct state_machine *machine, enum state_block kind, const void *bytes, size_t length_bytes,
                struct tern_error *error);
    int (*load)(const struct state_machine *machine, enum state_block kind, const void *bytes, size_t length_bytes,
                struct tern_error *error);
};

extern const struct block_ops state_plain;   /* one ioctl each way, a struct of fixed size */
extern const struct block_ops state_cpuid;   /* of variable length, and checked against this host */
extern const struct block_ops state_msrs;    /* likewise */
extern const struct block_ops state_tsc_khz; /* KVM takes it as a number */
extern const struct block_ops state_uart;

const char *state_block_name(enum state_block kind);

#endif
