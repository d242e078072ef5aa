/* SPDX-License-Identifier: BSD-2-Clause */
/* 64-bit XXH3 digests of pages, and of tables of digests. They find damage, not malice.
 * A page of zeros has digest DIGEST_ZERO, the same as one that was never sent: both must read as zero. */
#ifndef MIGRATE_DIGEST_H
#define MIGRATE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_ZERO 0ull

/* Of TERN_PAGE_BYTES at page, 8-byte aligned. */
uint64_t digest_page(const void *page);

/* Of n_digests entries of a table. */
uint64_t digest_chunk(const uint64_t *digests, uint64_t n_digests);

uint64_t digest_bytes(const void *bytes, size_t length_bytes);

#endif
