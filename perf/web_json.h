/* SPDX-License-Identifier: BSD-2-Clause */
/* A run of the web experiment (web_run.h) as members of a JSON object, and back. The manual page lists them. */
#ifndef PERF_WEB_JSON_H
#define PERF_WEB_JSON_H

#include <json-c/json.h>

#include "perf/web_run.h"

/* web_json_add: into an object that has slot_ms and slot_bytes, or with slots adds these, too. */
void web_json_add(struct json_object *object, const struct web_run *run, bool slots);

/* web_json_read: *out is to be released. errors -EINVAL object is no such run; -ENOMEM */
int web_json_read(struct json_object *object, struct web_run *out, struct tern_error *error);

/* web_json_slots: n_slots values. */
struct json_object *web_json_slots(const uint64_t *slot_bytes, uint64_t n_slots);

#endif
