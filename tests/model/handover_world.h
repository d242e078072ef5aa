/* SPDX-License-Identifier: BSD-2-Clause */
/* A world for the handover: both state machines, the connections between them, two guests, an operator, and all that
 * can go wrong. world_successors lists every world that one event can make of a given one; the test walks
 * them all. Knows the rules of handover.h for sessions, and obeys them.
 *
 * A connection is two queues; how a direction ends is its last entry: MSG_FIN (in order) or MSG_LOST.
 */
#ifndef TESTS_MODEL_HANDOVER_WORLD_H
#define TESTS_MODEL_HANDOVER_WORLD_H

#include "migrate/handover.h"

#define WORLD_QUEUE 8

enum world_message {
    MSG_NONE,
    MSG_PREPARE,
    MSG_READY,
    MSG_COMMIT,
    MSG_ACTIVE,
    MSG_QUERY,
    MSG_GONE,
    MSG_UNKNOWN,
    MSG_ABORT,
    MSG_FIN,
    MSG_LOST,
};

enum world_death {
    ALIVE,
    ENDED,        /* the session ended by itself: its guest is what it was */
    SESSION_DIED, /* the session's process died, its guest (a QEMU) is what it was */
    GUEST_DIED,   /* both died */
};

enum world_owner {
    OWNER_UNSAID,
    OWNER_SOURCE,
    OWNER_DESTINATION,
};

/* All uint8_t, so that worlds can be hashed and compared as bytes. */
struct world_connection {
    uint8_t exists;
    uint8_t source_open, destination_open; /* that end still reads and writes */
    uint8_t to_destination[WORLD_QUEUE];
    uint8_t to_source[WORLD_QUEUE];
};

struct world {
    uint8_t source, destination;         /* enum handover_state */
    uint8_t source_due, destination_due; /* an action whose result must be fed next */
    uint8_t source_death, destination_death;
    uint8_t restarted; /* a new destination process answers UNKNOWN */
    uint8_t prepared;  /* PREPARE was read */
    uint8_t awaiting, seeking, telling;
    uint8_t owner;
    /* the truth about the guests */
    uint8_t source_runs, destination_runs; /* may run */
    uint8_t destination_ran, loaded, torn, discarded, released, committed;
    struct world_connection old, new; /* the destination's present one; one that it has not accepted yet */
};

typedef uint32_t world_step_fn(struct handover *h, enum handover_event event);

struct world_sink {
    world_step_fn *step;
    void (*take)(void *opaque, const struct world *next);
    void *opaque;
    bool fault;            /* what is taken now was made by a crash, a cut, a cancel or a failure */
    const char *violation; /* the first seen while stepping; NULL: none */
};

void world_init(struct world *world);
void world_successors(const struct world *world, struct world_sink *sink);

/* NULL, or which promise this world breaks. */
const char *world_violation(const struct world *world);

/* Nothing more will happen but by the operator. */
bool world_is_final(const struct world *world);

#endif
