/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration as JSON: libtern's events, results and errors become the objects that DESIGN.md's contract lists.
 * Invariant: the members of "downtime" add up to "downtime_ms". Every function returns a new object, the caller's. */
#ifndef TOOLS_COMMON_REPORT_H
#define TOOLS_COMMON_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>

#include "migrate/tern.h"

/* These three have time_ms: when they were made, in ms since 1970.
 * event = phase | round | progress | warning */
struct json_object *json_of_event(const struct tern_event *event);
/* event = error: side, code, message, hint */
struct json_object *json_of_error(const struct tern_error *error);
/* event = done, ok, and the members of done (may be NULL, stays the caller's) */
struct json_object *json_of_done(bool ok, struct json_object *done);
/* The members of a migration's done. */
struct json_object *json_of_result(const struct tern_result *result);

/* report_nodes: "node 0: 1,024 pages, node 1: ..." into text, "" with one NUMA node. returns text */
char *report_nodes(const struct tern_result *result, char *text, size_t capacity);

/* Names as they stand in JSON. */
const char *phase_name(enum tern_phase phase);
const char *side_name(enum tern_side side);
const char *outcome_name(enum tern_outcome outcome);
/* All went as was asked. */
static inline bool outcome_is_good(enum tern_outcome outcome)
{
    return outcome != TERN_OUTCOME_FAILED && outcome != TERN_OUTCOME_IN_DOUBT;
}

/* Milliseconds with three decimals. */
struct json_object *json_of_ms(uint64_t ns);

/* The other way: fill *error from an error event. */
void json_read_error(struct json_object *event, struct tern_error *error);
/* A member as text ("" if missing) or number (0 if missing). */
const char *json_member_text(struct json_object *object, const char *name);
uint64_t json_member_number(struct json_object *object, const char *name);
double json_member_double(struct json_object *object, const char *name);
bool json_member_flag(struct json_object *object, const char *name);

#endif
