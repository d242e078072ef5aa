/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/digest.h"

#include <xxhash.h>

#include "migrate/tern.h"
#include "migrate/zero.h"

uint64_t digest_page(const void *page)
{
    uint64_t digest;

    if (page_is_zero(page))
        return DIGEST_ZERO;
    digest = XXH3_64bits(page, TERN_PAGE_BYTES);
    return digest == DIGEST_ZERO ? 1 : digest;
}

uint64_t digest_chunk(const uint64_t *digests, uint64_t n_digests)
{
    return XXH3_64bits(digests, n_digests * sizeof(*digests));
}

uint64_t digest_bytes(const void *bytes, size_t length_bytes)
{
    return XXH3_64bits(bytes, length_bytes);
}
