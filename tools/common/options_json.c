/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/options_json.h"

#include <errno.h>
#include <string.h>

#include "transport/error.h"

/* The text of one member; NULL and 0 for a flag that is false. */
static int member_text(const struct option_spec *spec, struct json_object *value, const char **out,
                       struct tern_error *error)
{
    enum json_type type = json_object_get_type(value);

    if (spec->kind == OPTION_FLAG) {
        if (type != json_type_boolean)
            return error_set(error, -EINVAL, NULL, "member '%s' must be true or false", spec->name);
        *out = json_object_get_boolean(value) ? "" : NULL;
        return 0;
    }
    if (type != json_type_string && type != json_type_int)
        return error_set(error, -EINVAL, NULL, "member '%s' must be a string: %s", spec->name, spec->argument);
    *out = json_object_get_string(value);
    if (type == json_type_string && strlen(*out) != (size_t)json_object_get_string_len(value))
        return error_set(error, -EINVAL, NULL, "member '%s' has a zero byte in it", spec->name);
    return 0;
}

int options_from_json(const struct option_table *table, unsigned command, struct json_object *object, const char *skip,
                      struct option_texts *out, struct tern_error *error)
{
    struct option_texts texts = {0};
    struct json_object_iterator at = json_object_iter_begin(object);
    struct json_object_iterator end = json_object_iter_end(object);

    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *name = json_object_iter_peek_name(&at);
        int index = options_find(table, command, name, strlen(name));
        int r;

        if (!strcmp(name, skip))
            continue;
        if (index < 0)
            return error_set(error, -EINVAL, NULL, "unknown member '%.60s'", name);
        r = member_text(&table->specs[index], json_object_iter_peek_value(&at), &texts.text[index], error);
        if (r)
            return r;
    }
    *out = texts;
    return 0;
}

void options_to_json(const struct option_table *table, unsigned command, const struct option_texts *texts,
                     struct json_object *object)
{
    for (size_t i = 0; i < table->n_specs; i++) {
        const struct option_spec *spec = &table->specs[i];

        if (!texts->text[i] || !(spec->commands & (1u << command)))
            continue;
        json_object_object_add(object, spec->name,
                               spec->kind == OPTION_FLAG ? json_object_new_boolean(1)
                                                         : json_object_new_string(texts->text[i]));
    }
}
