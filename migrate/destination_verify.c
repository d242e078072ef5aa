/* SPDX-License-Identifier: BSD-2-Clause */
/* Before commit: the digests of every region must agree. Where they do not, the source is asked for the digests of the
 * groups and then of one group's pages, so that the refusal names the page. */
#include <errno.h>
#include <inttypes.h>

#include "migrate/destination.h"
#include "transport/error.h"

#define ASK_MS 10000

/* Ask, and give the index of the first entry that differs from ours; `of.n` when none does. */
static int first_difference(struct tern_destination *destination, const struct wire_ask *ask, const uint64_t *ours,
                            uint32_t *index, struct tern_error *error)
{
    struct wire_digests digests;
    struct control_frame frame;
    int r = control_send(destination->door.control, WIRE_ASK, destination->message,
                         wire_put_ask(destination->message, ask), error);

    if (!r)
        r = destination_next(destination, ASK_MS, &frame, error);
    if (r)
        return r == -ETIMEDOUT ? error_set(error, r, NULL, "the source does not answer for its digests") : r;
    if (frame.type != WIRE_DIGESTS || wire_get_digests(frame.payload, frame.length_bytes, &digests) ||
        digests.of.region != ask->region || digests.of.per_page != ask->per_page || digests.of.first != ask->first ||
        digests.of.n != ask->n)
        r = destination_bad_message(frame.type, error);
    for (*index = 0; !r && *index < ask->n; ++*index)
        if (wire_digest(&digests, *index) != ours[*index])
            break;
    control_frame_free(&frame);
    return r;
}

static int name_page(struct tern_destination *destination, uint32_t region, const struct digest_table *table,
                     uint64_t group, struct tern_error *error)
{
    const struct tern_region *memory = &destination->vm->regions[region];
    struct wire_ask ask = {.region = region, .per_page = true, .first = group * DIGEST_GROUP_PAGES};
    uint64_t left = table->n_pages - ask.first;
    uint32_t index;
    int r;

    ask.n = left < DIGEST_GROUP_PAGES ? (uint32_t)left : DIGEST_GROUP_PAGES;
    r = first_difference(destination, &ask, table->pages + ask.first, &index, error);
    if (r)
        return r;
    return error_set(error, -EBADMSG, "the guest runs on at the source; check the memory and the network of both hosts",
                     "verify: page %" PRIu64 " of region '%s' (guest address 0x%" PRIx64 ") differs at the destination",
                     ask.first + index, memory->name, memory->guest_address + (ask.first + index) * TERN_PAGE_BYTES);
}

static int locate(struct tern_destination *destination, uint32_t region, struct tern_error *error)
{
    const struct digest_table *table = verifier_table(destination->verifier, region);

    for (uint64_t first = 0; first < table->n_groups; first += WIRE_DIGESTS_MAX) {
        uint64_t left = table->n_groups - first;
        struct wire_ask ask = {.region = region, .first = first};
        uint32_t index;
        int r;

        ask.n = left < WIRE_DIGESTS_MAX ? (uint32_t)left : WIRE_DIGESTS_MAX;
        r = first_difference(destination, &ask, table->groups + first, &index, error);
        if (r)
            return r;
        if (index < ask.n)
            return name_page(destination, region, table, first + index, error);
    }
    return error_set(error, -EBADMSG, NULL, "verify: region '%s' differs at the destination",
                     destination->vm->regions[region].name);
}

int destination_compare(struct tern_destination *destination, const struct wire_round_end *end,
                        struct tern_error *error)
{
    if (end->n_digests != destination->vm->n_regions)
        return destination_bad_message(WIRE_ROUND_END, error);
    verifier_wait(destination->verifier);
    for (uint32_t i = 0; i < end->n_digests; i++)
        if (digest_table_root(verifier_table(destination->verifier, i)) != end->digests[i])
            return locate(destination, i, error);
    destination->result.verified = true;
    return 0;
}
