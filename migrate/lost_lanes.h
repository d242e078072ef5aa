/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of the source's lanes are lost with their rail, which of those are tried again and when, and from which round
 * on they count again. Pure: no clock, no I/O.
 *
 * A lane's way: in use -> lost (lose) -> gone: the destination has torn it down (gone) -> joined: connected again
 * (tried) -> in use (take), at the border of two rounds of pre-copy. A lane is fenced, and its fence is waited for,
 * while it is in use and never else. The destination hears of the loss before the round in which it happened ends, and
 * of the return before the next one begins; the control channel has one order, so both sides count the same fences.
 */
#ifndef MIGRATE_LOST_LANES_H
#define MIGRATE_LOST_LANES_H

#include <stdbool.h>
#include <stdint.h>

#define LOST_LANES_REST_NS 1000000000ull /* from a try that failed to the next one */

/* Sets of lanes, a bit each. lost has gone, and gone has joined. Zeroed: all are in use. */
struct lost_lanes {
    uint64_t lost, gone, joined;
    uint64_t rest_until_ns;
    uint32_t next; /* lanes take turns */
};

void lost_lanes_lose(struct lost_lanes *lanes, uint64_t lost);
/* lost_lanes_gone: the destination's word. false: of a lane of which it was not asked for */
bool lost_lanes_gone(struct lost_lanes *lanes, uint32_t lane);
/* lost_lanes_settled: the destination has torn down whatever was lost. */
bool lost_lanes_settled(const struct lost_lanes *lanes);

/* lost_lanes_due: the lane to be tried now, or -1. After a failure nothing is tried for a while; then it is the next
 * lane's turn, so that a rail that stays down does not keep the others away. */
int lost_lanes_due(const struct lost_lanes *lanes, uint64_t now_ns);
/* lost_lanes_tried: how that went. */
void lost_lanes_tried(struct lost_lanes *lanes, uint32_t lane, bool joined, uint64_t now_ns);

/* lost_lanes_take: the lanes that are in use again from here on. */
uint64_t lost_lanes_take(struct lost_lanes *lanes);
bool lost_lanes_in_use(const struct lost_lanes *lanes, uint32_t lane);

#endif
