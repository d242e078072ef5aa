/* SPDX-License-Identifier: BSD-2-Clause */
/* Is a page of TERN_PAGE_BYTES all zero? Leaves at the first data, which most pages show in their first cache line. */
#ifndef MIGRATE_ZERO_H
#define MIGRATE_ZERO_H

#include <stdbool.h>

/* page: 8-byte aligned, 4096 bytes. Any thread. */
bool page_is_zero(const void *page);

#endif
