/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf register: what registering memory with an RDMA device costs, by chunk size and threads. */
#include <errno.h>
#include <stdlib.h>

#include "perf/plot.h"
#include "perf/progress.h"
#include "perf/registration.h"
#include "perf/samples.h"
#include "perf/show.h"
#include "tools/common/report.h"
#include "tools/common/units.h"
#include "transport/clock.h"
#include "transport/error.h"

#define REPEAT_MAX     100u
#define REPEAT_DEFAULT 3
#define CHUNKS_MAX     8
#define THREADS_ROWS   8
#define GIB            (1ull << 30)

/* Medians, milliseconds a GiB. */
struct row {
    uint64_t chunk_bytes;
    uint32_t n_threads;
    double fresh, populated, deregister;
};

struct registering {
    const struct perf_values *values;
    uint64_t repeat;
    struct registration_device device;
    uint64_t chunks[CHUNKS_MAX];
    uint32_t threads[THREADS_ROWS];
    int n_chunks, n_threads, n_rows;
    struct row rows[CHUNKS_MAX * THREADS_ROWS];
};

static double ms_per_gib(uint64_t *ns, size_t n, uint64_t bytes)
{
    return (double)samples_median(ns, n) / NS_PER_MS * GIB / (double)bytes;
}

static int measure_row(struct registering *reg, struct row *row, struct progress *progress, struct tern_error *error)
{
    uint64_t registering[2][REPEAT_MAX], deregistering[REPEAT_MAX];
    struct registration_case what = {.memory_bytes = reg->values->register_bytes,
                                     .chunk_bytes = row->chunk_bytes,
                                     .page_bytes = perf_page_bytes[reg->values->page_choice],
                                     .n_threads = row->n_threads};
    struct registration_times times;
    int r = 0;

    for (uint64_t i = 0; i < reg->repeat && !r; i++)
        for (int populated = 0; populated < 2 && !r; populated++) {
            progress_say(progress, "chunks of %llu MiB, %u threads, repetition %llu of %llu",
                         (unsigned long long)row->chunk_bytes >> 20, row->n_threads, (unsigned long long)i + 1,
                         (unsigned long long)reg->repeat);
            what.populated = populated;
            r = registration_measure(&reg->device, &what, &times, error);
            registering[populated][i] = r ? 0 : times.register_ns;
            deregistering[i] = r ? 0 : times.deregister_ns;
        }
    if (r)
        return r;
    row->fresh = ms_per_gib(registering[0], reg->repeat, what.memory_bytes);
    row->populated = ms_per_gib(registering[1], reg->repeat, what.memory_bytes);
    row->deregister = ms_per_gib(deregistering, reg->repeat, what.memory_bytes);
    return 0;
}

/* ---- telling ---- */

static void show_head(const struct registering *reg)
{
    char memory[UNITS_TEXT_BYTES], page[UNITS_TEXT_BYTES];

    printf("%s, %s in pages of %s, milliseconds a GiB, median of %llu\n", reg->device.name,
           units_size(reg->values->register_bytes, memory), units_size(perf_page_bytes[reg->values->page_choice], page),
           (unsigned long long)reg->repeat);
    printf("%10s %8s %16s %20s %12s\n", "chunk", "threads", "register fresh", "register populated", "deregister");
}

static void show_row(const struct registering *reg, const struct row *row)
{
    struct json_object *object;
    char chunk[UNITS_TEXT_BYTES];

    if (!reg->values->json) {
        printf("%10s %8u %16.1f %20.1f %12.1f\n", units_size(row->chunk_bytes, chunk), row->n_threads, row->fresh,
               row->populated, row->deregister);
        fflush(stdout);
        return;
    }
    object = json_object_new_object();
    json_object_object_add(object, "event", json_object_new_string("register"));
    json_object_object_add(object, "device", json_object_new_string(reg->device.name));
    json_object_object_add(object, "memory_bytes", json_object_new_uint64(reg->values->register_bytes));
    json_object_object_add(object, "page_bytes", json_object_new_uint64(perf_page_bytes[reg->values->page_choice]));
    json_object_object_add(object, "chunk_bytes", json_object_new_uint64(row->chunk_bytes));
    json_object_object_add(object, "threads", json_object_new_uint64(row->n_threads));
    json_object_object_add(object, "fresh_ms_per_gib", show_number(row->fresh));
    json_object_object_add(object, "populated_ms_per_gib", show_number(row->populated));
    json_object_object_add(object, "deregister_ms_per_gib", show_number(row->deregister));
    show_json(stdout, object);
}

