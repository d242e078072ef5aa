/* SPDX-License-Identifier: BSD-2-Clause */
/* How bw and lat tell what they have measured: a table, or a JSON object a row. */
#ifndef PERF_LINK_SHOW_H
#define PERF_LINK_SHOW_H

#include <json-c/json.h>
#include <stdio.h>

#include "perf/cli.h"
#include "perf/histogram.h"
#include "perf/link_client.h"
#include "tools/common/report.h"

#define LINK_MEMORY_DEFAULT (64ull << 20)

struct bw_row {
    uint64_t size_bytes, repeat, operations;
    uint64_t median_bps, worst_bps, best_bps;
};

/* "write", or "read": what the client does. */
const char *link_operation_name(const struct link_client *client);

double bw_spread(const struct bw_row *row);
void bw_head(FILE *out, const struct link_client *client, const struct link_values *values);
void bw_line(FILE *out, const struct link_values *values, const struct bw_row *row);
struct json_object *bw_json(const struct link_client *client, const struct link_values *values,
                            const struct bw_row *row);

struct lat_row {
    uint64_t size_bytes;
    struct histogram times; /* ns */
};

void lat_head(FILE *out, const struct link_client *client, enum link_until until);
void lat_line(FILE *out, const struct lat_row *row);
struct json_object *lat_json(const struct link_client *client, enum link_until until, const struct lat_row *row);

/* link_show_served: be the server of that command, and say what was served. returns the exit status */
int link_show_served(const struct perf_values *values, const char *command);

#endif
