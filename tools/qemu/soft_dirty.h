/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel's soft-dirty bits say, and when they cannot be trusted. Pure, but for soft_dirty_works.
 * A page table entry remembers a write until it is cleared, or dropped: memory that is shared keeps no trace of it
 * then. So a page that has gone counts as written, and where the kernel may have dropped entries and made them anew (it
 * looked for memory to reclaim), every page does. source: Documentation/admin-guide/mm/{soft-dirty,pagemap}.rst;
 * Linux 6.1 fs/proc/task_mmu.c, mm/rmap.c */
#ifndef TOOLS_QEMU_SOFT_DIRTY_H
#define TOOLS_QEMU_SOFT_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/qemu/guest_ram.h"

#define SOFT_DIRTY_WRITTEN (1ull << 55)
#define SOFT_DIRTY_PRESENT (1ull << 63)

/* soft_dirty_works: does this kernel do it? Tried with memory of our own, since a kernel without it takes all requests.
 */
bool soft_dirty_works(void);

/* soft_dirty_split: page map entries to bitmaps, whose words are replaced. written, present: (n_pages + 63) / 64 words
 */
void soft_dirty_split(const uint64_t *entries, uint64_t n_pages, uint64_t *written, uint64_t *present);

/* soft_dirty_merge: OR into dirty what was written, and what was present last time and is not now; before becomes
 * present. */
void soft_dirty_merge(const uint64_t *written, const uint64_t *present, uint64_t *before, uint64_t *dirty,
                      uint64_t n_words);

/* soft_dirty_reclaims: from the text of /proc/vmstat, how many pages the kernel looked at for reclaim, of a kind that
 * shared memory is of. It only grows. */
uint64_t soft_dirty_reclaims(const char *vmstat);

/* What QEMU has open or mapped that soft-dirty does not go with. */
struct soft_dirty_facts {
    char kernel_writer[64]; /* a device by which the kernel itself writes the guest's memory: /dev/vhost-net */
    bool has_io_uring, has_linux_aio;
    uint32_t huge_region; /* the first that may get transparent huge pages; UINT32_MAX: none */
};

int soft_dirty_facts_read(const struct guest_ram *ram, struct soft_dirty_facts *out, struct tern_error *error);

/* soft_dirty_may_be_huge: from the text of /proc/PID/smaps, may the memory at address get huge pages by itself? */
bool soft_dirty_may_be_huge(const char *smaps, uint64_t address);

/* soft_dirty_refuse: errors -ENOTSUP, naming what is in the way */
int soft_dirty_refuse(const struct soft_dirty_facts *facts, const struct tern_region *regions, uint32_t n_regions,
                      struct tern_error *error);

#endif
