/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf's commands, the options they take, and its exit statuses. */
#ifndef PERF_CLI_H
#define PERF_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "perf/link_options.h"
#include "tools/common/host_port.h"
#include "tools/common/migration_options.h"
#include "tools/common/options.h"

/* Bits in the option table. The commands come first; then what one mode of a command takes of its options. */
enum perf_command {
    PERF_MIGRATE,
    PERF_WEB,
    PERF_SCAN,
    PERF_HARVEST,
    PERF_BW,
    PERF_LAT,
    PERF_MODEL,
    PERF_REGISTER,
    PERF_COMMANDS,
    PERF_MIGRATE_BOTH = PERF_COMMANDS, /* both sides here */
    PERF_MIGRATE_LISTEN,               /* the destination */
    PERF_MIGRATE_TO,                   /* the source */
    PERF_WEB_SCRIPT,                   /* the experiment */
    PERF_WEB_URL,                      /* a load */
    PERF_WEB_SHOW,                     /* runs that were kept */
};

enum perf_exit {
    PERF_EXIT_OK = 0,
    PERF_EXIT_FAILED = 1,
    PERF_EXIT_USAGE = 2,
};

/* Those not given hold perf_values_init's values. Texts are borrowed. */
struct perf_values {
    struct host_port listen;
    struct host_port to;
    struct host_port host; /* no port */
    struct migration_values migration;
    uint64_t memory_bytes;
    bool populate;
    uint64_t random_bytes;
    uint64_t zero_bytes;
    uint64_t working_set_bytes;
    uint64_t dirty_pages_ps;
    int pattern;     /* enum process_guest_pattern */
    int page_choice; /* position in perf_page_bytes */
    uint64_t repeat;
    const char *url;
    uint64_t connections;
    uint64_t duration_ns;
    const char *events;
    const char *name;
    const char *show;
    bool peer, lab;
    uint64_t bandwidth_bps;
    uint64_t samples;
    struct link_values link;
    bool measure;
    uint64_t register_bytes;
    uint64_t chunk_bytes; /* 0: several */
    uint64_t threads;     /* 0: several */
    const char *plot;
    bool json;
};

extern const struct option_table perf_options;
extern const uint64_t perf_page_bytes[];

void perf_values_init(struct perf_values *values);

/* perf_check_mode: refuse an option that was given and that mode does not take. */
int perf_check_mode(const struct option_texts *texts, enum perf_command mode, struct tern_error *error);

/* A file each, cmd_NAME.c. */
int cmd_migrate(const struct perf_values *values, const struct option_texts *texts);
int cmd_bw(const struct perf_values *values, const struct option_texts *texts);
int cmd_lat(const struct perf_values *values, const struct option_texts *texts);
int cmd_model(const struct perf_values *values, const struct option_texts *texts);
int cmd_register(const struct perf_values *values, const struct option_texts *texts);
int cmd_web(const struct perf_values *values, const struct option_texts *texts);
int cmd_scan(const struct perf_values *values, const struct option_texts *texts);
int cmd_harvest(const struct perf_values *values, const struct option_texts *texts);

/* Print the error on stderr; return the exit status. */
int perf_failed(const struct tern_error *error);
int perf_usage(const struct tern_error *error);

#endif
