/* SPDX-License-Identifier: BSD-2-Clause */
/* Which bytes of a lane's registered buffer are in use. Pure. */
#include "transport/verbs/verbs.h"

static uint64_t whole_pages(uint64_t length)
{
    return (length + VERBS_PAGE_BYTES - 1) & ~(uint64_t)(VERBS_PAGE_BYTES - 1);
}

uint64_t verbs_ring_room(const struct verbs_ring *ring, uint64_t wanted)
{
    uint64_t room = ring->bytes - (ring->taken - ring->given);
    uint64_t to_the_end = ring->bytes ? ring->bytes - ring->taken % ring->bytes : 0;

    if (room > to_the_end)
        room = to_the_end;
    if (room > ring->bytes / 4)
        room = ring->bytes / 4;
    return room < wanted ? room : wanted;
}

uint8_t *verbs_ring_take(struct verbs_ring *ring, uint64_t length)
{
    uint8_t *at = ring->base + ring->taken % ring->bytes;

    ring->taken += whole_pages(length);
    return at;
}

void verbs_ring_give(struct verbs_ring *ring, uint64_t length)
{
    ring->given += whole_pages(length);
}
