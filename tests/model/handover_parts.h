/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the files of the world only. */
#ifndef TESTS_MODEL_HANDOVER_PARTS_H
#define TESTS_MODEL_HANDOVER_PARTS_H

#include "tests/model/handover_world.h"

/* An action whose result must be fed before anything else. */
enum world_due { DUE_NOTHING, DUE_PAUSE, DUE_TEARDOWN, DUE_RESUME };

unsigned world_queue_length(const uint8_t *queue);
bool world_queue_ended(const uint8_t *queue);
void world_queue_put(struct world_sink *sink, uint8_t *queue, enum world_message message);
uint8_t world_queue_take(uint8_t *queue);
void world_queue_end(uint8_t *queue, unsigned n, enum world_message how);

/* The present connection of a side, or NULL. */
struct world_connection *world_source_link(struct world *world);
struct world_connection *world_destination_link(struct world *world);
void world_send(struct world *world, struct world_sink *sink, bool from_source, enum world_message message);
void world_refuse_new(struct world *world, struct world_sink *sink);

/* Hand a finished world to the sink. */
void world_emit(struct world_sink *sink, struct world *world);
void world_end_side(const struct world *world, struct world_sink *sink, bool source, enum world_message how);

void world_feed(const struct world *world, struct world_sink *sink, bool source, enum handover_event event);
bool world_is_pending(enum handover_role role, uint8_t state);
void world_source_result(const struct world *world, struct world_sink *sink);
void world_destination_result(const struct world *world, struct world_sink *sink);
void world_source_moves(const struct world *world, struct world_sink *sink);
void world_destination_moves(const struct world *world, struct world_sink *sink);

#endif
