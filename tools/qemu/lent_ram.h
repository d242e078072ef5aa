/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU's RAM lent for reading an image into it while its guest runs (tern_vm.lend_memory): its mappings are
 * registered with a userfaultfd of its own for missing pages, and emptied. What is put there goes through that
 * descriptor, a page at a time, whole or not at all.
 *
 * QEMU keeps a descriptor of it until all is there. So, whoever dies in between, tern and its guardian too, what is
 * missing never reads as zeros: it is waited for; and whoever looks (lent_ram_stands) knows that a part is missing.
 * Nobody may look into the RAM's file meanwhile but by read(2): through a mapping elsewhere what is missing would
 * become zeros. So tern itself has none meanwhile (lending.c), and what is put where something is already is damage,
 * unless it was begun by tern. source: userfaultfd(2), ioctl_userfaultfd(2) */
#ifndef TOOLS_QEMU_LENT_RAM_H
#define TOOLS_QEMU_LENT_RAM_H

#include "tools/qemu/guest_ram.h"

/* Plain numbers, so that they can be told to another process. */
struct lent_ram {
    int theirs;     /* QEMU's own number of its userfaultfd */
    bool all_there; /* what is left to do is lent_ram_end */
    uint32_t n_regions;
    struct {
        char name[TERN_NAME_BYTES];
        uint64_t guest_address, length_bytes, page_bytes;
        uint64_t address; /* in QEMU */
    } regions[RAM_PARTS_MAX];
};

/* What reading takes beside: the image, the userfaultfd, the notes of what was begun (tern_lent_memory). Borrowed. */
struct lent_files {
    int image_fd, uffd, notes_fd;
};

/* lent_ram_begin: make and register it; nothing is emptied yet.
 * uffd_out     the caller's
 * errors       the memory is as it was; where QEMU has kept a descriptor, which does no harm, the hint says so.
 *              -EOPNOTSUPP it is in huge pages; those of inject_kept_userfaultfd */
int lent_ram_begin(const struct guest_ram *ram, struct lent_ram *out, int *uffd_out, struct tern_error *error);
/* lent_ram_empty: on return every page is missing. */
int lent_ram_empty(const struct guest_ram *ram, struct tern_error *error);
/* lent_ram_end: all is there: it is memory as other memory again, and QEMU keeps no descriptor. uffd stays the
 * caller's. errors   all is as said, but QEMU has kept its descriptor, which does no harm */
int lent_ram_end(const struct process *process, const struct lent_ram *lent, int uffd, struct tern_error *error);

/* lent_ram_stands: does a part of this QEMU's RAM wait for being read? A userfaultfd that QEMU was left, and with which
 * nothing is registered any more, is none.
 * returns  1, 0, or -errno: that cannot be seen (-EACCES: of another user) */
int lent_ram_stands(const struct process *process, struct tern_error *error);
/* lent_ram_is_registered: from the text of /proc/PID/smaps, is any memory registered for missing pages? */
bool lent_ram_is_registered(const char *smaps);
/* lent_ram_refuse: -EBUSY if so, -errno if that cannot be seen. */
int lent_ram_refuse(const struct process *process, struct tern_error *error);

#endif
