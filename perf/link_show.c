/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/link_show.h"

#include <string.h>

#include "perf/link_server.h"
#include "perf/show.h"
#include "tools/common/units.h"
#include "transport/address.h"

#define BPS_PER_MIBPS (8.0 * 1048576)

const char *link_operation_name(const struct link_client *client)
{
    return client->options.operation == LINK_READ ? "read" : "write";
}

static void common_head(FILE *out, const struct link_client *client, const char *more)
{
    char peer[ADDRESS_TEXT_BYTES], memory[UNITS_TEXT_BYTES];
    const char *device = client->provider->source_device(client->link);

    fprintf(out, "%ss, %s %s over %s%s%s (%s), %u lane%s, %s of memory%s\n", link_operation_name(client),
            client->options.operation == LINK_READ ? "from" : "to",
            address_text((const struct sockaddr *)control_peer(client->control), peer), client->provider->name,
            strcmp(device, client->provider->name) ? " " : "", strcmp(device, client->provider->name) ? device : "",
            client->ack.reason, client->options.n_lanes, client->options.n_lanes == 1 ? "" : "s",
            units_size(client->memory_bytes, memory), more);
}

static struct json_object *common_json(const struct link_client *client, const char *event)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "event", json_object_new_string(event));
    json_object_object_add(object, "transport", json_object_new_string(client->provider->name));
    json_object_object_add(object, "device", json_object_new_string(client->provider->source_device(client->link)));
    json_object_object_add(object, "lanes", json_object_new_uint64(client->options.n_lanes));
    json_object_object_add(object, "memory_bytes", json_object_new_uint64(client->memory_bytes));
    json_object_object_add(object, "operation", json_object_new_string(link_operation_name(client)));
    return object;
}

/* Counts are members named for what is counted: writes, reads, writes_ps, reads_ps. */
static void add_count(struct json_object *object, const struct link_client *client, const char *suffix, uint64_t count)
{
    char name[16];

    snprintf(name, sizeof(name), "%ss%s", link_operation_name(client), suffix);
    json_object_object_add(object, name, json_object_new_uint64(count));
}

/* ---- bw ---- */

double bw_spread(const struct bw_row *row)
{
    return row->median_bps ? (double)(row->best_bps - row->worst_bps) * 100 / (double)row->median_bps : 0;
}

void bw_head(FILE *out, const struct link_client *client, const struct link_values *values)
{
    const char *unit = values->gbits ? "Gb/s" : "MiB/s";
    bool reads = client->options.operation == LINK_READ;

    common_head(out, client, values->scattered ? ", scattered" : "");
    fprintf(out, "%10s %12s %14s %14s %10s %14s\n", "size", reads ? "reads" : "writes", "median", "worst", "spread",
            reads ? "reads/s" : "writes/s");
    fprintf(out, "%10s %12s %14s %14s %10s %14s\n", "", "", unit, unit, "%", "");
    fflush(out);
}

void bw_line(FILE *out, const struct link_values *values, const struct bw_row *row)
{
    double per_unit = values->gbits ? 1e9 : BPS_PER_MIBPS;
    char size[UNITS_TEXT_BYTES], count[UNITS_TEXT_BYTES], ps[UNITS_TEXT_BYTES];

    fprintf(out, "%10s %12s %14.2f %14.2f %10.1f %14s\n", units_size(row->size_bytes, size),
            units_count(row->operations, count), (double)row->median_bps / per_unit, (double)row->worst_bps / per_unit,
            bw_spread(row), units_count(row->median_bps / 8 / row->size_bytes, ps));
    fflush(out);
}

struct json_object *bw_json(const struct link_client *client, const struct link_values *values,
                            const struct bw_row *row)
{
    struct json_object *object = common_json(client, "bw");

    json_object_object_add(object, "size_bytes", json_object_new_uint64(row->size_bytes));
    json_object_object_add(object, "scattered", json_object_new_boolean(values->scattered));
    json_object_object_add(object, "repeat", json_object_new_uint64(row->repeat));
    add_count(object, client, "", row->operations);
    json_object_object_add(object, "median_bps", json_object_new_uint64(row->median_bps));
    json_object_object_add(object, "worst_bps", json_object_new_uint64(row->worst_bps));
    json_object_object_add(object, "best_bps", json_object_new_uint64(row->best_bps));
    json_object_object_add(object, "spread_percent", show_number(bw_spread(row)));
    add_count(object, client, "_ps", row->median_bps / 8 / row->size_bytes);
    return object;
}

/* ---- lat ---- */

static const char *until_text(enum link_until until)
{
    return until == LINK_UNTIL_COMPLETION ? "completion" : "answer";
}

static const struct {
    const char *label, *member;
    double share; /* 0: typical, 2: max */
} figures[] = {
    {"typical", "typical_us", 0}, {"p50", "p50_us", .5}, {"p99", "p99_us", .99},
    {"p99.9", "p999_us", .999},   {"max", "max_us", 2},
};
#define N_FIGURES (sizeof(figures) / sizeof(figures[0]))

static double figure_us(const struct lat_row *row, size_t i)
{
    const struct histogram *times = &row->times;

    return (double)(figures[i].share <= 0  ? histogram_typical(times)
                    : figures[i].share > 1 ? times->max
                                           : histogram_quantile(times, figures[i].share)) /
           1e3;
}

void lat_head(FILE *out, const struct link_client *client, enum link_until until)
{
    common_head(out, client,
                until == LINK_UNTIL_COMPLETION ? "; until completion, in microseconds"
                                               : "; until the far host's answer, in microseconds");
    fprintf(out, "%10s %10s", "size", client->options.operation == LINK_READ ? "reads" : "writes");
    for (size_t i = 0; i < N_FIGURES; i++)
        fprintf(out, " %11s", figures[i].label);
    fputc('\n', out);
    fflush(out);
}

void lat_line(FILE *out, const struct lat_row *row)
{
    char size[UNITS_TEXT_BYTES], count[UNITS_TEXT_BYTES];

    fprintf(out, "%10s %10s", units_size(row->size_bytes, size), units_count(row->times.n, count));
    for (size_t i = 0; i < N_FIGURES; i++)
        fprintf(out, " %11.1f", figure_us(row, i));
    fputc('\n', out);
    fflush(out);
}

struct json_object *lat_json(const struct link_client *client, enum link_until until, const struct lat_row *row)
{
    struct json_object *object = common_json(client, "lat");

    json_object_object_add(object, "until", json_object_new_string(until_text(until)));
    json_object_object_add(object, "size_bytes", json_object_new_uint64(row->size_bytes));
    add_count(object, client, "", row->times.n);
    for (size_t i = 0; i < N_FIGURES; i++)
        json_object_object_add(object, figures[i].member, show_number(figure_us(row, i)));
    return object;
}

/* ---- the server ---- */

int link_show_served(const struct perf_values *values, const char *command)
{
    struct tern_error error = {0};
    struct link_served served;
    struct json_object *done;

    if (link_server_run(command, &values->link, &served, &error))
        return show_error(values->json, &error);
    if (!values->json) {
        printf("served %s over %s: %llu rounds\n", served.peer, served.transport, (unsigned long long)served.rounds);
        return PERF_EXIT_OK;
    }
    done = json_object_new_object();
    json_object_object_add(done, "peer", json_object_new_string(served.peer));
    json_object_object_add(done, "transport", json_object_new_string(served.transport));
    json_object_object_add(done, "rounds", json_object_new_uint64(served.rounds));
    show_json(stdout, json_of_done(true, done));
    json_object_put(done);
    return PERF_EXIT_OK;
}
