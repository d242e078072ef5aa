/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf lat: latency of one-sided writes, or reads, one at a time. */
#include <errno.h>
#include <stdlib.h>

#include "perf/link_lanes.h"
#include "perf/link_show.h"
#include "perf/plot.h"
#include "perf/progress.h"
#include "perf/show.h"
#include "transport/clock.h"
#include "transport/error.h"

#define SIZE_DEFAULT       4096
#define ITERATIONS_DEFAULT 1000
#define WARM_SHARE         10 /* one to warm up for so many */
#define WARM_MAX           1000

struct lat {
    const struct perf_values *values;
    struct link_values link; /* with the defaults of lat */
    struct link_client *client;
    enum link_until until;
    struct progress progress;
    struct lat_row *rows;
    int n_rows;
};

static int fence_and_answer(struct link_client *client, struct tern_error *error)
{
    int r = client->provider->fence(client->link, 0, ++client->round, error);

    if (!r)
        r = link_lanes_wait(client, 0, LINK_WAIT_DRAINED, error);
    return r ? r : link_client_end_round(client, error);
}

static int one_operation(const struct lat *lat, const struct link_run *run, uint64_t *ns_out, struct tern_error *error)
{
    struct link_client *client = lat->client;
    uint64_t begin_ns = clock_now_ns();
    int r = client->provider->post(client->link, 0, run, 1, error); /* the lane is empty: it is taken */

    if (r < 0)
        return r;
    r = lat->until == LINK_UNTIL_COMPLETION ? link_lanes_wait(client, 0, LINK_WAIT_DRAINED, error)
                                            : fence_and_answer(client, error);
    *ns_out = clock_now_ns() - begin_ns;
    return r;
}

/* n of them, or for ns: into the histogram, unless NULL. */
static int some(const struct lat *lat, uint64_t size_bytes, uint64_t n, uint64_t ns, struct histogram *times,
                struct tern_error *error)
{
    uint64_t slots = lat->client->memory_bytes / size_bytes, end_ns = clock_now_ns() + ns, took_ns;
    int r = 0;

    for (uint64_t i = 0; !r && (n ? i < n : clock_now_ns() < end_ns); i++) {
        struct link_run run = {.offset_bytes = i % slots * size_bytes, .length_bytes = size_bytes};

        r = one_operation(lat, &run, &took_ns, error);
        if (!r && times)
            histogram_add(times, took_ns);
    }
    return r;
}

static int measure_size(struct lat *lat, uint64_t size_bytes, struct tern_error *error)
{
    struct lat_row *row = &lat->rows[lat->n_rows];
    uint64_t warm = lat->link.iterations ? (lat->link.iterations + WARM_SHARE - 1) / WARM_SHARE : WARM_MAX;
    int r = some(lat, size_bytes, warm < WARM_MAX ? warm : WARM_MAX, 0, NULL, error);

    row->size_bytes = size_bytes;
    for (uint64_t i = 0; i < lat->link.repeat && !r; i++) {
        progress_say(&lat->progress, "%llu bytes, repetition %llu of %llu", (unsigned long long)size_bytes,
                     (unsigned long long)i + 1, (unsigned long long)lat->link.repeat);
        r = some(lat, size_bytes, lat->link.iterations, lat->link.duration_ns, &row->times, error);
    }
    if (!r && lat->until == LINK_UNTIL_COMPLETION)
        r = fence_and_answer(lat->client, error); /* the far host has seen them all */
    lat->n_rows += !r;
    return r;
}

