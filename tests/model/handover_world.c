/* SPDX-License-Identifier: BSD-2-Clause */
/* What neither side wills: deaths, cuts, a restarted process, the operator; and the promises. */
#include "tests/model/handover_parts.h"

#include <stddef.h>
#include <string.h>

/* ---- what neither side wills ---- */

static void side_dies(const struct world *world, struct world_sink *sink, bool source)
{
    for (int death = SESSION_DIED; death <= GUEST_DIED; death++) {
        struct world next = *world;

        if (source) {
            next.source_death = (uint8_t)death;
            next.source_due = DUE_NOTHING;
            next.seeking = next.telling = 0;
            if (death == GUEST_DIED)
                next.source_runs = 0;
        } else {
            next.destination_death = (uint8_t)death;
            next.destination_due = DUE_NOTHING;
            next.awaiting = 0;
            if (death == GUEST_DIED)
                next.destination_runs = 0;
            world_refuse_new(&next, sink);
        }
        world_end_side(&next, sink, source, MSG_FIN);
        world_end_side(&next, sink, source, MSG_LOST);
    }
}

static void network_cuts(const struct world *world, struct world_sink *sink, bool newer)
{
    const struct world_connection *link = newer ? &world->new : &world->old;
    unsigned n_there = world_queue_length(link->to_destination), n_back = world_queue_length(link->to_source);

    if (!link->exists || !link->source_open || !link->destination_open || world_queue_ended(link->to_destination) ||
        world_queue_ended(link->to_source))
        return;
    for (unsigned i = 0; i <= n_there; i++) {
        for (unsigned j = 0; j <= n_back; j++) {
            struct world next = *world;
            struct world_connection *cut = newer ? &next.new : &next.old;

            world_queue_end(cut->to_destination, i, MSG_LOST);
            world_queue_end(cut->to_source, j, MSG_LOST);
            world_emit(sink, &next);
        }
    }
}

static void restarted_process(const struct world *world, struct world_sink *sink)
{
    struct world next = *world;

    if (world->destination_death != ALIVE && !world->restarted) {
        next.restarted = 1;
        world_emit(sink, &next);
    } else if (world->restarted && world->new.exists && world->new.destination_open &&
               world->new.to_destination[0] == MSG_QUERY) {
        world_queue_take(next.new.to_destination);
        world_queue_put(sink, next.new.to_source, MSG_UNKNOWN);
        world_emit(sink, &next);
    }
}

/* ---- the operator: consistent, and asked only when neither side is still deciding ---- */

static bool is_settled(const struct world *world)
{
    struct handover d = {HANDOVER_DESTINATION, (enum handover_state)world->destination};

    if (world->source_due || world->destination_due)
        return false;
    if (world->source_death == ALIVE && world_is_pending(HANDOVER_SOURCE, world->source))
        return false;
    return world->destination_death != ALIVE || handover_verdict(&d) != HANDOVER_UNDECIDED;
}

static void operator_decides(const struct world *world, struct world_sink *sink)
{
    struct world next = *world;
    bool source_has = world->source_death != GUEST_DIED && !world->released;
    bool destination_has = world->destination_death != GUEST_DIED && world->loaded && !world->discarded;

    if (source_has && !world->destination_runs) {
        next.owner = OWNER_SOURCE;
        world_emit(sink, &next);
    }
    next = *world;
    if (destination_has && !world->source_runs) {
        next.owner = OWNER_DESTINATION;
        world_emit(sink, &next);
    }
}

static void operator_moves(const struct world *world, struct world_sink *sink)
{
    bool source = world->source == HANDOVER_S_IN_DOUBT || world->source == HANDOVER_S_HALTED;
    bool destination = world->destination == HANDOVER_D_IN_DOUBT;

    if (!is_settled(world) || (!source && !destination))
        return;
    if (world->owner == OWNER_UNSAID) {
        operator_decides(world, sink);
        return;
    }
    if (source && world->source_death == ENDED)
        world_feed(world, sink, true, world->owner == OWNER_SOURCE ? HANDOVER_RESOLVE_HERE : HANDOVER_RESOLVE_THERE);
    if (destination && world->destination_death == ENDED)
        world_feed(world, sink, false,
                   world->owner == OWNER_DESTINATION ? HANDOVER_RESOLVE_HERE : HANDOVER_RESOLVE_THERE);
}

/* ---- the whole ---- */

void world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    world->source = HANDOVER_S_ACTIVE;
    world->destination = HANDOVER_D_RECEIVING;
    world->source_runs = 1;
    world->old.exists = world->old.source_open = world->old.destination_open = 1;
}

void world_successors(const struct world *world, struct world_sink *sink)
{
    sink->fault = false;
    if (world->source_death == ALIVE)
        world_source_moves(world, sink);
    else if (world->source_due)
        world_source_result(world, sink);
    if (world->destination_death == ALIVE)
        world_destination_moves(world, sink);
    else if (world->destination_due)
        world_destination_result(world, sink);
    operator_moves(world, sink);
    restarted_process(world, sink);
    sink->fault = true;
    if (world->source_death == ALIVE)
        side_dies(world, sink, true);
    if (world->destination_death == ALIVE)
        side_dies(world, sink, false);
    network_cuts(world, sink, false);
    network_cuts(world, sink, true);
}

bool world_is_final(const struct world *world)
{
    return world->source_death != ALIVE && world->destination_death != ALIVE && !world->source_due &&
           !world->destination_due;
}

const char *world_violation(const struct world *world)
{
    struct handover s = {HANDOVER_SOURCE, (enum handover_state)world->source};
    struct handover d = {HANDOVER_DESTINATION, (enum handover_state)world->destination};
    enum handover_verdict source = handover_verdict(&s), destination = handover_verdict(&d);
    bool died = world->source_death >= SESSION_DIED || world->destination_death >= SESSION_DIED;

    if (world->source_runs && world->destination_runs)
        return "two run";
    if (world->released && !world->destination_ran && world->owner != OWNER_DESTINATION)
        return "the source released a guest that has not run elsewhere";
    if (world->released && (world->discarded || !world->loaded))
        return "both have dropped it";
    if (source == HANDOVER_MIGRATED && !world->destination_ran && world->owner != OWNER_DESTINATION)
        return "the source says migrated, and it is not";
    if (destination == HANDOVER_MIGRATED && !world->destination_ran)
        return "the destination says migrated, and it is not";
    if (source == HANDOVER_NOT && !world->source_runs && world->source_death != GUEST_DIED)
        return "the source says that its guest runs on, and it does not";
    if (destination == HANDOVER_NOT && !world->discarded)
        return "the destination says that it gave up, and has a guest";
    if (world_is_final(world) && !died && !world->source_runs && !world->destination_runs && source != HANDOVER_DOUBT &&
        source != HANDOVER_HALT && destination != HANDOVER_DOUBT)
        return "nobody runs it, and nobody was told";
    return NULL;
}
