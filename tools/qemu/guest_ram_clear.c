/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/bitmap.h"
#include "migrate/untouched.h"
#include "migrate/zero.h"
#include "tools/qemu/guest_ram.h"
#include "transport/error.h"

static int clear_region(const struct tern_region *region, struct tern_error *error)
{
    uint64_t n_pages = region->length_bytes / TERN_PAGE_BYTES, first, n = 0;
    uint64_t *touched = calloc(bitmap_words(n_pages), sizeof(*touched));
    uint8_t *base = region->base;
    int r;

    if (!touched)
        return error_set(error, -ENOMEM, NULL, "out of memory for the map of the guest's RAM '%s'", region->name);
    r = untouched_pages(base, region->length_bytes, touched, error);
    for (uint64_t at = 0; !r && bitmap_next_run(touched, at, n_pages, &first, &n); at = first + n)
        for (uint64_t page = first; page < first + n; page++)
            if (!page_is_zero(base + page * TERN_PAGE_BYTES))
                memset(base + page * TERN_PAGE_BYTES, 0, TERN_PAGE_BYTES);
    free(touched);
    return r;
}

int guest_ram_clear(const struct guest_ram *ram, struct tern_error *error)
{
    int r = 0;

    for (uint32_t i = 0; i < ram->n_regions && !r; i++)
        r = clear_region(&ram->regions[i], error);
    return r;
}
