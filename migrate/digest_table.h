/* SPDX-License-Identifier: BSD-2-Clause */
/* One side's digests of one region, in three levels: a page, a group of 512 pages (2 MiB), the region.
 * A group's hash is made again only when one of its pages was set since, so the region's is cheap when little changed.
 * Threads: different groups may be set by different threads; all else by one.
 */
#ifndef MIGRATE_DIGEST_TABLE_H
#define MIGRATE_DIGEST_TABLE_H

#include <stdint.h>

#include "transport/tern_error.h"

#define DIGEST_GROUP_PAGES 512u

struct digest_table {
    uint64_t n_pages, n_groups;
    uint64_t *pages; /* 0: must read as zero */
    uint64_t *groups;
    uint8_t *stale; /* one a group */
};

/* All pages start as zero. errors -ENOMEM; free takes a zeroed table. */
int digest_table_init(struct digest_table *table, uint64_t n_pages, struct tern_error *error);
void digest_table_free(struct digest_table *table);

static inline void digest_table_set(struct digest_table *table, uint64_t page, uint64_t digest)
{
    table->pages[page] = digest;
    table->stale[page / DIGEST_GROUP_PAGES] = 1;
}

/* digest_table_root: bring the groups up to date and return the region's digest. */
uint64_t digest_table_root(struct digest_table *table);

#endif
