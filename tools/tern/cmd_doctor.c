/* SPDX-License-Identifier: BSD-2-Clause */
/* tern doctor: what this host can do for tern, and how a guest would be shared out among its NUMA nodes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "numa/plan.h"
#include "tools/common/plan_json.h"
#include "tools/common/units.h"
#include "tools/tern/cli.h"
#include "tools/tern/doctor.h"
#include "tools/tern/say.h"
#include "transport/error.h"
#include "transport/link.h"

#define LANES_AUTO_MAX 4u
#define TEXT_BYTES     16384

/* Of a guest whose memory lies evenly on the nodes that have any for us. */
static void spread(const struct topology *t, uint64_t memory_bytes, uint64_t node_bytes[TOPOLOGY_NODES_MAX])
{
    uint32_t n = 0, given = 0;

    for (uint32_t i = 0; i < t->n_nodes; i++)
        n += t->nodes[i].memory_bytes && t->nodes[i].may_allocate;
    for (uint32_t i = 0; i < t->n_nodes && n; i++)
        if (t->nodes[i].memory_bytes && t->nodes[i].may_allocate) {
            node_bytes[i] = memory_bytes * (given + 1) / n - memory_bytes * given / n;
            given++;
        }
}

static uint32_t choose_lanes(const struct topology *t, const uint64_t *node_bytes)
{
    uint32_t cpus = 0;

    for (uint32_t i = 0; i < t->n_nodes; i++)
        cpus += t->nodes[i].n_cpus;
    cpus = cpus < 1 ? 1 : cpus > LANES_AUTO_MAX ? LANES_AUTO_MAX : cpus;
    return plan_lanes(t, node_bytes, cpus);
}

/* Is name one of the comma-separated names, or are there none? */
static bool is_named(const char *names, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = names; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == length && !strncmp(at, name, length))
            return true;
    return !names;
}

/* As many as a link has at most. */
static uint32_t take_rails(const struct doctor_facts *facts, const char *names, struct plan_rail rails[LINK_RAILS_MAX])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < facts->n_ports && n < LINK_RAILS_MAX; i++)
        if (facts->ports[i].is_active && facts->ports[i].gids[0] && is_named(names, facts->ports[i].device)) {
            memcpy(rails[n].name, facts->ports[i].device, sizeof(rails[n].name));
            rails[n++].node = facts->ports[i].node;
        }
    return n;
}

static int print_plan(const struct doctor_facts *facts, const struct cli_values *values, struct json_object *into)
{
    uint64_t node_bytes[TOPOLOGY_NODES_MAX] = {0};
    struct plan_rail rails[LINK_RAILS_MAX] = {0};
    struct plan_input input = {.topology = &facts->topology, .node_bytes = node_bytes, .rails = rails};
    char *text, size[UNITS_TEXT_BYTES];
    struct plan plan;

    spread(&facts->topology, values->memory_bytes, node_bytes);
    input.n_rails = take_rails(facts, values->migration.device, rails);
    input.n_lanes =
        values->migration.lanes ? (uint32_t)values->migration.lanes : choose_lanes(&facts->topology, node_bytes);
    plan_make(&input, &plan);
    if (into) {
        json_object_object_add(into, "plan", plan_json(&input, &plan));
        return 0;
    }
    text = malloc(TEXT_BYTES);
    if (!text)
        return -ENOMEM;
    plan_text(&input, &plan, text, TEXT_BYTES);
    printf("plan for a guest of %s that lies evenly on the nodes\n%s", units_size(values->memory_bytes, size), text);
    free(text);
    if (input.n_rails > 1 && !values->migration.device)
        puts("  a migration rides these rails where --device names them at both sides, else the one of its address");
    return 0;
}

int cmd_doctor(const struct cli_invocation *invocation)
{
    const struct cli_values *values = invocation->values;
    struct doctor_facts *facts = calloc(1, sizeof(*facts));
    struct json_object *object = NULL;
    struct tern_error error = {0};
    int r = facts ? doctor_read(facts, &error) : error_set(&error, -ENOMEM, NULL, "out of memory");

    if (!r && values->json)
        object = doctor_json(facts);
    else if (!r && !values->plan)
        doctor_text(facts, stdout);
    if (!r && values->plan && print_plan(facts, values, object))
        r = error_set(&error, -ENOMEM, NULL, "out of memory");
    if (object)
        puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
    free(facts);
    return r ? say_error(&error) : CLI_EXIT_OK;
}

_Static_assert(PLAN_WORKERS_MAX >= LINK_LANES_MAX, "a plan must have room for every lane");
