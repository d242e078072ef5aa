/* SPDX-License-Identifier: BSD-2-Clause */
/* PAGEMAP_SCAN over memory that a userfaultfd write-protects asynchronously, of this process or of another. */
#ifndef MIGRATE_DIRTY_UFFD_SCAN_H
#define MIGRATE_DIRTY_UFFD_SCAN_H

#include <stdint.h>

#include "transport/tern_error.h"

#define UFFD_SCAN_REGIONS 1024u

/* uffd_scan: fetch the pages written since they were protected, and protect them again, in one step each.
 * pagemap  /proc/PID/pagemap, opened for reading. base: address in that process
 * bitmap   bit i is page i of [base, base + length_bytes); bits are added. NULL: protect only
 * name     of the memory, for messages */
int uffd_scan(int pagemap, uint64_t base, uint64_t length_bytes, const char *name, uint64_t *bitmap,
              struct tern_error *error);

#endif
