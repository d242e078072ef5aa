/* SPDX-License-Identifier: BSD-2-Clause */
/* What each side's session does and may meet, by the rules of handover.h. */
#include "tests/model/handover_parts.h"

#include <stddef.h>
#include <string.h>

/* ---- actions ---- */

static void note(struct world_sink *sink, bool wrong, const char *what)
{
    if (wrong && !sink->violation)
        sink->violation = what;
}

static void source_actions(struct world *world, struct world_sink *sink, uint32_t actions)
{
    if (actions & HANDOVER_DO_PAUSE)
        world->source_due = DUE_PAUSE;
    if (actions & HANDOVER_DO_RESUME) {
        note(sink, world->released, "the source resumed what it had released");
        world->source_due = DUE_RESUME;
        world->source_runs = 1;
    }
    if (actions & HANDOVER_SEND_PREPARE)
        world_send(world, sink, true, MSG_PREPARE);
    if (actions & HANDOVER_SEND_COMMIT) {
        world->committed = 1;
        world_send(world, sink, true, MSG_COMMIT);
    }
    if (actions & HANDOVER_SEND_QUERY)
        world_send(world, sink, true, MSG_QUERY);
    if (actions & HANDOVER_SEND_ABORT)
        world_send(world, sink, true, MSG_ABORT);
    if (actions & HANDOVER_DO_RELEASE)
        world->released = 1;
    if (actions & HANDOVER_DO_RECONNECT)
        world->seeking = 1;
    if (actions & HANDOVER_DO_TELL)
        world->telling = 1;
}

static void destination_actions(struct world *world, struct world_sink *sink, uint32_t actions)
{
    if (actions & HANDOVER_DO_TEARDOWN) {
        world->destination_due = DUE_TEARDOWN;
    }
    if (actions & HANDOVER_DO_DISCARD) {
        note(sink, world->destination_runs, "the destination discarded a guest that may run");
        world->discarded = 1;
        world->torn = 1;
    }
    if (actions & HANDOVER_DO_RESUME) {
        note(sink, !world->torn, "the destination resumed before its lanes were torn down");
        note(sink, !world->loaded, "the destination resumed what it had not loaded");
        note(sink, world->discarded, "the destination resumed what it had discarded");
        world->destination_due = DUE_RESUME;
        world->destination_runs = 1;
    }
    if (actions & HANDOVER_SEND_READY) {
        note(sink, world->discarded, "the destination said READY and has nothing");
        world_send(world, sink, false, MSG_READY);
    }
    if (actions & HANDOVER_SEND_ACTIVE) {
        note(sink, !world->destination_ran, "the destination said ACTIVE and had not run it");
        world_send(world, sink, false, MSG_ACTIVE);
    }
    if (actions & HANDOVER_SEND_GONE) {
        note(sink, !world->discarded, "the destination said GONE and had it");
        world_send(world, sink, false, MSG_GONE);
    }
    if (actions & HANDOVER_SEND_UNKNOWN)
        world_send(world, sink, false, MSG_UNKNOWN);
    if (actions & HANDOVER_SEND_ABORT)
        world_send(world, sink, false, MSG_ABORT);
    if (actions & HANDOVER_DO_AWAIT)
        world->awaiting = 1;
}

/* Feed one event to one side of a copy of the world, and emit what can come of it. */
void world_feed(const struct world *world, struct world_sink *sink, bool source, enum handover_event event)
{
    struct world next = *world;
    struct handover h = {source ? HANDOVER_SOURCE : HANDOVER_DESTINATION,
                         source ? (enum handover_state)world->source : (enum handover_state)world->destination};
    uint32_t actions = sink->step(&h, event);

    note(sink, actions & HANDOVER_PROTOCOL_ERROR, "an honest peer was accused");
    note(sink, actions & HANDOVER_UNEXPECTED, "an event that rightly came was unexpected");
    note(sink,
         !source && world->committed && (actions & HANDOVER_DO_DISCARD) &&
             (event == HANDOVER_LINK_CLOSED || event == HANDOVER_LINK_LOST || event == HANDOVER_RECONNECT_EXPIRED),
         "a committed guest was discarded because a connection ended");
    if (source) {
        next.source = (uint8_t)h.state;
        source_actions(&next, sink, actions);
    } else {
        next.destination = (uint8_t)h.state;
        destination_actions(&next, sink, actions);
    }
    if (actions & HANDOVER_DO_CUT)
        world_end_side(&next, sink, source, MSG_LOST);
    else if (actions & HANDOVER_DO_CLOSE)
        world_end_side(&next, sink, source, MSG_FIN);
    else
        world_emit(sink, &next);
}

/* ---- what each side may meet ---- */

bool world_is_pending(enum handover_role role, uint8_t state)
{
    struct handover h = {role, (enum handover_state)state};

    return handover_pending(&h);
}

void world_source_result(const struct world *world, struct world_sink *sink)
{
    struct world next = *world;

    next.source_due = DUE_NOTHING;
    if (world->source_due == DUE_PAUSE) {
        world_feed(&next, sink, true, HANDOVER_PAUSE_FAILED);
        next.source_runs = 0;
        world_feed(&next, sink, true, HANDOVER_PAUSED);
    } else {
        world_feed(&next, sink, true, HANDOVER_RESUMED);
        next.source_runs = 0;
        world_feed(&next, sink, true, HANDOVER_RESUME_FAILED);
    }
}

