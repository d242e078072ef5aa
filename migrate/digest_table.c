/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/digest_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/digest.h"
#include "transport/error.h"

int digest_table_init(struct digest_table *table, uint64_t n_pages, struct tern_error *error)
{
    table->n_pages = n_pages;
    table->n_groups = (n_pages + DIGEST_GROUP_PAGES - 1) / DIGEST_GROUP_PAGES;
    table->pages = calloc(n_pages, sizeof(*table->pages));
    table->groups = calloc(table->n_groups, sizeof(*table->groups));
    table->stale = malloc(table->n_groups);
    if (!table->pages || !table->groups || !table->stale) {
        digest_table_free(table);
        return error_set(error, -ENOMEM, "migrate without verify", "out of memory for the digests of %llu pages",
                         (unsigned long long)n_pages);
    }
    memset(table->stale, 1, table->n_groups);
    return 0;
}

void digest_table_free(struct digest_table *table)
{
    free(table->pages);
    free(table->groups);
    free(table->stale);
    *table = (struct digest_table){0};
}

uint64_t digest_table_root(struct digest_table *table)
{
    for (uint64_t group = 0; group < table->n_groups; group++) {
        uint64_t first = group * DIGEST_GROUP_PAGES;
        uint64_t n = table->n_pages - first < DIGEST_GROUP_PAGES ? table->n_pages - first : DIGEST_GROUP_PAGES;

        if (!table->stale[group])
            continue;
        table->groups[group] = digest_chunk(table->pages + first, n);
        table->stale[group] = 0;
    }
    return digest_chunk(table->groups, table->n_groups);
}
