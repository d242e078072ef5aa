/* SPDX-License-Identifier: BSD-2-Clause */
/* An image, open for reading. Nothing of it is handed out unchecked: the head and the digests when it is opened, a
 * section or a group of memory when it is read. */
#ifndef MIGRATE_IMAGE_READER_H
#define MIGRATE_IMAGE_READER_H

#include "migrate/image_format.h"

#define IMAGE_EXTENTS_MAX 16u

struct image {
    const char *path; /* borrowed */
    int fd;
    int bulk_fd; /* with O_DIRECT, if the file system has it; else the same */
    struct image_head head;
    uint64_t *groups; /* digests of all of them, owned */
    uint64_t n_groups;
    uint64_t first_group[WIRE_REGIONS_MAX]; /* of each region */
};

/* Where a group has data, from the group's first byte on; in whole pages, but for the end of the memory. */
struct image_extents {
    uint32_t n;
    struct {
        uint32_t offset_bytes, length_bytes;
    } at[IMAGE_EXTENTS_MAX];
};

/* One group among all: group `index` of region `region`. */
struct image_group {
    uint32_t region;
    uint64_t index;
    uint64_t offset_bytes; /* within its region */
    uint64_t file_offset;
    uint32_t n_pages;
};

/* image_open: errors those of image_get_head; -EILSEQ the digests are damaged; what open(2) says */
int image_open(const char *path, struct image *image, struct tern_error *error);
/* Takes a zeroed one with its descriptors at -1, and one that was closed. */
void image_close(struct image *image);

/* image_get: a section that is not memory, into buffer of its length. errors -EILSEQ it is damaged */
int image_get(const struct image *image, const struct image_section *section, void *buffer, struct tern_error *error);

/* image_group: number `group` of all. */
struct image_group image_group(const struct image *image, uint64_t group);
/* image_group_is_zero: by its digest: it need not be read. */
bool image_group_is_zero(const struct image *image, uint64_t group);
/* image_find_extents: all that may be other than zeros. Any thread. */
struct image_extents image_find_extents(const struct image *image, const struct image_group *place);

/* image_check_group: bytes has the group's extents at their places; what lies between them is not looked at.
 * digests  of its pages, written also on failure: 0 is a page of zeros
 * errors   -EILSEQ names section and place. Any thread */
int image_check_group(const struct image *image, uint64_t group, const struct image_extents *extents,
                      const uint8_t *bytes, uint64_t digests[DIGEST_GROUP_PAGES], struct tern_error *error);

/* image_read_group: find, read and check one group, here and now. */
int image_read_group(const struct image *image, uint64_t group, uint8_t *bytes, uint64_t digests[DIGEST_GROUP_PAGES],
                     struct tern_error *error);

int image_cannot_read(const struct image *image, int code, struct tern_error *error);

#endif
