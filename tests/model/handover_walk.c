/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/model/handover_walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct edge {
    uint32_t from, to;
};

struct walker {
    struct world *worlds;
    uint32_t *parents;
    uint32_t *table; /* index + 1 of a world, open addressing */
    struct edge *edges;
    size_t n_worlds, max_worlds, table_mask, n_edges, max_edges;
    uint32_t current;
    int error;
    struct world_sink sink;
};

static uint64_t hash_world(const struct world *world)
{
    const uint8_t *bytes = (const uint8_t *)world;
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < sizeof(*world); i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static void add_edge(struct walker *walker, uint32_t to)
{
    struct edge *grown;

    if (walker->n_edges == walker->max_edges) {
        walker->max_edges = walker->max_edges ? walker->max_edges * 2 : 65536;
        grown = realloc(walker->edges, walker->max_edges * sizeof(*grown));
        if (!grown) {
            walker->error = -ENOMEM;
            return;
        }
        walker->edges = grown;
    }
    walker->edges[walker->n_edges++] = (struct edge){walker->current, to};
}

static void take(void *opaque, const struct world *next)
{
    struct walker *walker = opaque;
    size_t slot = hash_world(next) & walker->table_mask;

    if (walker->error)
        return;
    while (walker->table[slot] && memcmp(&walker->worlds[walker->table[slot] - 1], next, sizeof(*next)) != 0)
        slot = (slot + 1) & walker->table_mask;
    if (!walker->table[slot]) {
        if (walker->n_worlds == walker->max_worlds) {
            walker->error = -E2BIG;
            return;
        }
        walker->worlds[walker->n_worlds] = *next;
        walker->parents[walker->n_worlds] = walker->current;
        walker->table[slot] = (uint32_t)++walker->n_worlds;
    }
    if (!walker->sink.fault && walker->table[slot] - 1 != walker->current)
        add_edge(walker, walker->table[slot] - 1);
}

static void say_queue(char *text, size_t bytes, const uint8_t *queue)
{
    static const char *const names[] = {"",     "PREPARE", "READY", "COMMIT", "ACTIVE", "QUERY",
                                        "GONE", "UNKNOWN", "ABORT", "FIN",    "LOST"};
    size_t used = 0;

    text[0] = 0;
    for (int i = 0; i < WORLD_QUEUE && queue[i] != MSG_NONE && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, " %s", names[queue[i]]);
}

static size_t say_world(char *text, size_t bytes, const struct world *world)
{
    char there[96], back[96], new_there[96], new_back[96];
    int n;

    say_queue(there, sizeof(there), world->old.to_destination);
    say_queue(back, sizeof(back), world->old.to_source);
    say_queue(new_there, sizeof(new_there), world->new.to_destination);
    say_queue(new_back, sizeof(new_back), world->new.to_source);
    n = snprintf(text, bytes, "  %s%s | %s%s | ->%s <-%s | new%s ->%s <-%s | runs %u%u owner %u\n",
                 handover_state_name((enum handover_state)world->source), world->source_death ? " (dead)" : "",
                 handover_state_name((enum handover_state)world->destination),
                 world->destination_death ? " (dead)" : "", there, back, world->new.exists ? "" : " none", new_there,
                 new_back, world->source_runs, world->destination_runs, world->owner);
    return n < 0 ? 0 : (size_t)n < bytes ? (size_t)n : bytes - 1;
}

/* From the end back to the beginning. */
static void say_path(const struct walker *walker, struct walk *out)
{
    uint32_t at = walker->current;
    size_t used = 0;

    while (used + 1 < sizeof(out->path)) {
        used += say_world(out->path + used, sizeof(out->path) - used, &walker->worlds[at]);
        if (at == 0)
            break;
        at = walker->parents[at];
    }
}

static void count(const struct world *world, struct walk *out)
{
    out->seen[world->source]++;
    out->seen[world->destination]++;
    if (!world_is_final(world))
        return;
    out->n_final++;
    out->n_migrated += world->source == HANDOVER_S_DONE && world->destination == HANDOVER_D_DONE;
    out->n_doubt += world->source == HANDOVER_S_IN_DOUBT || world->destination == HANDOVER_D_IN_DOUBT;
    out->n_resolved += world->owner != OWNER_UNSAID && world->source_runs + world->destination_runs == 1;
}

/* Worlds from which no final one is reached along the edges: repeated relaxation, backwards over the list. */
static int count_stuck(const struct walker *walker, struct walk *out)
{
    uint8_t *good = calloc(walker->n_worlds, 1);
    bool changed = true;

    if (!good)
        return -ENOMEM;
    for (size_t i = 0; i < walker->n_worlds; i++)
        good[i] = world_is_final(&walker->worlds[i]);
    while (changed) {
        changed = false;
        for (size_t i = walker->n_edges; i-- > 0;) {
            if (!good[walker->edges[i].to] || good[walker->edges[i].from])
                continue;
            good[walker->edges[i].from] = 1;
            changed = true;
        }
    }
    for (size_t i = 0; i < walker->n_worlds; i++)
        out->n_stuck += !good[i];
    free(good);
    return 0;
}

static int walk_from_first(struct walker *walker, struct walk *out)
{
    struct world first;

    world_init(&first);
    take(walker, &first);
    for (size_t i = 0; i < walker->n_worlds && !walker->error; i++) {
        walker->current = (uint32_t)i;
        count(&walker->worlds[i], out);
        out->violation = world_violation(&walker->worlds[i]);
        if (!out->violation) {
            world_successors(&walker->worlds[i], &walker->sink);
            out->violation = walker->sink.violation;
        }
        if (out->violation) {
            say_path(walker, out);
            break;
        }
    }
    out->n_worlds = walker->n_worlds;
    out->n_edges = walker->n_edges;
    if (walker->error || out->violation)
        return walker->error;
    return count_stuck(walker, out);
}

int walk_all(world_step_fn *step, size_t max_worlds, struct walk *out)
{
    struct walker walker = {.max_worlds = max_worlds, .table_mask = 1};
    int code = -ENOMEM;

    memset(out, 0, sizeof(*out));
    while (walker.table_mask < max_worlds * 2)
        walker.table_mask *= 2;
    walker.worlds = malloc(max_worlds * sizeof(*walker.worlds));
    walker.parents = malloc(max_worlds * sizeof(*walker.parents));
    walker.table = calloc(walker.table_mask, sizeof(*walker.table));
    walker.table_mask--;
    walker.sink = (struct world_sink){.step = step, .take = take, .opaque = &walker};
    if (walker.worlds && walker.parents && walker.table)
        code = walk_from_first(&walker, out);
    free(walker.edges);
    free(walker.table);
    free(walker.parents);
    free(walker.worlds);
    return code;
}
