/* SPDX-License-Identifier: BSD-2-Clause */
/* The options of a migration, for the option table of every program that starts one. */
#ifndef TOOLS_COMMON_MIGRATION_OPTIONS_H
#define TOOLS_COMMON_MIGRATION_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/tern.h"
#include "tools/common/options.h"
#include "transport/link.h"

/* Texts are borrowed. */
struct migration_values {
    int transport; /* enum tern_transport */
    const char *device;
    int gid_index;
    uint64_t lanes;
    uint64_t downtime_limit_ns;
    uint64_t bandwidth_bps;
    uint64_t deadline_ns;
    int on_no_converge; /* enum tern_no_converge */
    bool verify;
    const char *numa_map;
    int registration; /* enum tern_register */
    uint64_t write_bytes, queue_depth, signal_every;
};

void migration_values_init(struct migration_values *values);
/* migration_values_check: what the kinds of the options cannot tell. errors -EINVAL, a usage error */
int migration_values_check(const struct migration_values *values, struct tern_error *error);
/* Into options, which has been initialised. */
void migration_values_apply(const struct migration_values *values, struct tern_options *options);

/* Entries of an option table whose values struct `type` has a migration_values named `member`.
 * paced    bits of the commands that copy a running guest: sources, and those that suspend it
 * source   bits of the commands that are a source; both: those, and the ones that are a destination */
#define MIGRATION_OPTIONS(type, member, paced, source, both)                                                           \
    {.name = "transport",                                                                                              \
     .argument = "NAME",                                                                                               \
     .choices = "auto|verbs|tcp",                                                                                      \
     .kind = OPTION_CHOICE,                                                                                            \
     .offset = offsetof(type, member.transport),                                                                       \
     .commands = (both),                                                                                               \
     .group = "Migration",                                                                                             \
     .help = "verbs: RDMA; auto (the default) takes verbs where both ends have a device that reaches the other, else " \
             "tcp"},                                                                                                   \
        {.name = "device",                                                                                             \
         .argument = "NAME[,NAME]",                                                                                    \
         .kind = OPTION_TEXT,                                                                                          \
         .offset = offsetof(type, member.device),                                                                      \
         .commands = (both),                                                                                           \
         .group = "Migration",                                                                                         \
         .help = "RDMA devices to use, like rxe0; several, named at both sides, are rails: lanes "                     \
                 "ride the nearest to their NUMA node, or in turn"},                                                   \
        {.name = "gid-index",                                                                                          \
         .argument = "N",                                                                                              \
         .kind = OPTION_INDEX,                                                                                         \
         .offset = offsetof(type, member.gid_index),                                                                   \
         .max = 255,                                                                                                   \
         .commands = (both),                                                                                           \
         .group = "Migration",                                                                                         \
         .help = "GID index of the RDMA port (chosen: RoCE v2, family of the address)"},                               \
        {.name = "lanes",                                                                                              \
         .argument = "N",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         .offset = offsetof(type, member.lanes),                                                                       \
         .min = 1,                                                                                                     \
         .max = LINK_LANES_MAX,                                                                                        \
         .commands = (paced),                                                                                          \
         .group = "Migration",                                                                                         \
         .help = "connections to spread the memory over; of an image, threads that write it (one a core, 4 at most; "  \
                 "of connections at least one for each rail, and for each NUMA node with memory)"},                    \
        {.name = "write-size",                                                                                         \
         .argument = "SIZE",                                                                                           \
         .kind = OPTION_SIZE,                                                                                          \
         .offset = offsetof(type, member.write_bytes),                                                                 \
         .min = TERN_PAGE_BYTES,                                                                                       \
         .max = 1 << 30,                                                                                               \
         .commands = (source),                                                                                         \
         .group = "Migration",                                                                                         \
         .help = "longest single RDMA write (chosen by a probe of 0.2 s at most, while memory is registered)"},        \
        {.name = "queue-depth",                                                                                        \
         .argument = "N",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         .offset = offsetof(type, member.queue_depth),                                                                 \
         .min = 4,                                                                                                     \
         .max = 65536,                                                                                                 \
         .commands = (source),                                                                                         \
         .group = "Migration",                                                                                         \
         .help = "RDMA writes under way on a lane (chosen by that probe, 128 at most)"},                               \
        {.name = "signal-every",                                                                                       \
         .argument = "N",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         .offset = offsetof(type, member.signal_every),                                                                \
         .min = 1,                                                                                                     \
         .max = 65536,                                                                                                 \
         .commands = (source),                                                                                         \
         .group = "Migration",                                                                                         \
         .help = "ask for one completion in so many RDMA writes (chosen by that probe, else a quarter of the queue "   \
                 "depth)"},                                                                                            \
        {.name = "downtime-limit",                                                                                     \
         .argument = "TIME",                                                                                           \
         .kind = OPTION_DURATION,                                                                                      \
         .offset = offsetof(type, member.downtime_limit_ns),                                                           \
         .min = 100000,                                                                                                \
         .max = 3600 * 1000000000ull,                                                                                  \
         .commands = (paced),                                                                                          \
         .group = "Migration",                                                                                         \
         .help = "stop the guest when the predicted downtime fits this (50ms)"},                                       \
        {.name = "bandwidth",                                                                                          \
         .argument = "RATE",                                                                                           \
         .kind = OPTION_RATE,                                                                                          \
         .offset = offsetof(type, member.bandwidth_bps),                                                               \
         .min = 1000000,                                                                                               \
         .commands = (paced),                                                                                          \
         .group = "Migration",                                                                                         \
         .help = "send no faster than this, over all lanes, like 10Gb/s (no limit)"},                                  \
        {.name = "deadline",                                                                                           \
         .argument = "TIME",                                                                                           \
         .kind = OPTION_DURATION,                                                                                      \
         .offset = offsetof(type, member.deadline_ns),                                                                 \
         .min = 1000000,                                                                                               \
         .max = 30 * 86400 * 1000000000ull,                                                                            \
         .commands = (paced),                                                                                          \
         .group = "Migration",                                                                                         \
         .help =                                                                                                       \
             "bound for the whole migration (none); --on-no-converge says what happens when pre-copy would miss it"},  \
        {.name = "on-no-converge",                                                                                     \
         .argument = "WAY",                                                                                            \
         .choices = "throttle|abort",                                                                                  \
         .kind = OPTION_CHOICE,                                                                                        \
         .offset = offsetof(type, member.on_no_converge),                                                              \
         .commands = (paced),                                                                                          \
         .group = "Migration",                                                                                         \
         .help = "when the guest writes faster than the link carries: slow it down (throttle, the default) or give "   \
                 "up (abort)"},                                                                                        \
        {.name = "register",                                                                                           \
         .argument = "WAY",                                                                                            \
         .choices = "auto|pin|odp|ring",                                                                               \
         .kind = OPTION_CHOICE,                                                                                        \
         .offset = offsetof(type, member.registration),                                                                \
         .commands = (both),                                                                                           \
         .group = "Migration",                                                                                         \
         .help = "how this side readies memory for RDMA. pin: registered, as it is needed; odp: on-demand paging; "    \
                 "ring: nothing is pinned, all goes through a small registered ring, with one copy; auto (the "        \
                 "default): pin, and ring for what a limit forbids to pin"},                                           \
    {                                                                                                                  \
        .name = "verify", .kind = OPTION_FLAG, .offset = offsetof(type, member.verify), .commands = (source),          \
        .group = "Migration",                                                                                          \
        .help = "compare digests of every page on both sides before the handover; refuse it on a difference"           \
    }

#endif
