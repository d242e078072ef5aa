/* SPDX-License-Identifier: BSD-2-Clause */
/* source: QEMU qapi/qom.json (object-add, object-del, qom-list), qapi/authz.json (authz-list: no member is mandatory)
 */
#include "tools/qemu/doubt.h"

#include <string.h>

#define MARK "tern-in-doubt"
#define TYPE "authz-list"

static struct json_object *named(void)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "id", json_object_new_string(MARK));
    return arguments;
}

static int is_marked(struct qmp *qmp, bool *marked_out, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object(), *list;
    bool marked = false;
    int r;

    json_object_object_add(arguments, "path", json_object_new_string("/objects"));
    r = qmp_command(qmp, "qom-list", arguments, QMP_TIMEOUT_MS, &list, error);
    if (r)
        return r;
    for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
        const char *name = qmp_text(json_object_array_get_idx(list, i), "name");

        marked |= name && !strcmp(name, MARK);
    }
    json_object_put(list);
    *marked_out = marked;
    return 0;
}

/* QEMU refuses what is done already with no code of its own: so it is looked at. */
static int judge(struct qmp *qmp, int code, bool wanted)
{
    bool marked;

    return code && !is_marked(qmp, &marked, NULL) && marked == wanted ? 0 : code;
}

int doubt_mark(struct qmp *qmp, struct tern_error *error)
{
    struct json_object *arguments = named();

    json_object_object_add(arguments, "qom-type", json_object_new_string(TYPE));
    return judge(qmp, qmp_command(qmp, "object-add", arguments, QMP_TIMEOUT_MS, NULL, error), true);
}

int doubt_clear(struct qmp *qmp, struct tern_error *error)
{
    return judge(qmp, qmp_command(qmp, "object-del", named(), QMP_TIMEOUT_MS, NULL, error), false);
}

void doubt_clear_soon(struct qmp *qmp)
{
    qmp_send(qmp, "object-del", named(), NULL);
}

int doubt_stands(struct qmp *qmp, const char *run_state, bool *stands_out, struct tern_error *error)
{
    bool marked;
    int r = is_marked(qmp, &marked, error);

    if (!r)
        *stands_out = marked && strcmp(run_state, "running") && strcmp(run_state, "inmigrate");
    return r;
}