/* One size: its distribution. More: how they grow. */
static int draw(const struct lat *lat, struct tern_error *error)
{
    static const double shares[] = {.5, .99, .999, 1};
    static const char *const names[] = {"p50", "p99", "p99.9", "max"};
    struct plot_point points[4][LINK_SIZES_MAX], curve[201];
    const char *name = link_operation_name(lat->client);
    char title[48], x_label[48];
    struct plot_series series[4], distribution = {lat->link.read ? "reads" : "writes", curve, 201};
    struct plot plot = {.title = title,
                        .x_label = x_label,
                        .y_label = "microseconds",
                        .log_x = true,
                        .log_y = true,
                        .bytes_x = true,
                        .series = series,
                        .n_series = 4};

    snprintf(title, sizeof(title), "One-sided %ss: latency", name);
    snprintf(x_label, sizeof(x_label), lat->n_rows > 1 ? "bytes of a %s" : "%% of %ss took at most", name);
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < lat->n_rows; i++)
            points[k][i] = (struct plot_point){(double)lat->rows[i].size_bytes,
                                               (double)histogram_quantile(&lat->rows[i].times, shares[k]) / 1e3};
        series[k] = (struct plot_series){names[k], points[k], (size_t)lat->n_rows};
    }
    if (lat->n_rows > 1)
        return plot_write(&plot, lat->values->plot, error);
    for (int i = 0; i <= 200; i++)
        curve[i] = (struct plot_point){i / 2.0, (double)histogram_quantile(&lat->rows[0].times, i / 200.0) / 1e3};
    plot = (struct plot){.title = title,
                         .x_label = x_label,
                         .y_label = "microseconds",
                         .log_y = true,
                         .series = &distribution,
                         .n_series = 1};
    return plot_write(&plot, lat->values->plot, error);
}

static int choose_until(struct lat *lat, struct tern_error *error)
{
    /* A NIC acknowledges, a socket only takes; what was read is here. */
    bool completes = lat->client->provider->needs_registration || lat->link.read;

    lat->until = (enum link_until)lat->link.until;
    if (lat->until == LINK_UNTIL_AUTO)
        lat->until = completes ? LINK_UNTIL_COMPLETION : LINK_UNTIL_ANSWER;
    if (lat->until == LINK_UNTIL_COMPLETION && !completes)
        return error_set(error, -EOPNOTSUPP, "leave --until out, or use --transport verbs",
                         "over %s a write completes when the kernel has copied it, which says nothing of the far host",
                         lat->client->provider->name);
    return 0;
}

static int measure(struct lat *lat, const uint64_t *sizes, int n_sizes, struct tern_error *error)
{
    int r = choose_until(lat, error);

    if (!r && !lat->values->json)
        lat_head(stdout, lat->client, lat->until);
    for (int i = 0; i < n_sizes && !r; i++) {
        r = measure_size(lat, sizes[i], error);
        progress_clear(&lat->progress);
        if (r)
            break;
        if (lat->values->json)
            show_json(stdout, lat_json(lat->client, lat->until, &lat->rows[i]));
        else
            lat_line(stdout, &lat->rows[i]);
    }
    return !r && lat->values->plot ? draw(lat, error) : r;
}

static int run_client(struct lat *lat, struct tern_error *error)
{
    uint64_t sizes[LINK_SIZES_MAX], memory = lat->link.memory_bytes;
    int n = link_values_sizes(&lat->link, sizes), r = 0;

    if (!memory)
        memory = sizes[n - 1] > LINK_MEMORY_DEFAULT ? sizes[n - 1] : LINK_MEMORY_DEFAULT;
    if (memory < sizes[n - 1])
        return error_set(error, -EINVAL, NULL, "option --memory: less than one of them");
    lat->rows = calloc((size_t)n, sizeof(*lat->rows));
    if (!lat->rows)
        return error_set(error, -ENOMEM, NULL, "out of memory");
    if (lat->values->plot)
        r = plot_check(lat->values->plot, error);
    if (!r)
        r = link_client_open("lat", &lat->link, 1, memory, &lat->client, error);
    if (!r)
        r = measure(lat, sizes, n, error);
    if (!r)
        r = link_client_finish(lat->client, error);
    link_client_close(lat->client);
    free(lat->rows);
    return r;
}

int cmd_lat(const struct perf_values *values, const struct option_texts *texts)
{
    struct lat lat = {.values = values, .link = values->link};
    struct tern_error error = {0};

    (void)texts;
    if (link_values_check(&values->link, &error))
        return perf_usage(&error);
    if (!*values->link.server.host)
        return link_show_served(values, "lat");
    if (!lat.link.size_bytes)
        lat.link.size_bytes = SIZE_DEFAULT;
    if (!lat.link.repeat)
        lat.link.repeat = 1;
    if (!lat.link.iterations && !lat.link.duration_ns)
        lat.link.iterations = ITERATIONS_DEFAULT;
    if (run_client(&lat, &error))
        return show_error(values->json, &error);
    if (values->json)
        show_json(stdout, json_of_done(true, NULL));
    return PERF_EXIT_OK;
}
