/* SPDX-License-Identifier: BSD-2-Clause */
/* Lanes into a file: a run is written from memory to its region's place in the file, by io_uring where the kernel lets
 * us, else by pwrite. Of link.h's table a source's post, fence, wait, abort and close are there; there is no other
 * side. A run that is posted again after the lane was drained replaces the older one. What is drained has been written,
 * not synced: that is the owner's of the file. */
#ifndef TRANSPORT_FILE_FILE_H
#define TRANSPORT_FILE_FILE_H

#include "transport/link.h"

/* fd       borrowed until close; with O_DIRECT, regions and their offsets are aligned as it needs
 * offset   where the region's first byte stands in the file */
struct file_region {
    const void *base;
    uint64_t length_bytes;
    uint64_t offset_bytes;
};

/* file_link_open: n_lanes lanes, each with a ring of its own.
 * regions  borrowed until close
 * name     of the file, for messages; borrowed until close
 * errors   -ENOMEM */
int file_link_open(int fd, const char *name, const struct file_region *regions, uint32_t n_regions, uint32_t n_lanes,
                   struct link_source **out, struct tern_error *error);

/* Does every lane have a ring? Else why not: an errno, 0 with a ring. */
int file_link_without_ring(const struct link_source *link);

extern const struct link_provider link_file;

#endif
