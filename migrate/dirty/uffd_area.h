/* SPDX-License-Identifier: BSD-2-Clause */
/* A range of memory, of this process or of another, that a userfaultfd write-protects asynchronously. Only units (2
 * MiB) that ever held data are protected and scanned: the others have no page tables, and need none. Once protected, a
 * unit stays so: a page of it that is given back shows as written.
 *
 * Invariant: a page that is written for the first time in a unit without protection has data from then on, so the next
 * fetch finds its unit; it protects the unit first and then looks which of its pages have data.
 * source: Documentation/admin-guide/mm/pagemap.rst (PAGEMAP_SCAN) */
#ifndef MIGRATE_DIRTY_UFFD_AREA_H
#define MIGRATE_DIRTY_UFFD_AREA_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/tern_error.h"

struct uffd_area {
    const void *local; /* the memory mapped here, to be asked where it has data */
    uint64_t address;  /* where the tracked process has it mapped */
    uint64_t length_bytes;
    const char *name;    /* for messages; borrowed */
    uint64_t *protected; /* a bit a unit; owned */
    uint64_t *found;     /* the same, for one fetch; owned */
};

/* uffd_area_init: huge  of huge pages, which are protected whole from the start. errors -ENOMEM */
int uffd_area_init(struct uffd_area *area, const void *local, uint64_t address, uint64_t length_bytes, bool huge,
                   const char *name, struct tern_error *error);
/* Takes a zeroed one. */
void uffd_area_free(struct uffd_area *area);

/* uffd_area_fetch: add the pages written since the last call to bitmap (bit i is page i of the area), and protect them
 * again, in one step each.
 * pagemap  /proc/PID/pagemap of the tracked process, opened for reading
 * bitmap   NULL: protect only */
int uffd_area_fetch(struct uffd_area *area, int pagemap, uint64_t *bitmap, struct tern_error *error);

#endif
