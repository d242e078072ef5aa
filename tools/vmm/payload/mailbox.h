/* SPDX-License-Identifier: BSD-2-Clause */
/* Where things lie in the payload guest's memory, and the page through which it and the host speak. */
#ifndef TOOLS_VMM_PAYLOAD_MAILBOX_H
#define TOOLS_VMM_PAYLOAD_MAILBOX_H

#include "tools/vmm/payload/chain.h"

#define PAYLOAD_STACK_PAGE    0x8000u /* its top is at the end of this page */
#define PAYLOAD_MAILBOX       0x9000u
#define PAYLOAD_CODE          0x10000u
#define PAYLOAD_CODE_MAX      0x10000u
#define PAYLOAD_HEARTBEAT     0x7e0u /* out to this port: a batch is done, the mailbox is true */
#define PAYLOAD_MAILBOX_MAGIC 0x646170206e726574ull

enum payload_alarm {
    ALARM_NONE = 0,
    ALARM_SUM = 1,    /* a sweep over the working set does not give the sum */
    ALARM_SSE = 2,    /* XMM registers lost */
    ALARM_FPU = 3,    /* x87 stack or control word lost */
    ALARM_MSR = 4,    /* KERNEL_GS_BASE lost */
    ALARM_SEGMENT = 5 /* FS base lost */
};

/* Data pages are numbered through the low segment, then the high one. */
struct payload_mailbox {
    uint64_t magic;
    /* written by the host before the first instruction */
    uint64_t seed;
    uint64_t low_address, low_pages; /* data pages below 4 GiB */
    uint64_t high_address, high_pages;
    uint64_t filled_pages, working_pages;
    uint64_t batch_steps; /* steps to a heartbeat */
    uint64_t dirty_pages_ps;
    uint64_t pattern; /* enum payload_pattern */
    /* written by the guest at each heartbeat */
    uint64_t step, chain, sum;
    uint64_t sweeps; /* of the whole working set, none of which found a difference */
    uint64_t alarm;  /* enum payload_alarm: the first damage that it found in itself */
};

static inline uint64_t payload_address(const struct payload_mailbox *box, uint64_t page)
{
    return page < box->low_pages ? box->low_address + page * PAYLOAD_PAGE_BYTES
                                 : box->high_address + (page - box->low_pages) * PAYLOAD_PAGE_BYTES;
}

#endif
