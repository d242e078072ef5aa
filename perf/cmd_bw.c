/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf bw: bandwidth of one-sided writes, or reads, size by size. */
#include <errno.h>
#include <stdlib.h>

#include "perf/link_lanes.h"
#include "perf/link_show.h"
#include "perf/plot.h"
#include "perf/progress.h"
#include "perf/samples.h"
#include "perf/show.h"
#include "transport/clock.h"
#include "transport/error.h"

#define SIZE_DEFAULT     (64ull << 10)
#define DURATION_DEFAULT NS_PER_S
#define REPEAT_DEFAULT   5
#define WARM_NS          (200 * NS_PER_MS)

struct bw {
    const struct perf_values *values;
    struct link_values link; /* with the defaults of bw */
    struct link_client *client;
    struct progress progress;
    struct bw_row rows[LINK_SIZES_MAX];
    int n_rows;
};

static uint64_t bps_of(const struct link_load *load, const struct link_round *round)
{
    return (uint64_t)((double)round->operations * (double)load->size_bytes * 8e9 / (double)round->ns);
}

/* Before a repetition counts. */
static struct link_load warm_up_of(const struct link_load *load)
{
    struct link_load warm = *load;

    if (load->iterations)
        warm.iterations = (load->iterations + 9) / 10;
    else if (load->duration_ns > WARM_NS)
        warm.duration_ns = WARM_NS;
    return warm;
}

static int measure_size(struct bw *bw, uint64_t size_bytes, struct tern_error *error)
{
    struct link_load load = {size_bytes, bw->link.iterations, bw->link.duration_ns, bw->link.scattered};
    struct link_load warm = warm_up_of(&load);
    struct bw_row *row = &bw->rows[bw->n_rows];
    uint64_t *bps = calloc(bw->link.repeat, sizeof(*bps));
    struct link_round round;
    int r = bps ? link_lanes_round(bw->client, &warm, &round, error) : error_set(error, -ENOMEM, NULL, "out of memory");

    *row = (struct bw_row){.size_bytes = size_bytes, .repeat = bw->link.repeat};
    for (uint64_t i = 0; i < bw->link.repeat && !r; i++) {
        progress_say(&bw->progress, "%llu bytes, repetition %llu of %llu", (unsigned long long)size_bytes,
                     (unsigned long long)i + 1, (unsigned long long)bw->link.repeat);
        r = link_lanes_round(bw->client, &load, &round, error);
        if (r)
            break;
        bps[i] = bps_of(&load, &round);
        row->operations += round.operations;
    }
    if (!r) {
        row->worst_bps = samples_worst(bps, bw->link.repeat, true);
        row->best_bps = samples_worst(bps, bw->link.repeat, false);
        row->median_bps = samples_median(bps, bw->link.repeat);
        bw->n_rows++;
    }
    free(bps);
    return r;
}

static int draw(const struct bw *bw, struct tern_error *error)
{
    struct plot_point median[LINK_SIZES_MAX], worst[LINK_SIZES_MAX];
    struct plot_series series[] = {{"median", median, (size_t)bw->n_rows}, {"worst", worst, (size_t)bw->n_rows}};
    char title[48], x_label[32];
    struct plot plot = {.title = title,
                        .x_label = x_label,
                        .y_label = "Gb/s",
                        .log_x = true,
                        .bytes_x = true,
                        .from_zero = true,
                        .series = series,
                        .n_series = 2};

    snprintf(title, sizeof(title), "One-sided %ss: bandwidth", link_operation_name(bw->client));
    snprintf(x_label, sizeof(x_label), "bytes of a %s", link_operation_name(bw->client));
    for (int i = 0; i < bw->n_rows; i++) {
        median[i] = (struct plot_point){(double)bw->rows[i].size_bytes, (double)bw->rows[i].median_bps / 1e9};
        worst[i] = (struct plot_point){(double)bw->rows[i].size_bytes, (double)bw->rows[i].worst_bps / 1e9};
    }
    return plot_write(&plot, bw->values->plot, error);
}

static int measure(struct bw *bw, const uint64_t *sizes, int n_sizes, struct tern_error *error)
{
    int r = 0;

    if (!bw->values->json)
        bw_head(stdout, bw->client, &bw->link);
    for (int i = 0; i < n_sizes && !r; i++) {
        r = measure_size(bw, sizes[i], error);
        progress_clear(&bw->progress);
        if (r)
            break;
        if (bw->values->json)
            show_json(stdout, bw_json(bw->client, &bw->link, &bw->rows[i]));
        else
            bw_line(stdout, &bw->link, &bw->rows[i]);
    }
    return !r && bw->values->plot ? draw(bw, error) : r;
}

static int run_client(struct bw *bw, struct tern_error *error)
{
    uint64_t sizes[LINK_SIZES_MAX], memory = bw->link.memory_bytes, least;
    int n = link_values_sizes(&bw->link, sizes), r = 0;
    struct link_load largest = {.size_bytes = sizes[n - 1], .scattered = bw->link.scattered};

    least = link_lanes_memory(&largest, (uint32_t)bw->link.lanes);
    if (!memory)
        memory = least > LINK_MEMORY_DEFAULT ? least : LINK_MEMORY_DEFAULT;
    if (memory < least)
        r = error_set(error, -EINVAL, NULL, "option --memory: the lanes need %llu bytes for two %ss each",
                      (unsigned long long)least, bw->link.read ? "read" : "write");
    if (!r && bw->values->plot)
        r = plot_check(bw->values->plot, error);
    if (!r)
        r = link_client_open("bw", &bw->link, (uint32_t)bw->link.lanes, memory, &bw->client, error);
    if (!r)
        r = measure(bw, sizes, n, error);
    if (!r)
        r = link_client_finish(bw->client, error);
    link_client_close(bw->client);
    return r;
}

int cmd_bw(const struct perf_values *values, const struct option_texts *texts)
{
    struct bw bw = {.values = values, .link = values->link};
    struct tern_error error = {0};

    (void)texts;
    if (link_values_check(&values->link, &error))
        return perf_usage(&error);
    if (!*values->link.server.host)
        return link_show_served(values, "bw");
    if (!bw.link.size_bytes)
        bw.link.size_bytes = SIZE_DEFAULT;
    if (!bw.link.lanes)
        bw.link.lanes = 1;
    if (!bw.link.repeat)
        bw.link.repeat = REPEAT_DEFAULT;
    if (!bw.link.iterations && !bw.link.duration_ns)
        bw.link.duration_ns = DURATION_DEFAULT;
    if (run_client(&bw, &error))
        return show_error(values->json, &error);
    if (values->json)
        show_json(stdout, json_of_done(true, NULL));
    return PERF_EXIT_OK;
}
