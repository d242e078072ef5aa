/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "tools/tern/doctor.h"

static void add_text(struct json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *name, uint64_t value)
{
    json_object_object_add(object, name, json_object_new_uint64(value));
}

static void add_flag(struct json_object *object, const char *name, bool value)
{
    json_object_object_add(object, name, json_object_new_boolean(value));
}

/* null: it does not say. */
static void add_node(struct json_object *object, int32_t node)
{
    json_object_object_add(object, "node", node == TOPOLOGY_UNKNOWN ? NULL : json_object_new_int(node));
}

static struct json_object *nodes_json(const struct topology *t)
{
    struct json_object *nodes = json_object_new_array();

    for (uint32_t i = 0; i < t->n_nodes; i++) {
        struct json_object *node = json_object_new_object(), *distances = json_object_new_array();
        char cpus[1024];

        add_number(node, "node", t->nodes[i].number);
        add_text(node, "cpus", cpu_bits_text(&t->nodes[i].cpus, cpus, sizeof(cpus)));
        add_number(node, "memory_bytes", t->nodes[i].memory_bytes);
        add_number(node, "free_bytes", t->nodes[i].free_bytes);
        add_number(node, "cache_bytes", t->nodes[i].cache_bytes);
        add_flag(node, "may_allocate", t->nodes[i].may_allocate);
        for (uint32_t j = 0; j < t->n_nodes; j++)
            json_object_array_add(distances, json_object_new_int(t->distance[i][j]));
        json_object_object_add(node, "distances", distances);
        json_object_array_add(nodes, node);
    }
    return nodes;
}

static struct json_object *cards_json(const struct topology *t)
{
    struct json_object *cards = json_object_new_array();

    for (uint32_t i = 0; i < t->n_devices; i++) {
        struct json_object *card = json_object_new_object();

        if (t->devices[i].is_rdma) {
            json_object_put(card);
            continue;
        }
        add_text(card, "name", t->devices[i].name);
        add_node(card, t->devices[i].node);
        json_object_array_add(cards, card);
    }
    return cards;
}

static struct json_object *ports_json(const struct doctor_facts *facts)
{
    struct json_object *ports = json_object_new_array();

    for (uint32_t i = 0; i < facts->n_ports; i++) {
        const struct doctor_port *from = &facts->ports[i];
        struct json_object *port = json_object_new_object();

        add_text(port, "device", from->device);
        add_number(port, "port", from->port);
        add_text(port, "state", from->state);
        add_text(port, "link_layer", from->link_layer);
        add_text(port, "netdev", from->netdev);
        add_node(port, from->node);
        add_text(port, "gids", from->gids);
        json_object_array_add(ports, port);
    }
    return ports;
}

static struct json_object *huge_json(const struct doctor_facts *facts)
{
    struct json_object *sizes = json_object_new_array();

    for (uint32_t i = 0; i < facts->n_huge; i++) {
        struct json_object *size = json_object_new_object();

        add_number(size, "page_bytes", facts->huge[i].page_bytes);
        add_number(size, "total", facts->huge[i].total);
        add_number(size, "free", facts->huge[i].free);
        json_object_array_add(sizes, size);
    }
    return sizes;
}

struct json_object *doctor_json(const struct doctor_facts *facts)
{
    struct json_object *object = json_object_new_object(), *hints = json_object_new_array();
    const char *texts[DOCTOR_HINTS_MAX];
    uint32_t n = doctor_hints(facts, texts);

    add_text(object, "kernel", facts->kernel);
    json_object_object_add(object, "nodes", nodes_json(&facts->topology));
    json_object_object_add(object, "rdma", ports_json(facts));
    json_object_object_add(object, "network_cards", cards_json(&facts->topology));
    add_flag(object, "uverbs", facts->has_verbs);
    add_flag(object, "rdma_cm", facts->has_rdma_cm);
    if (facts->memlock_bytes == DOCTOR_UNLIMITED)
        add_text(object, "memlock_bytes", "unlimited");
    else
        add_number(object, "memlock_bytes", facts->memlock_bytes);
    add_flag(object, "may_exceed_memlock", facts->may_exceed_memlock);
    add_flag(object, "kvm", !facts->kvm);
    add_flag(object, "userfaultfd", !facts->userfaultfd);
    add_flag(object, "wp_async", facts->has_wp_async);
    add_flag(object, "pagemap_scan", facts->has_pagemap_scan);
    add_flag(object, "soft_dirty", facts->has_soft_dirty);
    json_object_object_add(object, "huge_pages", huge_json(facts));
    for (uint32_t i = 0; i < n; i++)
        json_object_array_add(hints, json_object_new_string(texts[i]));
    json_object_object_add(object, "hints", hints);
    return object;
}
