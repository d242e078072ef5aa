/* SPDX-License-Identifier: BSD-2-Clause */
/* Which pages of a mapping of this process may hold data? The others were never written and read as zero; they need
 * neither be looked at (which would populate them) nor registered nor sent.
 * Correct before fast: where it cannot be told, every page counts as touched.
 */
#ifndef MIGRATE_UNTOUCHED_H
#define MIGRATE_UNTOUCHED_H

#include <stdint.h>

#include "transport/tern_error.h"

#define UNTOUCHED_UNIT_BYTES (512ull * 4096)

/* untouched_pages: OR into touched a bit for each TERN_PAGE_BYTES of [base, base + length_bytes) that may hold data.
 * base     page-aligned; one mapping or several
 * errors   none today; unreadable facts make pages count as touched
 * source   Documentation/admin-guide/mm/pagemap.rst; lseek(2) SEEK_DATA */
int untouched_pages(const void *base, uint64_t length_bytes, uint64_t *touched, struct tern_error *error);

/* untouched_units: the same for units of UNTOUCHED_UNIT_BYTES, a bit each; those that are set already are not looked
 * at, so that little is to be done where much is known. Of private memory a page that a userfaultfd write-protects
 * counts as touched. Linux 6.7; before that every unit of private memory counts as touched. */
void untouched_units(const void *base, uint64_t length_bytes, uint64_t *units);

#endif
