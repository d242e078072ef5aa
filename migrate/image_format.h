/* SPDX-License-Identifier: BSD-2-Clause */
/* The image of a suspended guest: what stands where in the file, and which files are valid. Pure: bytes in, struct out,
 * and back. migrate/IMAGE.md is the same for people.
 *
 * All numbers are little endian. Everything begins at a multiple of 4096 bytes.
 *
 *   offset      what
 *   0           head, IMAGE_HEAD_BYTES: header (96 bytes, then zeros to 4096), section table (128 bytes a section)
 *   ...         sections in the order of the table: profile (if there is one), memory (one a region, by guest address,
 *               beginning at multiples of 2 MiB), digests, state; zeros or holes between them
 *
 *   header      0 magic "TERNIMG\n"  8 u32 version  12 u32 unit of pages (4096)  16 u64 length of the file
 *               24 u32 number of sections  28 u32 0  32 kind[32] of the VMM  64 u64 when (seconds since 1970)
 *               72 u64 XXH3 of the head from byte 96 on  80 u64 0  88 u64 XXH3 of bytes 0 to 88
 *   section     0 u32 type  4 u32 0  8 name[32]  40 u64 offset  48 u64 length  56 u64 digest
 *               64 u64 guest address  72 u64 size of the pages behind it (both: memory, else 0)  80 zeros to 128
 *
 * Digests. Memory is cut into groups of 512 pages (2 MiB, the last of a region shorter). A page's digest is XXH3 of its
 * bytes, 0 for a page of zeros (digest.h); a group's is XXH3 of its pages' digests; the section "digests" has those of
 * all groups, region after region; a memory section's digest is XXH3 of its groups' digests. Any other section's digest
 * is XXH3 of its bytes. So one group can be checked without the others, and a hole is a page of zeros.
 *
 * The head is written last, once all else is on the disk: a file without a valid one is no image.
 * A version is raised when an older reader would misread the file; a reader refuses every version but its own. */
#ifndef MIGRATE_IMAGE_FORMAT_H
#define MIGRATE_IMAGE_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/digest_table.h"
#include "migrate/tern.h"
#include "migrate/wire.h"

#define IMAGE_VERSION      1u
#define IMAGE_ALIGN        4096u
#define IMAGE_HEAD_BYTES   (4u * IMAGE_ALIGN)
#define IMAGE_GROUP_BYTES  ((uint64_t)DIGEST_GROUP_PAGES * TERN_PAGE_BYTES)
#define IMAGE_MEMORY_MAX   (1ull << 46) /* of all regions; bounds what a reader allocates for digests */
#define IMAGE_SECTIONS_MAX (WIRE_REGIONS_MAX + 3u)

enum image_type {
    IMAGE_MEMORY = 1,
    IMAGE_PROFILE = 2, /* as tern_vm.save_profile made it */
    IMAGE_DIGESTS = 3,
    IMAGE_STATE = 4, /* as tern_vm.save_state made it */
};

struct image_section {
    enum image_type type;
    char name[TERN_NAME_BYTES];
    uint64_t offset_bytes, length_bytes, digest;
    uint64_t guest_address, page_bytes;
};

struct image_head {
    char kind[TERN_NAME_BYTES];
    uint64_t created_s, file_bytes;
    uint32_t n_sections;
    struct image_section sections[IMAGE_SECTIONS_MAX];
};

/* image_describe: the sections of this VM, without digests. Of a VM that vm_check has passed.
 * profile_bytes    0: there is no such section
 * state_bytes      of the last section: what stands before it does not depend on it */
void image_describe(struct image_head *head, const struct tern_vm *vm, uint64_t profile_bytes, uint64_t state_bytes);

/* Section of that type; of memory: of region number `region`. NULL: there is none. The second one is to be written. */
const struct image_section *image_find(const struct image_head *head, enum image_type type, uint32_t region);
struct image_section *image_section(struct image_head *head, enum image_type type, uint32_t region);
uint32_t image_regions(const struct image_head *head);
uint64_t image_groups(uint64_t length_bytes);

/* image_put_head: all of out is written. */
void image_put_head(const struct image_head *head, uint8_t out[IMAGE_HEAD_BYTES]);

/* image_get_head: *out is written on success only, and is then consistent in itself and with file_bytes.
 * errors   -EINVAL foreign: no image at all, or one that was not finished; -EPROTONOSUPPORT another version (newer or
 *          older); -EILSEQ damaged; -ENODATA truncated. Each names the section and what is wrong with it */
int image_get_head(const uint8_t in[IMAGE_HEAD_BYTES], uint64_t file_bytes, struct image_head *out,
                   struct tern_error *error);

/* image_is_one: do the first 8 bytes of a file say that it is an image, of whatever version? */
bool image_is_one(const uint8_t bytes[8]);

/* image_fits: is it an image of such a VM? errors -EINVAL names what differs, with both values */
int image_fits(const struct image_head *head, const struct tern_vm *vm, struct tern_error *error);

#endif
