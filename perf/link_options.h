/* SPDX-License-Identifier: BSD-2-Clause */
/* What bw and lat take: named as perftest's users know them. */
#ifndef PERF_LINK_OPTIONS_H
#define PERF_LINK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/common/host_port.h"
#include "tools/common/options.h"

/* Texts are borrowed. */
struct link_values {
    struct host_port server; /* empty host: be the server */
    uint64_t port;
    int transport; /* enum tern_transport */
    const char *device;
    int gid_index;
    bool read; /* else write */
    uint64_t size_bytes;
    bool all_sizes;
    uint64_t lanes;
    uint64_t depth;      /* 0: the provider's */
    uint64_t iterations; /* 0: by duration */
    uint64_t duration_ns;
    uint64_t memory_bytes;
    uint64_t repeat;
    bool scattered;
    bool gbits;
    int until; /* enum link_until */
};

enum link_until {
    LINK_UNTIL_AUTO,
    LINK_UNTIL_COMPLETION, /* the NIC's word that a write is in the far memory; a read's bytes are here */
    LINK_UNTIL_ANSWER,     /* the far host's word, over the control channel */
};

void link_values_init(struct link_values *values);

/* link_values_check: what does not go together. -EINVAL */
int link_values_check(const struct link_values *values, struct tern_error *error);

/* The sizes to measure, in order: one, or with --all powers of two from 4 KiB to 8 MiB. returns how many */
#define LINK_SIZES_MAX 16
int link_values_sizes(const struct link_values *values, uint64_t sizes[LINK_SIZES_MAX]);