void world_destination_result(const struct world *world, struct world_sink *sink)
{
    struct world next = *world;

    next.destination_due = DUE_NOTHING;
    if (world->destination_due == DUE_TEARDOWN) {
        next.torn = 1;
        world_feed(&next, sink, false, HANDOVER_TORN);
        return;
    }
    next.destination_runs = 0;
    world_feed(&next, sink, false, HANDOVER_RESUME_FAILED);
    next.destination_runs = 1;
    next.destination_ran = 1;
    world_feed(&next, sink, false, HANDOVER_RESUMED);
}

static enum handover_event event_of(uint8_t message)
{
    switch (message) {
    case MSG_READY:
        return HANDOVER_HEARD_READY;
    case MSG_COMMIT:
        return HANDOVER_HEARD_COMMIT;
    case MSG_ACTIVE:
        return HANDOVER_HEARD_ACTIVE;
    case MSG_QUERY:
        return HANDOVER_HEARD_QUERY;
    case MSG_GONE:
        return HANDOVER_HEARD_GONE;
    case MSG_UNKNOWN:
        return HANDOVER_HEARD_UNKNOWN;
    case MSG_ABORT:
        return HANDOVER_HEARD_ABORT;
    case MSG_FIN:
        return HANDOVER_LINK_CLOSED;
    default:
        return HANDOVER_LINK_LOST;
    }
}

static void source_reads(const struct world *world, struct world_sink *sink)
{
    struct world next = *world;
    struct world_connection *link = world_source_link(&next);
    uint8_t message;

    if (!link || link->to_source[0] == MSG_NONE)
        return;
    message = world_queue_take(link->to_source);
    if (message == MSG_FIN || message == MSG_LOST) {
        link->source_open = 0;
        if (!world_queue_ended(link->to_destination))
            world_queue_put(sink, link->to_destination, MSG_LOST);
    }
    world_feed(&next, sink, true, event_of(message));
}

static void source_connects(const struct world *world, struct world_sink *sink)
{
    struct world next = *world;

    if (world->telling)
        next.telling = 0;
    if (world->destination_death == ALIVE || world->restarted) {
        memset(&next.new, 0, sizeof(next.new));
        next.new.exists = next.new.source_open = next.new.destination_open = 1;
        world_feed(&next, sink, true, HANDOVER_RECONNECTED);
    } else if (world->telling) {
        world_emit(sink, &next);
    }
}

/* May happen, but nothing may depend on it for an end to come. */
static void mishaps(const struct world *world, struct world_sink *sink, bool source)
{
    sink->fault = true;
    world_feed(world, sink, source, HANDOVER_CANCEL);
    world_feed(world, sink, source, HANDOVER_FAILED);
    sink->fault = false;
}

void world_source_moves(const struct world *world, struct world_sink *sink)
{
    if (world->source_due) {
        world_source_result(world, sink);
        return;
    }
    if (world->source == HANDOVER_S_ACTIVE)
        world_feed(world, sink, true, HANDOVER_SWITCH_OVER);
    if (world->source == HANDOVER_S_PAUSED)
        world_feed(world, sink, true, HANDOVER_ALL_SENT);
    mishaps(world, sink, true);
    world_feed(world, sink, true, HANDOVER_TIMEOUT);
    source_reads(world, sink);
    if (world->seeking && world_is_pending(HANDOVER_SOURCE, world->source))
        world_feed(world, sink, true, HANDOVER_RECONNECT_EXPIRED);
    if (world->source == HANDOVER_S_RECONNECT || world->telling)
        source_connects(world, sink);
    if (!world_is_pending(HANDOVER_SOURCE, world->source)) {
        struct world next = *world;

        next.source_death = ENDED;
        next.telling = 0;
        world_end_side(&next, sink, true, MSG_FIN);
    }
}

static void destination_reads(const struct world *world, struct world_sink *sink)
{
    struct world next = *world;
    struct world_connection *link = world_destination_link(&next);
    uint8_t message;

    if (!link || link->to_destination[0] == MSG_NONE)
        return;
    message = world_queue_take(link->to_destination);
    if (message == MSG_PREPARE) {
        next.prepared = 1;
        world_emit(sink, &next);
        return;
    }
    if (message == MSG_FIN || message == MSG_LOST) {
        link->destination_open = 0;
        if (!world_queue_ended(link->to_source))
            world_queue_put(sink, link->to_source, MSG_LOST);
    }
    world_feed(&next, sink, false, event_of(message));
}

/* Rule 2: the new connection replaces the old one, unread messages and all. */
static void destination_accepts(const struct world *world, struct world_sink *sink)
{
    struct world next = *world;

    if (!world->new.exists || world->new.to_destination[0] != MSG_QUERY)
        return;
    next.old = world->new;
    memset(&next.new, 0, sizeof(next.new));
    world_queue_take(next.old.to_destination);
    world_feed(&next, sink, false, HANDOVER_HEARD_QUERY);
}

void world_destination_moves(const struct world *world, struct world_sink *sink)
{
    if (world->destination_due) {
        world_destination_result(world, sink);
        return;
    }
    if (world->destination == HANDOVER_D_RECEIVING && world->prepared) {
        struct world next = *world;

        next.loaded = 1;
        world_feed(&next, sink, false, HANDOVER_LOADED);
    }
    mishaps(world, sink, false);
    world_feed(world, sink, false, HANDOVER_TIMEOUT);
    destination_reads(world, sink);
    destination_accepts(world, sink);
    if (world->awaiting)
        world_feed(world, sink, false, HANDOVER_RECONNECT_EXPIRED);
    if (!world_is_pending(HANDOVER_DESTINATION, world->destination)) {
        struct world next = *world;

        next.destination_death = ENDED;
        world_refuse_new(&next, sink);
        world_end_side(&next, sink, false, MSG_FIN);
        world_end_side(&next, sink, false, MSG_LOST);
    }
}
