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
#define ALONE        (BIT(PERF_SCAN) | BIT(PERF_HARVEST)) /* no other side */
#define LINK         (BIT(PERF_BW) | BIT(PERF_LAT))
#define WEB          BIT(PERF_WEB)
#define WEB_SCRIPT   BIT(PERF_WEB_SCRIPT)
#define WEB_URL      BIT(PERF_WEB_URL)
#define WEB_SHOW     BIT(PERF_WEB_SHOW)
#define WEB_ANY      (WEB | WEB_SCRIPT | WEB_URL | WEB_SHOW)
#define MODEL        BIT(PERF_MODEL)
#define REGISTER     BIT(PERF_REGISTER)
#define AT(member)   .offset = offsetof(struct perf_values, member)
#define GIB          (1ull << 30)
#define MIB          (1ull << 20)

const uint64_t perf_page_bytes[] = {TERN_PAGE_BYTES, 2 * MIB};

static const struct option_spec specs[] = {
    {.name = "host",
     .argument = "HOST",
     .kind = OPTION_HOST,
     AT(host),
     .commands = BOTH | MODEL,
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
    MIGRATION_OPTIONS(struct perf_values, migration, SOURCE | MODEL, SOURCE | MODEL, ALL | MODEL),
    {.name = "memory",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(memory_bytes),
     .min = 2 * MIB,
     .max = 16384 * GIB,
     .commands = ALL | ALONE | MODEL,
     .group = "Guest",
     .help = "guest memory (1G); of harvest, that size only, instead of 1 GiB to 16 TiB"},
    {.name = "page-size",
     .argument = "SIZE",
     .choices = "4K|2M",
     .kind = OPTION_CHOICE,
     AT(page_choice),
     .commands = ALL | BIT(PERF_SCAN) | REGISTER,
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
     .commands = SOURCE | MODEL,
     .group = "Guest",
     .help = "of it, filled with random data (migrate: 256M, or all of a smaller guest; model: all of it); the rest "
             "was never touched"},
    {.name = "zero",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(zero_bytes),
     .commands = SOURCE,
     .group = "Guest",
     .help = "of it, after the random data, written with zeros: found zero, and not sent (none)"},
    {.name = "working-set",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(working_set_bytes),
     .min = TERN_PAGE_BYTES,
     .commands = SOURCE | MODEL,
     .group = "Guest",
     .help = "of it, written by the guest all the time (the guest is idle)"},
    {.name = "dirty-pages",
     .argument = "N",
     .kind = OPTION_NUMBER,
     AT(dirty_pages_ps),
     .min = 1,
     .commands = SOURCE | MODEL,
     .group = "Guest",
     .help = "pages that the guest writes a second (as fast as it can)"},
    {.name = "pattern",
     .argument = "NAME",
     .choices = "uniform|sequential|hot-cold",
     .kind = OPTION_CHOICE,
     AT(pattern),
     .commands = SOURCE | MODEL,
     .group = "Guest",
     .help = "order of those pages (uniform); hot-cold: nine writes of ten go to a tenth of the working set"},
    {.name = "device",
     .letter = 'd',
     .argument = "NAME",
     .kind = OPTION_TEXT,
     AT(link.device),
     .commands = REGISTER,
     .group = "What",
     .help = "the RDMA device (the first one)"},
    {.name = "memory",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(register_bytes),
     .min = 2 * MIB,
     .max = 16384 * GIB,
     .commands = REGISTER,
     .group = "What",
     .help = "memory to register (256M)"},
    {.name = "chunk",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(chunk_bytes),
     .min = TERN_PAGE_BYTES,
     .commands = REGISTER,
     .group = "What",
     .help = "registered at a time (2M, 8M, 32M and so on)"},
    {.name = "threads",
     .argument = "N",
     .kind = OPTION_NUMBER,
     AT(threads),
     .min = 1,
     .max = 64,
     .commands = REGISTER,
     .group = "What",
     .help = "that register at the same time (1, 2 and 4)"},
    {.name = "repeat",
     .argument = "N",
     .kind = OPTION_NUMBER,
     AT(repeat),
     .min = 1,
     .max = 1000,
     .commands = ALL | REGISTER,
     .group = "Output",
     .help =
         "do it so many times, migrations each with fresh processes, and report the median (migrate: 1, register: 3)"},
    {.name = "samples",
     .argument = "N",
     .kind = OPTION_NUMBER,
     AT(samples),
     .min = 1,
     .max = 1000,
     .commands = ALONE,
     .group = "Output",
     .help = "measure each so many times, after one for warming up; report the median and the spread (9)"},
    {.name = "connections",
     .argument = "N",
     .kind = OPTION_NUMBER,
     AT(connections),
     .min = 1,
     .max = 1024,
     .commands = WEB | WEB_URL | WEB_SCRIPT,
     .group = "Load",
     .help = "clients at the same time (100; in the lab 20; with --url 10)"},
    {.name = "duration",
     .argument = "TIME",
     .kind = OPTION_DURATION,
     AT(duration_ns),
     .min = 100000000,
     .max = 3600000000000,
     .commands = WEB | WEB_URL | WEB_SCRIPT,
     .group = "Load",
     .help = "for how long before the migration, and half of that, or 5 s, after it (10s; in the lab 20s); with --url: "
             "in all, "
             "and an interrupt ends it earlier, with its report"},
    {.name = "url",
     .argument = "URL",
     .kind = OPTION_TEXT,
     AT(url),
     .commands = WEB | WEB_URL,
     .group = "Load",
     .help = "no experiment, only its clients, of this: http://HOST[:PORT]/PATH is what every connection fetches "
             "again and again"},
    {.name = "events",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     AT(events),
     .commands = WEB | WEB_URL,
     .group = "Load",
     .help = "with --url: a migration's lines, read when the load ends: of tern migrate --json, or of QEMU's QMP "
             "monitor (its events, and an answer to query-migrate)"},
    {.name = "name",
     .argument = "NAME",
     .kind = OPTION_TEXT,
     AT(name),
     .commands = WEB | WEB_URL,
     .group = "Load",
     .help = "with --events: what that migration is called in tables and pictures"},
    {.name = "memory",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     AT(memory_bytes),
     .min = 256 * MIB,
     .commands = WEB | WEB_SCRIPT,
     .group = "Migration",
     .help = "of the guest, a quarter of it filled with files (1G; in the lab 512M)"},
    {.name = "bandwidth",
     .argument = "RATE",
     .kind = OPTION_RATE,
     AT(bandwidth_bps),
     .min = 1000000,
     .commands = WEB | WEB_SCRIPT,
     .group = "Migration",
     .help = "what the migration may take of the network (1Gb/s; in the lab no limit)"},
    {.name = "peer",
     .kind = OPTION_FLAG,
     AT(peer),
     .commands = WEB | WEB_SCRIPT,
     .group = "Migration",
     .help = "the same by QEMU's own tcp and multifd, in the lab by its rdma, beside it"},
    {.name = "lab",
     .kind = OPTION_FLAG,
     AT(lab),
     .commands = WEB | WEB_SCRIPT,
     .group = "Migration",
     .help = "between two virtual hosts over RDMA, not two network namespaces over tcp"},
    {.name = "show",
     .argument = "FILE,...",
     .kind = OPTION_TEXT,
     AT(show),
     .commands = WEB | WEB_SHOW,
     .group = "Output",
     .help = "run nothing: set runs side by side that were kept; each file is what --url --events --json printed"},
    {.name = "measure",
     .kind = OPTION_FLAG,
     AT(measure),
     .commands = MODEL,
     .group = "Output",
     .help =
         "migrate such a guest between two processes of this machine too: an idle one, which tells what the network "
         "carries and what a switchover costs, and then it; say how near the prediction came"},
    LINK_OPTIONS(struct perf_values, link, BIT(PERF_BW), BIT(PERF_LAT)),
    {.name = "json",
     .kind = OPTION_FLAG,
     AT(json),
     .commands = ALL | WEB_ANY | ALONE | LINK | MODEL | REGISTER,
     .group = "Output",
     .help = "one JSON object a line on stdout, the last one with event done"},
    {.name = "plot",
     .argument = "FILE.svg",
     .kind = OPTION_TEXT,
     AT(plot),
     .commands = LINK | MODEL | REGISTER | SOURCE | WEB_ANY,
     .group = "Output",
     .help = "draw what was measured (with gnuplot)"},
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
        .samples = 9,
        .register_bytes = 256 * MIB,
        .connections = 10,
        .duration_ns = 10000000000,
    };
    migration_values_init(&values->migration);
    link_values_init(&values->link);
}

static const char *mode_name(enum perf_command mode)
{
    switch (mode) {
    case PERF_MIGRATE_LISTEN:
        return "--listen: the source decides";
    case PERF_MIGRATE_TO:
        return "--to";
    case PERF_WEB_URL:
        return "--url";
    case PERF_WEB_SHOW:
        return "--show";
    case PERF_WEB_SCRIPT:
        return "the experiment: it is for --url";
    default:
        return "both sides here";
    }
}

int perf_check_mode(const struct option_texts *texts, enum perf_command mode, struct tern_error *error)
{
    for (size_t i = 0; i < perf_options.n_specs; i++)
        if (texts->text[i] && !(specs[i].commands & BIT(mode)))
            return error_set(error, -EINVAL, NULL, "option --%s does not go with %s", specs[i].name, mode_name(mode));
    return 0;
}
