/* SPDX-License-Identifier: BSD-2-Clause */
/* From dirty bits to runs, the part of a round that every page of the guest has a share in, dirty or not.
 *
 *   harvest_survey  one pass over a region's bitmap, a unit (512 pages, one cache line) at a time: how many pages are
 *                   dirty, and a summary, one bit a unit
 *   harvest_claim   the next unit that is not clean, by the summary: 64 clean units cost one look
 *   harvest_unit    take the dirty bits of one unit; bitmap_next_run() then makes runs of them
 *   harvest_join    ... after gaps between them were filled that cost less to send than another run
 *
 * A gap is filled with clean pages. That keeps rounds.h's invariant: a clean page was cleared in the tracker before it
 * was last sent, so it is dirty again if it was written since, and will be sent once more. From here on it is treated
 * as a dirty one: looked at for zeros, digested and listed anew. A page that reads as zero at the destination is never
 * filled in: it would not be sent, so the gap would stay.
 *
 * Nothing here allocates, locks or makes a system call.
 */
#ifndef MIGRATE_HARVEST_H
#define MIGRATE_HARVEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HARVEST_UNIT_PAGES 512u
#define HARVEST_UNIT_WORDS (HARVEST_UNIT_PAGES / 64)

/* harvest_survey: of one region.
 * dirty        whole units of words; bits behind n_pages do not count
 * summary      bit first_unit + u is set if unit u of the region has a dirty page, else cleared; the bits of other
 *              regions are left alone
 * returns      dirty pages
 * thread       no worker is at the bitmaps */
uint64_t harvest_survey(const uint64_t *dirty, uint64_t n_pages, uint64_t *summary, uint64_t first_unit);

/* harvest_claim: the first unit from *next on that the summary has, each given to one caller. Any thread.
 * returns      n_units when there is none left */
uint64_t harvest_claim(_Atomic uint64_t *next, const uint64_t *summary, uint64_t n_units);

/* harvest_unit: move a unit's dirty bits to mask. The unit is the caller's.
 * n_pages      of this unit, at most HARVEST_UNIT_PAGES; bits behind them are dropped
 * returns      how many there are */
uint64_t harvest_unit(uint64_t *dirty, uint64_t n_pages, uint64_t mask[HARVEST_UNIT_WORDS]);

/* harvest_gap_pages: the longest gap that is worth filling.
 * run_cost_bytes  one more run takes as long as this many bytes do */
static inline uint64_t harvest_gap_pages(uint64_t run_cost_bytes, uint64_t page_bytes)
{
    return run_cost_bytes / page_bytes;
}

/* harvest_join: add to mask the gaps of at most gap_pages between two of its pages, if all pages in them were sent.
 * sent         of the same unit: pages whose copy at the destination is not zero
 * returns      how many pages were added */
uint64_t harvest_join(uint64_t mask[HARVEST_UNIT_WORDS], const uint64_t *sent, uint64_t n_pages, uint64_t gap_pages);

#endif