/* Entries of an option table whose values struct `type` has a link_values named `member`; bits of the two commands. */
#define LINK_OPTION(type, member, field) .offset = offsetof(type, member.field)
#define LINK_OPTIONS(type, member, bw, lat)                                                                            \
    {.name = "server",                                                                                                 \
     .operand = true,                                                                                                  \
     .argument = "HOST[:PORT]",                                                                                        \
     .kind = OPTION_HOST,                                                                                              \
     LINK_OPTION(type, member, server),                                                                                \
     .commands = (bw) | (lat),                                                                                         \
     .group = "Where",                                                                                                 \
     .help = "be the client of the server there; without it be the server, which serves one client and ends"},         \
        {.name = "port",                                                                                               \
         .letter = 'p',                                                                                                \
         .argument = "PORT",                                                                                           \
         .kind = OPTION_NUMBER,                                                                                        \
         LINK_OPTION(type, member, port),                                                                              \
         .max = HOST_PORT_MAX,                                                                                         \
         .commands = (bw) | (lat),                                                                                     \
         .group = "Where",                                                                                             \
         .help = "TCP port of the server (7471; for a server 0 is any free one)"},                                     \
        {.name = "transport",                                                                                          \
         .argument = "NAME",                                                                                           \
         .choices = "auto|verbs|tcp",                                                                                  \
         .kind = OPTION_CHOICE,                                                                                        \
         LINK_OPTION(type, member, transport),                                                                         \
         .commands = (bw) | (lat),                                                                                     \
         .group = "Where",                                                                                             \
         .help = "verbs: RDMA; auto takes verbs where both ends have a device that reaches the other, else tcp"},      \
        {.name = "device",                                                                                             \
         .letter = 'd',                                                                                                \
         .argument = "NAME[,NAME]",                                                                                    \
         .kind = OPTION_TEXT,                                                                                          \
         LINK_OPTION(type, member, device),                                                                            \
         .commands = (bw) | (lat),                                                                                     \
         .group = "Where",                                                                                             \
         .help = "RDMA devices of this side to use, like rxe0"},                                                       \
        {.name = "gid-index",                                                                                          \
         .letter = 'x',                                                                                                \
         .argument = "N",                                                                                              \
         .kind = OPTION_INDEX,                                                                                         \
         LINK_OPTION(type, member, gid_index),                                                                         \
         .max = 255,                                                                                                   \
         .commands = (bw) | (lat),                                                                                     \
         .group = "Where",                                                                                             \
         .help = "GID index of this side's RDMA port (chosen: RoCE v2, family of the address)"},                       \
        {.name = "read",                                                                                               \
         .kind = OPTION_FLAG,                                                                                          \
         LINK_OPTION(type, member, read),                                                                              \
         .commands = (bw) | (lat),                                                                                     \
         .group = "What (the client decides)",                                                                         \
         .help = "read from the server's memory, as ib_read_bw and ib_read_lat do, instead of writing into it"},       \
        {.name = "size",                                                                                               \
         .letter = 's',                                                                                                \
         .argument = "BYTES",                                                                                          \
         .kind = OPTION_BYTES,                                                                                         \
         LINK_OPTION(type, member, size_bytes),                                                                        \
         .min = 1,                                                                                                     \
         .max = 1ull << 30,                                                                                            \
         .commands = (bw) | (lat),                                                                                     \
         .group = "What (the client decides)",                                                                         \
         .help =                                                                                                       \
             "bytes of a write, or read, like 65536 or 64K (bw: 64K, lat: 4K); longer ones than tern's longest are "   \
             "cut as tern cuts them"},                                                                                 \
        {.name = "all",                                                                                                \
         .letter = 'a',                                                                                                \
         .kind = OPTION_FLAG,                                                                                          \
         LINK_OPTION(type, member, all_sizes),                                                                         \
         .commands = (bw) | (lat),                                                                                     \
         .group = "What (the client decides)",                                                                         \
         .help = "all sizes: powers of two from 4 KiB to 8 MiB"},                                                      \
        {.name = "lanes",                                                                                              \
         .letter = 'q',                                                                                                \
         .argument = "N",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         LINK_OPTION(type, member, lanes),                                                                             \
         .min = 1,                                                                                                     \
         .max = LINK_LANES_MAX,                                                                                        \
         .commands = (bw),                                                                                             \
         .group = "What (the client decides)",                                                                         \
         .help = "lanes (queue pairs, or TCP connections), each with a thread of its own (1)"},                        \
        {.name = "depth",                                                                                              \
         .letter = 't',                                                                                                \
         .argument = "N",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         LINK_OPTION(type, member, depth),                                                                             \
         .min = 4,                                                                                                     \
         .max = 16384,                                                                                                 \
         .commands = (bw),                                                                                             \
         .group = "What (the client decides)",                                                                         \
         .help = "writes, or reads, in flight on a lane (what tern takes); of verbs only"},                            \
        {.name = "iterations",                                                                                         \
         .letter = 'n',                                                                                                \
         .argument = "N",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         LINK_OPTION(type, member, iterations),                                                                        \
         .min = 1,                                                                                                     \
         .max = 1ull << 40,                                                                                            \
         .commands = (bw) | (lat),                                                                                     \
         .group = "What (the client decides)",                                                                         \
         .help = "writes, or reads, of a repetition, over all lanes (bw: as many as --duration allows, lat: 1000)"},   \
        {.name = "duration",                                                                                           \
         .letter = 'D',                                                                                                \
         .argument = "SECONDS",                                                                                        \
         .kind = OPTION_SECONDS,                                                                                       \
         LINK_OPTION(type, member, duration_ns),                                                                       \
         .min = 10000000,                                                                                              \
         .max = 3600000000000,                                                                                         \
         .commands = (bw) | (lat),                                                                                     \
         .group = "What (the client decides)",                                                                         \
         .help = "how long a repetition takes, like 10, 10s or 500ms (bw: 1s)"},                                       \
        {.name = "memory",                                                                                             \
         .argument = "SIZE",                                                                                           \
         .kind = OPTION_SIZE,                                                                                          \
         LINK_OPTION(type, member, memory_bytes),                                                                      \
         .min = 2ull << 20,                                                                                            \
         .max = 1ull << 40,                                                                                            \
         .commands = (bw) | (lat),                                                                                     \
         .group = "What (the client decides)",                                                                         \
         .help = "memory of each side, gone over round and round, shared by the lanes; populated and "                 \
                 "registered before (64M, or two writes a lane where that is more)"},                                  \
        {.name = "scattered",                                                                                          \
         .kind = OPTION_FLAG,                                                                                          \
         LINK_OPTION(type, member, scattered),                                                                         \
         .commands = (bw),                                                                                             \
         .group = "What (the client decides)",                                                                         \
         .help = "leave a gap as long as a write after each, as between scattered dirty pages"},                       \
        {.name = "until",                                                                                              \
         .argument = "WHAT",                                                                                           \
         .choices = "auto|completion|answer",                                                                          \
         .kind = OPTION_CHOICE,                                                                                        \
         LINK_OPTION(type, member, until),                                                                             \
         .commands = (lat),                                                                                            \
         .group = "What (the client decides)",                                                                         \
         .help = "a write's time ends with its completion (verbs only; auto takes it there), or with the far host's "  \
                 "answer to a fence behind it (what a round of a migration waits for); a read's with its completion "  \
                 "over tcp too"},                                                                                      \
        {.name = "report_gbits",                                                                                       \
         .kind = OPTION_FLAG,                                                                                          \
         LINK_OPTION(type, member, gbits),                                                                             \
         .commands = (bw),                                                                                             \
         .group = "Output",                                                                                            \
         .help = "rates in Gb/s, not MiB/s"},                                                                          \
    {                                                                                                                  \
        .name = "repeat", .argument = "N", .kind = OPTION_NUMBER, LINK_OPTION(type, member, repeat), .min = 1,         \
        .max = 1000, .commands = (bw) | (lat), .group = "Output",                                                      \
        .help = "repetitions of each size, after one to warm up (bw: 5, lat: 1)"                                       \
    }

#endif
