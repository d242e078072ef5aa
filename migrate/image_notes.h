/* SPDX-License-Identifier: BSD-2-Clause */
/* Which groups of an image were begun to be put in their place: a byte each, in memory that can be shared with whoever
 * reads on when this process has ended (tern_lent_memory.notes_fd). */
#ifndef MIGRATE_IMAGE_NOTES_H
#define MIGRATE_IMAGE_NOTES_H

#include <stdatomic.h>
#include <stdint.h>

#include "transport/tern_error.h"

/* image_notes_create: none was begun. fd_out: the caller's */
int image_notes_create(uint64_t n_groups, int *fd_out, struct tern_error *error);
/* image_notes_map: fd -1: notes of this process only. *out: the caller's, for munmap with n_groups
 * errors   -EINVAL the file is not of so many groups; what mmap(2) says */
int image_notes_map(int fd, uint64_t n_groups, _Atomic uint8_t **out, struct tern_error *error);

#endif
