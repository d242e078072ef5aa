/* SPDX-License-Identifier: BSD-2-Clause */
/* The connections of the world: queues, ends, and what a cut takes with it. */
#include "tests/model/handover_parts.h"

#include <stddef.h>
#include <string.h>

/* ---- queues ---- */

unsigned world_queue_length(const uint8_t *queue)
{
    unsigned n = 0;

    while (n < WORLD_QUEUE && queue[n] != MSG_NONE)
        n++;
    return n;
}

bool world_queue_ended(const uint8_t *queue)
{
    unsigned n = world_queue_length(queue);

    return n > 0 && (queue[n - 1] == MSG_FIN || queue[n - 1] == MSG_LOST);
}

void world_queue_put(struct world_sink *sink, uint8_t *queue, enum world_message message)
{
    unsigned n = world_queue_length(queue);

    if (world_queue_ended(queue))
        return;
    if (n + 1 >= WORLD_QUEUE) {
        sink->violation = "a queue overflowed: somebody repeats himself";
        return;
    }
    queue[n] = (uint8_t)message;
}

uint8_t world_queue_take(uint8_t *queue)
{
    uint8_t message = queue[0];

    memmove(queue, queue + 1, WORLD_QUEUE - 1);
    queue[WORLD_QUEUE - 1] = MSG_NONE;
    return message;
}

/* Keep the first n messages, then the end. */
void world_queue_end(uint8_t *queue, unsigned n, enum world_message how)
{
    memset(queue + n, MSG_NONE, WORLD_QUEUE - n);
    queue[n] = (uint8_t)how;
}

/* ---- connections ---- */

/* The source's present connection: the newer one, if it has its end open. */
struct world_connection *world_source_link(struct world *world)
{
    if (world->new.exists && world->new.source_open)
        return &world->new;
    if (world->old.exists && world->old.source_open)
        return &world->old;
    return NULL;
}

struct world_connection *world_destination_link(struct world *world)
{
    return world->old.exists && world->old.destination_open ? &world->old : NULL;
}

void world_send(struct world *world, struct world_sink *sink, bool from_source, enum world_message message)
{
    struct world_connection *link = from_source ? world_source_link(world) : world_destination_link(world);

    if (!link)
        return;
    if (from_source)
        world_queue_put(sink, link->to_destination, message);
    else
        world_queue_put(sink, link->to_source, message);
}

/* A connection that neither end holds any more is forgotten, so that equal worlds are equal bytes. */
static void tidy(struct world_connection *link)
{
    if (link->exists && !link->source_open)
        memset(link->to_source, 0, sizeof(link->to_source));
    if (link->exists && !link->destination_open)
        memset(link->to_destination, 0, sizeof(link->to_destination));
    if (link->exists && !link->source_open && !link->destination_open)
        memset(link, 0, sizeof(*link));
}

/* Nobody will accept it any more. */
void world_refuse_new(struct world *world, struct world_sink *sink)
{
    if (!world->new.exists || !world->new.destination_open)
        return;
    world->new.destination_open = 0;
    world_queue_put(sink, world->new.to_source, MSG_LOST);
}

void world_emit(struct world_sink *sink, struct world *world)
{
    tidy(&world->old);
    tidy(&world->new);
    if (world->new.exists && !world->new.source_open && world->new.to_destination[0] == MSG_LOST)
        memset(&world->new, 0, sizeof(world->new));
    sink->take(sink->opaque, world);
}

/* One end goes. how: FIN, or LOST after any part of what the peer has not read yet. Emits each outcome. */
void world_end_side(const struct world *world, struct world_sink *sink, bool source, enum world_message how)
{
    struct world next = *world;
    struct world_connection *link = source ? world_source_link(&next) : world_destination_link(&next);
    unsigned n;

    if (!link) {
        world_emit(sink, &next);
        return;
    }
    uint8_t *queue = source ? link->to_destination : link->to_source;

    if (source)
        link->source_open = 0;
    else
        link->destination_open = 0;
    if (world_queue_ended(queue)) {
        world_emit(sink, &next);
        return;
    }
    n = world_queue_length(queue);
    for (unsigned kept = how == MSG_FIN ? n : 0; kept <= n; kept++) {
        struct world branch = next;

        world_queue_end(queue == next.old.to_destination   ? branch.old.to_destination
                        : queue == next.new.to_destination ? branch.new.to_destination
                        : queue == next.old.to_source      ? branch.old.to_source
                                                           : branch.new.to_source,
                        kept, how);
        world_emit(sink, &branch);
    }
}
