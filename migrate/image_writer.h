/* SPDX-License-Identifier: BSD-2-Clause */
/* The file that an image is written into: NAME.partial beside NAME, until it is whole. Then it is synced, gets its
 * head, is synced again and renamed; so at any moment NAME is what it was before, or a whole image. An older image of
 * that name is exchanged with the new one where the kernel can, and is removed once the folder is on the disk.
 *
 * A .partial that nobody writes any more (kill -9, a power cut) is taken over by the next one; a file of that name that
 * no suspend has left is refused. */
#ifndef MIGRATE_IMAGE_WRITER_H
#define MIGRATE_IMAGE_WRITER_H

#include <stdbool.h>

#include "migrate/image_format.h"

struct image_writer {
    char path[4096], partial[4096 + 16];
    int folder_fd; /* of its folder */
    int older_fd;  /* the image that is replaced: its blocks are freed at close, which takes a disk a while */
    int fd;        /* plain */
    int bulk_fd;   /* for memory: with O_DIRECT where the file system has it; else the same as fd */
    bool is_direct;
};

#define IMAGE_SYNC_BYTES (64ull << 20)

#define IMAGE_WRITER_CLOSED ((struct image_writer){.folder_fd = -1, .older_fd = -1, .fd = -1, .bulk_fd = -1})

/* image_writer_open: make the partial file.
 * errors   -EEXIST there is a file of that name (or NAME.partial) that is no image; -EBUSY another process writes this
 * image; what open(2) says */
int image_writer_open(const char *path, struct image_writer *writer, struct tern_error *error);

/* image_writer_reserve: from now on the file has its full length, as a hole. */
int image_writer_reserve(struct image_writer *writer, uint64_t file_bytes, struct tern_error *error);

/* image_writer_put: a section that is not memory. */
int image_writer_put(struct image_writer *writer, const struct image_section *section, const void *bytes,
                     struct tern_error *error);
/* image_writer_sync: all that was written, up to file_bytes, is on the disk. Without O_DIRECT that may be much.
 * cancelled  borrowed; looked at between stretches of IMAGE_SYNC_BYTES; any thread may set it
 * errors     -ECANCELED it was set; what fdatasync(2) says
 * source     sync_file_range(2), which writes pages out but not what finds them again: a sync follows */
int image_writer_sync(struct image_writer *writer, uint64_t file_bytes, const _Atomic bool *cancelled,
                      struct tern_error *error);

/* image_writer_settle: all but the head is on the disk, the file has its length, and the head its blocks.
 * file_bytes   of the head; may be less than was reserved */
int image_writer_settle(struct image_writer *writer, uint64_t file_bytes, struct tern_error *error);

/* image_writer_finish: head, sync, rename, sync; of a file that was settled. On failure there is no new image, and the
 * older one is where it was (where names cannot be exchanged it is lost, if the last sync fails); close removes what is
 * left. */
int image_writer_finish(struct image_writer *writer, const struct image_head *head, struct tern_error *error);

/* image_writer_close: without a successful finish the partial file goes. Takes
 * IMAGE_WRITER_CLOSED. */
void image_writer_close(struct image_writer *writer);

#endif
