/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/plan_json.h"

static struct json_object *worker_json(const struct plan_input *input, const struct plan_worker *worker)
{
    const struct topology *t = input->topology;
    struct json_object *object = json_object_new_object();
    char cpus[1024] = "";

    json_object_object_add(object, "worker", json_object_new_uint64(worker->lane));
    json_object_object_add(object, "lane", json_object_new_uint64(worker->lane));
    json_object_object_add(object, "node", json_object_new_uint64(t->nodes[worker->node].number));
    if (worker->cpu_node != PLAN_NONE) {
        json_object_object_add(object, "cpu_node", json_object_new_uint64(t->nodes[worker->cpu_node].number));
        cpu_bits_text(&t->nodes[worker->cpu_node].cpus, cpus, sizeof(cpus));
    }
    json_object_object_add(object, "cpus", json_object_new_string(cpus));
    json_object_object_add(object, "rail",
                           worker->rail == PLAN_NONE ? NULL : json_object_new_string(input->rails[worker->rail].name));
    json_object_object_add(object, "shard_bytes", json_object_new_uint64(worker->shard_bytes));
    json_object_object_add(object, "shard_part", json_object_new_uint64(worker->shard_part));
    json_object_object_add(object, "shard_parts", json_object_new_uint64(worker->shard_parts));
    return object;
}

struct json_object *plan_json(const struct plan_input *input, const struct plan *plan)
{
    struct json_object *object = json_object_new_object(), *workers = json_object_new_array(),
                       *served = json_object_new_array();

    for (uint32_t i = 0; i < plan->n_workers; i++)
        json_object_array_add(workers, worker_json(input, &plan->workers[i]));
    for (uint32_t i = 0; i < input->topology->n_nodes; i++) {
        struct json_object *pair;

        if (plan->server[i] == (int)i || !input->node_bytes[i])
            continue;
        pair = json_object_new_object();
        json_object_object_add(pair, "node", json_object_new_uint64(input->topology->nodes[i].number));
        json_object_object_add(pair, "by", json_object_new_uint64(input->topology->nodes[plan->server[i]].number));
        json_object_array_add(served, pair);
    }
    json_object_object_add(object, "workers", workers);
    json_object_object_add(object, "served", served);
    return object;
}
