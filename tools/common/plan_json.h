/* SPDX-License-Identifier: BSD-2-Clause */
/* A plan (numa/plan.h) as JSON. */
#ifndef TOOLS_COMMON_PLAN_JSON_H
#define TOOLS_COMMON_PLAN_JSON_H

#include <json-c/json.h>

#include "numa/plan.h"

/* {"workers":[{worker, lane, node, cpu_node, cpus, rail, shard_bytes, shard_part, shard_parts}], "served":[{node,
 * by}]}: served has the nodes whose memory another node's workers send. A new object, the caller's. */
struct json_object *plan_json(const struct plan_input *input, const struct plan *plan);

#endif
