/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/facts_disks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 64u /* of filters and backing files under a device */
#define NOWHERE   UINT64_MAX

/* ---- the graph: ids, and edges from parent to child ---- */

static struct json_object *list(struct json_object *object, const char *member)
{
    struct json_object *found = NULL;

    return json_object_object_get_ex(object, member, &found) && json_object_is_type(found, json_type_array) ? found
                                                                                                            : NULL;
}

static size_t length(struct json_object *array)
{
    return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static uint64_t id_of_node(struct json_object *graph, const char *name)
{
    struct json_object *nodes = list(graph, "nodes");

    for (size_t i = 0; name && i < length(nodes); i++) {
        struct json_object *node = json_object_array_get_idx(nodes, i);
        const char *type = qmp_text(node, "type"), *known = qmp_text(node, "name");

        if (type && known && !strcmp(type, "block-driver") && !strcmp(known, name))
            return qmp_number(node, "id", NOWHERE);
    }
    return NOWHERE;
}

static bool is_under(struct json_object *graph, uint64_t top, uint64_t id, uint32_t depth)
{
    struct json_object *edges = list(graph, "edges");

    if (top == id)
        return true;
    for (size_t i = 0; depth && i < length(edges); i++) {
        struct json_object *edge = json_object_array_get_idx(edges, i);

        if (qmp_number(edge, "parent", NOWHERE) == top &&
            is_under(graph, qmp_number(edge, "child", NOWHERE), id, depth - 1))
            return true;
    }
    return false;
}

/* ---- nodes and devices ---- */

/* How this node reads; NULL: by copying. */
static struct qemu_disk *kind_of(struct json_object *node, struct qemu_facts *facts)
{
    static const char *const drivers[] = {"nvme", "nvme-io_uring", "virtio-blk-vfio-pci", "virtio-blk-vhost-user",
                                          "virtio-blk-vhost-vdpa"};
    const char *driver = qmp_text(node, "drv");
    struct json_object *cache;

    for (size_t i = 0; driver && i < sizeof(drivers) / sizeof(*drivers); i++)
        if (!strcmp(driver, drivers[i]))
            return &facts->dma_disk;
    return json_object_object_get_ex(node, "cache", &cache) && qmp_truth(cache, "direct", false) ? &facts->direct_disk
                                                                                                 : NULL;
}

static bool device_has(struct json_object *device, struct json_object *graph, const char *node)
{
    struct json_object *inserted;
    uint64_t top, id;

    if (!qmp_text(device, "qdev") || !json_object_object_get_ex(device, "inserted", &inserted))
        return false;
    if (!graph)
        return true;
    top = id_of_node(graph, qmp_text(inserted, "node-name"));
    id = id_of_node(graph, node);
    return top != NOWHERE && id != NOWHERE && is_under(graph, top, id, DEPTH_MAX);
}

/* The name of a -drive; else the device's id, from a path like /machine/peripheral/ID/virtio-backend. */
static void name_device(struct json_object *device, char *out)
{
    static const char folder[] = "/machine/peripheral/";
    const char *name = qmp_text(device, "device"), *path = qmp_text(device, "qdev");

    if (name && *name)
        snprintf(out, FACTS_NAME_BYTES, "%s", name);
    else if (!strncmp(path, folder, sizeof(folder) - 1))
        snprintf(out, FACTS_NAME_BYTES, "%.*s", (int)strcspn(path + sizeof(folder) - 1, "/"),
                 path + sizeof(folder) - 1);
    else
        snprintf(out, FACTS_NAME_BYTES, "%s", path);
}

static void find_device(struct json_object *devices, struct json_object *graph, struct json_object *node,
                        struct qemu_disk *out)
{
    const char *name = qmp_text(node, "node-name"), *driver = qmp_text(node, "drv");

    for (size_t i = 0; name && i < length(devices); i++) {
        struct json_object *device = json_object_array_get_idx(devices, i);

        if (!device_has(device, graph, name))
            continue;
        name_device(device, out->name);
        snprintf(out->node, sizeof(out->node), "%s", name);
        snprintf(out->driver, sizeof(out->driver), "%s", driver ? driver : "");
        return;
    }
}

void facts_find_disks(struct json_object *devices, struct json_object *nodes, struct json_object *graph,
                      struct qemu_facts *out)
{
    for (size_t i = 0; i < length(nodes); i++) {
        struct json_object *node = json_object_array_get_idx(nodes, i);
        struct qemu_disk *disk = kind_of(node, out);

        if (disk && !*disk->name)
            find_device(devices, graph, node, disk);
    }
}

int facts_read_disks(struct qmp *qmp, struct qemu_facts *out, struct tern_error *error)
{
    struct json_object *devices = NULL, *nodes = NULL, *graph = NULL;
    int r = qmp_command(qmp, "query-block", NULL, QMP_TIMEOUT_MS, &devices, error);

    if (!r)
        r = qmp_command(qmp, "query-named-block-nodes", NULL, QMP_TIMEOUT_MS, &nodes, error);
    if (!r) {
        r = qmp_command(qmp, "x-debug-query-block-graph", NULL, QMP_TIMEOUT_MS, &graph, error);
        r = r == -ENOSYS ? 0 : r; /* of no stable interface: since 4.0 */
    }
    if (!r)
        facts_find_disks(devices, nodes, graph, out);
    json_object_put(devices);
    json_object_put(nodes);
    json_object_put(graph);
    return r;
}
