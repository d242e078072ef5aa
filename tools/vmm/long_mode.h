/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU in long mode with all memory mapped one to one: where both the payload and Linux's 64-bit entry begin. */
#ifndef TOOLS_VMM_LONG_MODE_H
#define TOOLS_VMM_LONG_MODE_H

#include "tools/vmm/memory.h"

#define LONG_MODE_GDT 0x500u

/* long_mode_table_bytes: what the page tables take, 2 MiB pages up to the end of memory. */
uint64_t long_mode_table_bytes(const struct memory *memory);

/* long_mode_tables: write GDT and page tables into guest memory. tables: page-aligned guest address */
int long_mode_tables(const struct memory *memory, uint64_t tables, struct tern_error *error);

/* long_mode_enter: sregs and regs for the first instruction. rsi is what Linux calls boot_params. */
int long_mode_enter(int vcpu_fd, uint64_t tables, uint64_t rip, uint64_t rsp, uint64_t rsi, struct tern_error *error);

#endif
