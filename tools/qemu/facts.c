/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading what refuse.c decides by. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/qemu/facts_disks.h"
#include "tools/qemu/refuse.h"
#include "transport/error.h"

static void copy(char *to, size_t bytes, const char *text)
{
    snprintf(to, bytes, "%s", text ? text : "");
}

static int qom_list(struct qmp *qmp, const char *path, struct json_object **out, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "path", json_object_new_string(path));
    return qmp_command(qmp, "qom-list", arguments, QMP_TIMEOUT_MS, out, error);
}

/* "child<vfio-pci>" is a child of that type; anything else is a property. */
static bool child_type(const char *type, char *out, size_t bytes)
{
    size_t n = type ? strlen(type) : 0;

    if (n < 8 || strncmp(type, "child<", 6) || type[n - 1] != '>')
        return false;
    snprintf(out, bytes, "%.*s", (int)(n - 7), type + 6);
    return true;
}

static bool reports_free_pages(struct qmp *qmp, const char *folder, const char *id)
{
    struct json_object *arguments = json_object_new_object(), *reply = NULL;
    char path[160];
    bool is = false;

    snprintf(path, sizeof(path), "%s/%s", folder, id);
    json_object_object_add(arguments, "path", json_object_new_string(path));
    json_object_object_add(arguments, "property", json_object_new_string("free-page-reporting"));
    /* Before 5.1 there is no such property. */
    if (!qmp_command(qmp, "qom-get", arguments, QMP_TIMEOUT_MS, &reply, NULL))
        is = json_object_get_boolean(reply);
    json_object_put(reply);
    return is;
}

static int read_devices(struct qmp *qmp, const char *folder, struct qemu_facts *out, struct tern_error *error)
{
    struct json_object *list = NULL;
    int r = qom_list(qmp, folder, &list, error);

    for (size_t i = 0; !r && i < json_object_array_length(list); i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);
        struct qemu_device device = {0};

        if (!child_type(qmp_text(entry, "type"), device.type, sizeof(device.type)))
            continue;
        copy(device.id, sizeof(device.id), qmp_text(entry, "name"));
        if (!strncmp(device.type, "virtio-balloon", 14))
            device.reports_free_pages = reports_free_pages(qmp, folder, device.id);
        if (out->n_devices == FACTS_DEVICES_MAX)
            r = error_set(error, -E2BIG, NULL, "QEMU has more than %u devices", FACTS_DEVICES_MAX);
        else
            out->devices[out->n_devices++] = device;
    }
    json_object_put(list);
    return r;
}

static int read_memfds(struct qmp *qmp, struct qemu_facts *out, struct tern_error *error)
{
    struct json_object *list = NULL;
    int r = qom_list(qmp, "/objects", &list, error);

    for (size_t i = 0; !r && i < json_object_array_length(list) && out->n_memfds < RAM_BACKENDS_MAX; i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);
        char type[FACTS_NAME_BYTES];

        if (child_type(qmp_text(entry, "type"), type, sizeof(type)) && !strcmp(type, "memory-backend-memfd"))
            copy(out->memfds[out->n_memfds++], RAM_ID_BYTES, qmp_text(entry, "name"));
    }
    json_object_put(list);
    return r;
}

/* Lines like " \ n0: index=0,type=vhost-user,…". QMP has no query for netdevs. */
static int read_netdevs(struct qmp *qmp, struct qemu_facts *out, struct tern_error *error)
{
    char *text = NULL;
    int r = qmp_human(qmp, "info network", QMP_TIMEOUT_MS, &text, error);

    for (char *line = text, *rest; !r && line && *line && !out->netdev[0]; line = rest) {
        char *type, *name = line + strspn(line, " \\");

        rest = strchrnul(line, '\n');
        if (*rest)
            *rest++ = 0;
        type = strstr(line, ",type=");
        if (!type || (strncmp(type + 6, "vhost-user", 10) && strncmp(type + 6, "vhost-vdpa", 10)))
            continue;
        snprintf(out->netdev, sizeof(out->netdev), "%.*s", (int)strcspn(name, ":"), name);
        snprintf(out->netdev_type, sizeof(out->netdev_type), "%.*s", (int)strcspn(type + 6, ",\r"), type + 6);
    }
    free(text);
    return r;
}

static int read_migration(struct qmp *qmp, struct qemu_facts *out, struct tern_error *error)
{
    struct json_object *reply = NULL, *reasons;
    int r = qmp_command(qmp, "query-migrate", NULL, QMP_TIMEOUT_MS, &reply, error);

    if (!r) {
        copy(out->migration, sizeof(out->migration), qmp_text(reply, "status"));
        if (json_object_object_get_ex(reply, "blocked-reasons", &reasons) &&
            json_object_is_type(reasons, json_type_array) && json_object_array_length(reasons))
            copy(out->blocked, sizeof(out->blocked), json_object_get_string(json_object_array_get_idx(reasons, 0)));
    }
    json_object_put(reply);
    reply = NULL;
    if (!r)
        r = qmp_command(qmp, "query-status", NULL, QMP_TIMEOUT_MS, &reply, error);
    if (!r)
        copy(out->run_state, sizeof(out->run_state), qmp_text(reply, "status"));
    json_object_put(reply);
    return r;
}

static int read_balloon(struct qmp *qmp, struct qemu_facts *out, struct tern_error *error)
{
    struct json_object *reply = NULL;
    int r = qmp_command(qmp, "query-memory-size-summary", NULL, QMP_TIMEOUT_MS, &reply, error);

    if (r)
        return r;
    out->memory_bytes = qmp_number(reply, "base-memory", 0) + qmp_number(reply, "plugged-memory", 0);
    json_object_put(reply);
    reply = NULL;
    r = qmp_command(qmp, "query-balloon", NULL, QMP_TIMEOUT_MS, &reply, error);
    if (!r) {
        out->has_balloon = true;
        out->balloon_bytes = qmp_number(reply, "actual", 0);
        json_object_put(reply);
        return 0;
    }
    /* No balloon (DeviceNotActive), or none that could be asked (KVM without its MMU notifiers): none to fear. */
    return r == -ENODEV || !strcmp(qmp_error_class(qmp), "KVMMissingCap") ? 0 : r;
}

int qemu_facts_read(struct qmp *qmp, struct qemu_facts *out, struct tern_error *error)
{
    int r;

    memset(out, 0, sizeof(*out));
    qmp_version(qmp, &out->major, &out->minor, &out->micro);
    r = read_migration(qmp, out, error);
    if (!r)
        r = read_devices(qmp, "/machine/peripheral", out, error);
    if (!r)
        r = read_devices(qmp, "/machine/peripheral-anon", out, error);
    if (!r)
        r = read_memfds(qmp, out, error);
    if (!r)
        r = read_netdevs(qmp, out, error);
    if (!r)
        r = facts_read_disks(qmp, out, error);
    return r ? r : read_balloon(qmp, out, error);
}
