/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf migrate: runs of one migration, both sides here or one of them. */
#include <errno.h>
#include <stdlib.h>

#include "perf/show.h"
#include "transport/error.h"

/* One run with the sides that are here. A side that is not stays as it was. */
static int both(const struct perf_values *values, struct side_report reports[2], struct tern_error *error)
{
    struct side_config config = {
        .values = values, .side = TERN_SIDE_DESTINATION, .host = values->host.host, .port = UINT16_MAX};
    struct side source = {0}, destination = {0};
    int r = side_start(&config, &destination, &config.port, error);

    config.side = TERN_SIDE_SOURCE;
    if (!r)
        r = side_start(&config, &source, NULL, error);
    if (!r)
        r = side_finish(&source, &reports[0], error);
    if (!r && !reports[0].code) /* else the destination may wait for ever */
        r = side_finish(&destination, &reports[1], error);
    side_kill(&source);
    side_kill(&destination);
    return r;
}

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
        r = both(values, reports, error);
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
    sources = calloc(values.repeat, sizeof(*sources));
    if (!sources)
        r = error_set(&error, -ENOMEM, NULL, "out of memory for the reports");
    for (uint64_t i = 0; i < values.repeat && !r; i++) {
        struct side_report reports[2] = {0};
        struct run run = {.source = mode == PERF_MIGRATE_LISTEN ? NULL : &reports[0],
                          .destination = mode == PERF_MIGRATE_TO ? NULL : &reports[1]};

        r = run_once(&values, mode, i == 0, reports, &error);
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
    free(sources);
    return r;
}
