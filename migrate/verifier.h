/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's rolling digests. Pages that a round wrote are digested by a thread of their own while the next
 * round runs. A digest that the next round overtakes is garbage, and that page is in the next round's list: it is made
 * again.
 */
#ifndef MIGRATE_VERIFIER_H
#define MIGRATE_VERIFIER_H

#include <stdint.h>

#include "migrate/digest_table.h"
#include "migrate/tern.h"

struct verifier;

int verifier_create(const struct tern_region *regions, uint32_t n_regions, struct verifier **out,
                    struct tern_error *error);
/* Takes NULL; drops what was not yet digested. */
void verifier_destroy(struct verifier *verifier);

/* verifier_note: pages that the present round writes or clears. -EINVAL: outside the region. Session thread. */
int verifier_note(struct verifier *verifier, uint32_t region, uint64_t first_page, uint64_t n_pages);

/* verifier_note_touched: note every page that is not certainly zero. Before the first verifier_release. */
int verifier_note_touched(struct verifier *verifier, struct tern_error *error);

/* verifier_release: the round is in memory: digest what was noted. */
void verifier_release(struct verifier *verifier);

/* verifier_wait: until all that was released is digested. */
void verifier_wait(struct verifier *verifier);

/* Pages released and not yet digested, and how many a second were lately (0: unknown). Any thread. */
uint64_t verifier_backlog(struct verifier *verifier, uint64_t *pages_ps);

/* The table of a region; only between verifier_wait and the next release. */
struct digest_table *verifier_table(struct verifier *verifier, uint32_t region);

#endif
