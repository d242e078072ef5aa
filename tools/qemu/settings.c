/* SPDX-License-Identifier: BSD-2-Clause */
/* source: QEMU qapi/migration.json (MigrationCapability, MigrationParameters) */
#include "tools/qemu/settings.h"

#include <errno.h>
#include <string.h>

#include "transport/error.h"

#define DOWNTIME_LIMIT_MS 60000        /* QEMU's own RAM (ROMs, video) is no reason to go on copying */
#define BANDWIDTH         (1ull << 40) /* bytes a second over a local socket */

static const char *const ours[] = {"x-ignore-shared", "ignore-shared", "pause-before-switchover", "events"};
static const char *const parameters[] = {"max-bandwidth", "downtime-limit"};

static bool is_ours(const char *capability)
{
    for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
        if (!strcmp(capability, ours[i]))
            return true;
    return false;
}

static struct json_object *capability(const char *name, bool state)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "capability", json_object_new_string(name));
    json_object_object_add(object, "state", json_object_new_boolean(state));
    return object;
}

static int set_capabilities(struct qmp *qmp, struct json_object *list, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "capabilities", list);
    return qmp_command(qmp, "migrate-set-capabilities", arguments, QMP_TIMEOUT_MS, NULL, error);
}

/* What is to be changed of what was found; and is there all that we need? */
static struct json_object *wanted(struct json_object *found, bool *can_ignore, bool *can_pause)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < json_object_array_length(found); i++) {
        struct json_object *entry = json_object_array_get_idx(found, i);
        const char *name = qmp_text(entry, "capability");

        if (!name)
            continue;
        *can_ignore |= strstr(name, "ignore-shared") && is_ours(name);
        *can_pause |= !strcmp(name, "pause-before-switchover");
        if (qmp_truth(entry, "state", false) != is_ours(name))
            json_object_array_add(list, capability(name, is_ours(name)));
    }
    return list;
}

static int check_capabilities(const struct qemu_settings *settings, struct tern_error *error)
{
    bool can_ignore = false, can_pause = false;

    if (!json_object_is_type(settings->capabilities, json_type_array))
        return error_set(error, -EPROTO, NULL, "QEMU's list of migration capabilities is none");
    json_object_put(wanted(settings->capabilities, &can_ignore, &can_pause));
    if (can_ignore && can_pause)
        return 0;
    return error_set(error, -ENOTSUP, "QEMU 4.0 and later can", "this QEMU cannot %s",
                     can_ignore ? "stop before its switchover (pause-before-switchover)"
                                : "leave shared RAM to another (x-ignore-shared)");
}

static int set_parameters(struct qmp *qmp, uint64_t bandwidth, uint64_t downtime_limit_ms, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, parameters[0], json_object_new_uint64(bandwidth));
    json_object_object_add(arguments, parameters[1], json_object_new_uint64(downtime_limit_ms));
    return qmp_command(qmp, "migrate-set-parameters", arguments, QMP_TIMEOUT_MS, NULL, error);
}

int settings_read(struct qemu_settings *settings, struct qmp *qmp, bool is_source, struct tern_error *error)
{
    int r;

    *settings = (struct qemu_settings){0};
    r = qmp_command(qmp, "query-migrate-capabilities", NULL, QMP_TIMEOUT_MS, &settings->capabilities, error);
    if (!r)
        r = check_capabilities(settings, error);
    if (!r && is_source)
        r = qmp_command(qmp, "query-migrate-parameters", NULL, QMP_TIMEOUT_MS, &settings->parameters, error);
    if (r)
        settings_release(settings);
    return r;
}

int settings_change(struct qemu_settings *settings, struct qmp *qmp, struct tern_error *error)
{
    bool can_ignore = false, can_pause = false;
    int r = set_capabilities(qmp, wanted(settings->capabilities, &can_ignore, &can_pause), error);

    if (r) {
        settings_release(settings); /* nothing was changed */
        return r;
    }
    if (settings->parameters)
        r = set_parameters(qmp, BANDWIDTH, DOWNTIME_LIMIT_MS, error);
    if (r)
        settings_restore(settings, qmp, NULL);
    return r;
}

int settings_restore(struct qemu_settings *settings, struct qmp *qmp, struct tern_error *error)
{
    struct json_object *list;
    int r = 0, code = 0;

    if (settings->capabilities) {
        list = json_object_new_array();
        for (size_t i = 0; i < json_object_array_length(settings->capabilities); i++) {
            struct json_object *entry = json_object_array_get_idx(settings->capabilities, i);
            const char *name = qmp_text(entry, "capability");

            if (name && qmp_truth(entry, "state", false) != is_ours(name))
                json_object_array_add(list, capability(name, !is_ours(name)));
        }
        r = set_capabilities(qmp, list, error);
    }
    if (settings->parameters)
        code = set_parameters(qmp, qmp_number(settings->parameters, parameters[0], 0),
                              qmp_number(settings->parameters, parameters[1], 300), r ? NULL : error);
    settings_release(settings);
    return r ? r : code;
}

struct json_object *settings_to_json(const struct qemu_settings *settings)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "capabilities", json_object_get(settings->capabilities));
    if (settings->parameters)
        json_object_object_add(object, "parameters", json_object_get(settings->parameters));
    return object;
}

int settings_from_json(struct qemu_settings *settings, struct json_object *object)
{
    struct json_object *capabilities, *found = NULL;

    if (!json_object_object_get_ex(object, "capabilities", &capabilities) ||
        !json_object_is_type(capabilities, json_type_array))
        return -EINVAL;
    json_object_object_get_ex(object, "parameters", &found);
    *settings = (struct qemu_settings){json_object_get(capabilities), json_object_get(found)};
    return 0;
}

void settings_release(struct qemu_settings *settings)
{
    json_object_put(settings->capabilities);
    json_object_put(settings->parameters);
    *settings = (struct qemu_settings){0};
}
