/* SPDX-License-Identifier: BSD-2-Clause */
/* Which unit of the guest a worker takes next. Workers belong to groups, one for each NUMA node that has some; a unit
 * belongs to one group, whose workers take its units in order as they get on. Nobody takes another group's: a node with
 * memory has a worker (numa/plan.h), and a page that crosses nodes costs more than a worker that ends a little earlier.
 * On a host with one node there is one group, without a table.
 */
#ifndef MIGRATE_SHARES_H
#define MIGRATE_SHARES_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/tern_error.h"

struct shares;

/* shares_create: unit_group, one a unit and each below n_groups, is borrowed during the call. NULL: all are group 0's.
 * errors -ENOMEM */
int shares_create(uint64_t n_units, const uint8_t *unit_group, uint32_t n_groups, struct shares **out,
                  struct tern_error *error);
void shares_destroy(struct shares *shares);

/* shares_begin: a round begins: the units can be taken again, those that dirty_units (a bit a unit, borrowed until the
 * next round; NULL: every one) has. No worker is at it. */
void shares_begin(struct shares *shares, const uint64_t *dirty_units);
/* shares_next: the next unit for a worker of group; each is given once. false: there is none left. Any thread. */
bool shares_next(struct shares *shares, uint32_t group, uint64_t *unit);
/* shares_cut_short: no more units in this round. Any thread. */
void shares_cut_short(struct shares *shares);

#endif
