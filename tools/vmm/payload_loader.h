/* SPDX-License-Identifier: BSD-2-Clause */
/* Puts the payload into guest memory, and says later whether all of it is as it must be. */
#ifndef TOOLS_VMM_PAYLOAD_LOADER_H
#define TOOLS_VMM_PAYLOAD_LOADER_H

#include "tools/vmm/memory.h"
#include "tools/vmm/payload/mailbox.h"

#define PAYLOAD_TABLES 0x100000u

/* payload_load: image, mailbox, page tables, filled pages. errors -EINVAL the values do not fit the memory */
int payload_load(const struct memory *memory, const struct vmm_payload *payload, struct tern_error *error);

/* The mailbox, if this memory holds the payload; else NULL. It is read while the guest runs: step and the like change.
 */
const volatile struct payload_mailbox *payload_mailbox(const struct memory *memory);

/* payload_check: the guest stands at a heartbeat. Every word of memory, but the guest's stack and page tables, is
 * compared with what the mailbox's step and seed make of it. errors -EILSEQ names the place; -EOPNOTSUPP no payload */
int payload_check(const struct memory *memory, struct vmm_verdict *verdict, struct tern_error *error);

const char *payload_alarm_name(uint64_t alarm);

#endif
