/* SPDX-License-Identifier: BSD-2-Clause */
/* Options as members of a JSON object: {"to":"host:7471","downtime-limit":"50ms","lanes":4,"verify":true}. */
#ifndef TOOLS_COMMON_OPTIONS_JSON_H
#define TOOLS_COMMON_OPTIONS_JSON_H

#include <json-c/json.h>

#include "tools/common/options.h"

/* options_from_json: every member but skip must be an option of command; the texts live as long as object does. */
int options_from_json(const struct option_table *table, unsigned command, struct json_object *object, const char *skip,
                      struct option_texts *out, struct tern_error *error);
/* options_to_json: add to object those of texts that command takes. */
void options_to_json(const struct option_table *table, unsigned command, const struct option_texts *texts,
                     struct json_object *object);

#endif
