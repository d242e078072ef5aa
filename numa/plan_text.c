/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>

#include "numa/plan.h"

#define MIB (1u << 20)

struct text {
    char *at;
    size_t length, capacity;
};

static void say(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct text *text, const char *format, ...)
{
    size_t left = text->length < text->capacity ? text->capacity - text->length : 0;
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(left ? text->at + text->length : NULL, left, format, arguments);
    va_end(arguments);
    text->length += n > 0 ? (size_t)n : 0;
}

static void say_worker(struct text *text, const struct plan_input *input, const struct plan_worker *worker)
{
    const struct topology *t = input->topology;
    const char *rail = worker->rail == PLAN_NONE ? "-" : input->rails[worker->rail].name;
    char cpus[64] = "any";

    if (worker->cpu_node != PLAN_NONE)
        cpu_bits_text(&t->nodes[worker->cpu_node].cpus, cpus, sizeof(cpus));
    say(text, "  %-7u %-5u %-5u %-16s %-10s %llu MiB", worker->lane, worker->lane, t->nodes[worker->node].number, cpus,
        rail, (unsigned long long)(worker->shard_bytes / MIB));
    if (worker->shard_parts > 1)
        say(text, ", shared with %u more", worker->shard_parts - 1);
    if (worker->cpu_node != PLAN_NONE && worker->cpu_node != worker->node)
        say(text, "; runs on node %u", t->nodes[worker->cpu_node].number);
    say(text, "\n");
}

size_t plan_text(const struct plan_input *input, const struct plan *plan, char *buffer, size_t capacity)
{
    const struct topology *t = input->topology;
    struct text text = {buffer, 0, capacity};

    if (capacity)
        buffer[0] = 0;
    say(&text, "  %-7s %-5s %-5s %-16s %-10s %s\n", "worker", "lane", "node", "CPUs", "rail", "memory");
    for (uint32_t i = 0; i < plan->n_workers; i++)
        say_worker(&text, input, &plan->workers[i]);
    for (uint32_t i = 0; i < t->n_nodes; i++)
        if (plan->server[i] != (int)i && input->node_bytes[i])
            say(&text, "  node %u has no worker of its own: its %llu MiB are sent by those of node %u (distance %u)\n",
                t->nodes[i].number, (unsigned long long)(input->node_bytes[i] / MIB), t->nodes[plan->server[i]].number,
                topology_distance(t, (int)i, plan->server[i]));
    for (uint32_t i = 0; i < input->n_rails; i++)
        if (input->rails[i].node < 0)
            say(&text, "  rail %s does not say which node it is near\n", input->rails[i].name);
    return text.length;
}