/* A curve for each number of threads. */
static int draw(const struct registering *reg, struct tern_error *error)
{
    struct plot_point points[THREADS_ROWS][CHUNKS_MAX];
    struct plot_series series[THREADS_ROWS];
    char names[THREADS_ROWS][24];
    struct plot plot = {.title = "Registering populated memory",
                        .x_label = "bytes of a chunk",
                        .y_label = "ms a GiB",
                        .log_x = true,
                        .bytes_x = true,
                        .from_zero = true,
                        .series = series,
                        .n_series = (size_t)reg->n_threads};

    for (int t = 0; t < reg->n_threads; t++) {
        for (int c = 0; c < reg->n_chunks; c++) {
            const struct row *row = &reg->rows[t * reg->n_chunks + c];

            points[t][c] = (struct plot_point){(double)row->chunk_bytes, row->populated};
        }
        snprintf(names[t], sizeof(names[t]), "%u thread%s", reg->threads[t], reg->threads[t] == 1 ? "" : "s");
        series[t] = (struct plot_series){names[t], points[t], (size_t)reg->n_chunks};
    }
    return plot_write(&plot, reg->values->plot, error);
}

/* ---- all of it ---- */

/* What was asked for, or 2 MiB to all of it by four, and one thread to four by two. */
static void choose(struct registering *reg)
{
    const struct perf_values *values = reg->values;

    for (uint64_t chunk = 2ull << 20; chunk <= values->register_bytes && reg->n_chunks < CHUNKS_MAX; chunk *= 4)
        reg->chunks[reg->n_chunks++] = chunk;
    for (uint32_t threads = 1; threads <= 4; threads *= 2)
        reg->threads[reg->n_threads++] = threads;
    if (values->chunk_bytes) {
        reg->chunks[0] = values->chunk_bytes;
        reg->n_chunks = 1;
    }
    if (values->threads) {
        reg->threads[0] = (uint32_t)values->threads;
        reg->n_threads = 1;
    }
}

static int measure(struct registering *reg, struct tern_error *error)
{
    struct progress progress = {0};
    int r = 0;

    if (!reg->values->json)
        show_head(reg);
    for (int t = 0; t < reg->n_threads; t++)
        for (int c = 0; c < reg->n_chunks && !r; c++) {
            struct row *row = &reg->rows[reg->n_rows];

            *row = (struct row){.chunk_bytes = reg->chunks[c], .n_threads = reg->threads[t]};
            r = measure_row(reg, row, &progress, error);
            progress_clear(&progress);
            if (r)
                break;
            reg->n_rows++;
            show_row(reg, row);
        }
    return !r && reg->values->plot ? draw(reg, error) : r;
}

int cmd_register(const struct perf_values *values, const struct option_texts *texts)
{
    struct registering reg = {.values = values, .repeat = values->repeat};
    struct tern_error error = {0};
    int r;

    if (!texts->text[options_find(&perf_options, PERF_REGISTER, "repeat", 6)])
        reg.repeat = REPEAT_DEFAULT;
    if (reg.repeat > REPEAT_MAX || values->chunk_bytes > values->register_bytes ||
        values->register_bytes % perf_page_bytes[values->page_choice]) {
        error_set(&error, -EINVAL, NULL,
                  reg.repeat > REPEAT_MAX                        ? "option --repeat: 100 at most"
                  : values->chunk_bytes > values->register_bytes ? "option --chunk: more than --memory"
                                                                 : "option --memory: not a multiple of the page size");
        return perf_usage(&error);
    }
    choose(&reg);
    r = values->plot ? plot_check(values->plot, &error) : 0;
    if (!r)
        r = registration_open(values->link.device, &reg.device, &error);
    if (!r)
        r = measure(&reg, &error);
    registration_close(&reg.device);
    if (r)
        return show_error(values->json, &error);
    if (values->json)
        show_json(stdout, json_of_done(true, NULL));
    return PERF_EXIT_OK;
}
