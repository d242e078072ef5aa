/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading all memory of an image, many groups at once, by several threads (for memory that is new the kernel's part is
 * more than a disk leaves one thread time for): io_uring where the kernel lets us, else pread. What a group's bytes are
 * for, and which groups are read at all, the caller says. */
#ifndef MIGRATE_IMAGE_LOAD_H
#define MIGRATE_IMAGE_LOAD_H

#include "migrate/image_reader.h"

#define IMAGE_LOAD_SLOTS 16u /* groups under way at once */

/* All but place may be NULL; all but turn are called by several threads at once, for different groups.
 * claim    shall this group be read? Asked once a group; groups of zeros are not asked for
 * place    where to, aligned to pages; the slot is free of other groups until done or failed
 * done     it is there and has been checked; digests[p] 0: page p is zeros, and was not written if it is a hole
 * failed   is_damaged: it is for good; else it was not read to the end, because something else ended image_load
 * turn     now and then, also while nothing completes, by the thread that called image_load. -errno ends it */
struct image_load_ops {
    bool (*claim)(void *opaque, uint64_t group);
    uint8_t *(*place)(void *opaque, uint64_t group, uint32_t slot);
    int (*done)(void *opaque, uint64_t group, const uint8_t *bytes, const uint64_t digests[DIGEST_GROUP_PAGES],
                struct tern_error *error);
    void (*failed)(void *opaque, uint64_t group, bool is_damaged);
    int (*turn)(void *opaque, struct tern_error *error);
};

/* image_load: to the end, or to the first failure; no read is under way on return.
 * no_ring_out  may be NULL: an errno if the kernel gave no io_uring, else 0 */
int image_load(const struct image *image, const struct image_load_ops *ops, void *opaque, int *no_ring_out,
               struct tern_error *error);

#endif
