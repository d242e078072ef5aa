/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory that is read from its image while the guest runs. The memory is registered with a userfaultfd (missing
 * pages): whoever touches a page that is not there yet waits until its group (2 MiB) has been read, checked and put
 * there, by a thread for such faults; the session's thread reads the rest in order meanwhile.
 *
 * The memory is this process's, or lent by another one (tern_lent_memory), which then has a descriptor of that
 * userfaultfd of its own: as long as it has, this process's end makes whoever touches what is missing wait.
 *
 * Invariant: nothing of a group can be seen before all of it has been read and its digest agrees. A group that is
 * damaged never becomes visible: touching it ends in EFAULT or SIGSEGV; in lent memory it is waited for.
 * source: userfaultfd(2), ioctl_userfaultfd(2) */
#ifndef MIGRATE_IMAGE_LAZY_H
#define MIGRATE_IMAGE_LAZY_H

#include "migrate/image_reader.h"

struct image_lazy;

/* image_lazy_start: memory of `vm` (not written so far, unless lent->begun) is that of the image from here on.
 * image    borrowed, as are the regions and lent, until stop
 * lent     NULL: it is this process's
 * errors   -EPERM, -ENOSYS, -EOPNOTSUPP it cannot be done here, and why: nothing has changed */
int image_lazy_start(const struct image *image, const struct tern_vm *vm, const struct tern_lent_memory *lent,
                     struct image_lazy **out, struct tern_error *error);

/* image_lazy_fill: read all that has not been asked for. Blocks until the end.
 * turn     now and then, with what is left; -errno ends it, and whoever touches what is missing goes on waiting
 * errors   those of image_check_group and of reading: what is missing cannot come any more */
int image_lazy_fill(struct image_lazy *lazy, int (*turn)(void *opaque, uint64_t left_bytes, struct tern_error *error),
                    void *opaque, struct tern_error *error);

/* image_lazy_noted: what kept a fault from being served, if that has happened: it says more than whoever hung on it.
 * returns  its code; 0: nothing did, *error is as it was */
int image_lazy_noted(struct image_lazy *lazy, struct tern_error *error);

/* image_lazy_stop: touching what is missing faults from now on (PROT_NONE), as it would read as zeros: after a fill
 * that has failed the guest must not run any more. Lent memory is left as it is. Takes NULL. */
void image_lazy_stop(struct image_lazy *lazy);

#endif
