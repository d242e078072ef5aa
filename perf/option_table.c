/* SPDX-License-Identifier: BSD-2-Clause */
/* Every option of tern-perf, once. */
#include <errno.h>

#include "migrate/tern.h"
#include "perf/cli.h"
#include "transport/error.h"

#define BIT(command) (1u << (command))
#define BOTH         (BIT(PERF_MIGRATE) | BIT(PERF_MIGRATE_BOTH))
#define LISTEN       (BIT(PERF_MIGRATE) | BIT(PERF_MIGRATE_LISTEN))
#define TO           (BIT(PERF_MIGRATE) | BIT(PERF_MIGRATE_TO))
#define SOURCE       (BOTH | TO)
#define ALL          (SOURCE | LISTEN)
#define AT(member)   .offset = offsetof(struct perf_values, member)
#define GIB          (1ull << 30)
#define MIB          (1ull << 20)

const uint64_t perf_page_bytes[] = {TERN_PAGE_BYTES, 2 * MIB};

static const struct option_spec specs[] = {
    {.name = "host",
     .argument = "HOST",
     .kind = OPTION_HOST,
     AT(host),
     .commands = BOTH,
     .group = "Where",
     .help = "with both sides here: the address of this machine to go over (127.0.0.1)"},
    {.name = "listen",
     .argument = "[HOST]:PORT",
     .kind = OPTION_LISTEN,
     AT(listen),
     .commands = LISTEN,
     .group = "Where",
     .help = "be the destination and wait here; give --memory, --page-size and --repeat as at the source"},
    {.name = "to",
     .argument = "HOST:PORT",
     .kind = OPTION_HOST,
     AT(to),
     .commands = TO,
     .group = "Where",
     .help = "be the source of a 'tern-perf migrate --listen' there"},
    MIGRATION_OPTIONS(struct perf_values, migration, SOURCE, ALL),
    {.name = "memory",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(memory_bytes),
     .min = 2 * MIB,
     .max = 16384 * GIB,
     .commands = ALL,
     .group = "Guest",
     .help = "guest memory (1G)"},
    {.name = "page-size",
     .argument = "SIZE",
     .choices = "4K|2M",
     .kind = OPTION_CHOICE,
     AT(page_choice),
     .commands = ALL,
     .group = "Guest",
     .help =
         "pages behind it: 4K (the default; transparent huge pages where the kernel has them) or 2M from hugetlbfs"},
    {.name = "populate",
     .kind = OPTION_FLAG,
     AT(populate),
     .commands = BOTH | LISTEN,
     .group = "Guest",
     .help = "give the destination's guest all its pages before, as a VMM with preallocated memory does; else each "
             "comes, and is cleared, when data for it arrives, and the rates count that too"},
    {.name = "random",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(random_bytes),
     .commands = SOURCE,
     .group = "Guest",
     .help = "of it, filled with random data (256M, or all of a smaller guest); the rest was never touched"},
    {.name = "working-set",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(working_set_bytes),
     .min = TERN_PAGE_BYTES,
     .commands = SOURCE,
     .group = "Guest",
     .help = "of it, written by the guest all the time (the guest is idle)"},
    {.name = "dirty-pages",
     .argument = "N",
     .kind = OPTION_NUMBER,
     AT(dirty_pages_ps),
     .min = 1,
     .commands = SOURCE,
     .group = "Guest",
     .help = "pages that the guest writes a second (as fast as it can)"},
    {.name = "pattern",
     .argument = "NAME",
     .choices = "uniform|sequential|hot-cold",
     .kind = OPTION_CHOICE,
     AT(pattern),
     .commands = SOURCE,
     .group = "Guest",
     .help = "order of those pages (uniform); hot-cold: nine writes of ten go to a tenth of the working set"},
    {.name = "repeat",
     .argument = "N",
     .kind = OPTION_NUMBER,
     AT(repeat),
     .min = 1,
     .max = 1000,
     .commands = ALL,
     .group = "Output",
     .help = "migrate so many times, each with fresh processes; report each and the median (1)"},
    {.name = "json",
     .kind = OPTION_FLAG,
     AT(json),
     .commands = ALL,
     .group = "Output",
     .help = "one JSON object a line on stdout: event run for each, error, done with median and worst"},
};

const struct option_table perf_options = {specs, sizeof(specs) / sizeof(specs[0])};

_Static_assert(sizeof(specs) / sizeof(specs[0]) <= OPTIONS_MAX, "option_texts is too small");

void perf_values_init(struct perf_values *values)
{
    *values = (struct perf_values){
        .host = {.host = "127.0.0.1"},
        .memory_bytes = GIB,
        .random_bytes = 256 * MIB,
        .repeat = 1,
    };
    migration_values_init(&values->migration);
}

int perf_check_mode(const struct option_texts *texts, enum perf_command mode, struct tern_error *error)
{
    for (size_t i = 0; i < perf_options.n_specs; i++)
        if (texts->text[i] && !(specs[i].commands & BIT(mode)))
            return error_set(error, -EINVAL, NULL, "option --%s does not go with %s", specs[i].name,
                             mode == PERF_MIGRATE_LISTEN ? "--listen: the source decides"
                             : mode == PERF_MIGRATE_TO   ? "--to"
                                                         : "both sides here");
    return 0;
}
