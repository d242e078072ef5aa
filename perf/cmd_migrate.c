/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf migrate: runs of one migration, both sides here or one of them. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "perf/plot.h"
#include "perf/progress.h"
#include "perf/show.h"
#include "perf/show_rounds.h"
#include "transport/error.h"

static int one(const struct side_config *config, bool first, struct side_report *report, struct tern_error *error)
{
    char text[HOST_PORT_TEXT_BYTES];
    struct side side = {0};
    uint16_t port = 0;
    int r = side_start(config, &side, &port, error);

    if (r)
        return r;
    if (first && config->side == TERN_SIDE_DESTINATION)
        fprintf(stderr, "listening at %s\n", host_port_text(config->host ? config->host : "", port, text));
    return side_finish(&side, report, error);
}

static int run_once(const struct perf_values *values, enum perf_command mode, bool first, struct side_report reports[2],
                    struct tern_error *error)
{
    const struct host_port *to = &values->to, *listen = &values->listen;
    struct side_config source = {.values = values,
                                 .side = TERN_SIDE_SOURCE,
                                 .host = to->host,
                                 .port = to->has_port ? to->port : TERN_DEFAULT_PORT,
                                 .alone = true};
    struct side_config destination = {.values = values,
                                      .side = TERN_SIDE_DESTINATION,
                                      .host = *listen->host ? listen->host : NULL,
                                      .port = !listen->has_port ? TERN_DEFAULT_PORT
                                              : listen->port    ? listen->port
                                                                : UINT16_MAX};
    int r;

    if (mode == PERF_MIGRATE_BOTH)
        return side_run_both(values, reports, error);
    else if (mode == PERF_MIGRATE_TO)
        r = one(&source, first, &reports[0], error);
    else
        r = one(&destination, first, &reports[1], error);
    for (int i = 0; i < 2 && !r; i++)
        if (reports[i].code) {
            *error = reports[i].error;
            r = reports[i].code;
        }
    return r;
}

static int check(struct perf_values *values, const struct option_texts *texts, enum perf_command *mode,
                 struct tern_error *error)
{
    bool listens = texts->text[options_find(&perf_options, PERF_MIGRATE, "listen", 6)];
    bool sends = texts->text[options_find(&perf_options, PERF_MIGRATE, "to", 2)];
    bool names_random = texts->text[options_find(&perf_options, PERF_MIGRATE, "random", 6)];

    *mode = listens ? PERF_MIGRATE_LISTEN : sends ? PERF_MIGRATE_TO : PERF_MIGRATE_BOTH;
    if (!names_random && values->random_bytes > values->memory_bytes)
        values->random_bytes = values->memory_bytes;
    if (values->memory_bytes % perf_page_bytes[values->page_choice])
        return error_set(error, -EINVAL, NULL, "option --memory: not a multiple of the page size");
    if (values->random_bytes > values->memory_bytes || values->working_set_bytes > values->memory_bytes)
        return error_set(error, -EINVAL, NULL, "option --%s: more than --memory",
                         values->random_bytes > values->memory_bytes ? "random" : "working-set");
    if (values->dirty_pages_ps && !values->working_set_bytes)
        return error_set(error, -EINVAL, NULL, "option --dirty-pages needs --working-set SIZE");
    if (values->zero_bytes > values->memory_bytes - values->random_bytes)
        return error_set(error, -EINVAL, NULL, "option --zero: more than --memory less --random");
    if (values->host.has_port)
        return error_set(error, -EINVAL, NULL, "option --host: takes no port, any free one is used");
    return perf_check_mode(texts, *mode, error);
}

int cmd_migrate(const struct perf_values *given, const struct option_texts *texts)
{
    struct perf_values values = *given;
    struct tern_error error = {0};
    struct side_report *sources;
    enum perf_command mode;
    int r = 0;

    if (check(&values, texts, &mode, &error))
        return perf_usage(&error);
    if (values.plot)
        r = plot_check(values.plot, &error);
    sources = calloc(values.repeat, sizeof(*sources));
    if (!sources)
        r = error_set(&error, -ENOMEM, NULL, "out of memory for the reports");
    for (uint64_t i = 0; i < values.repeat && !r; i++) {
        struct side_report reports[2] = {0};
        struct progress progress = {0};
        struct run run = {.source = mode == PERF_MIGRATE_LISTEN ? NULL : &reports[0],
                          .destination = mode == PERF_MIGRATE_TO ? NULL : &reports[1]};

        if (values.repeat > 1 && isatty(STDERR_FILENO))
            progress_say(&progress, "run %llu of %llu", (unsigned long long)i + 1, (unsigned long long)values.repeat);
        r = run_once(&values, mode, i == 0, reports, &error);
        progress_clear(&progress);
        if (r)
            break;
        sources[i] = reports[0];
        show_run(stdout, values.json, i + 1, &run);
    }
    if (r)
        r = show_error(values.json, &error);
    else if (mode == PERF_MIGRATE_LISTEN)
        show_received(stdout, values.json, values.repeat);
    else
        show_summary(stdout, values.json, sources, values.repeat);
    if (!r && values.plot && rounds_draw(values.plot, sources, values.repeat, &error))
        r = perf_failed(&error);
    free(sources);
    return r;
}
