/* SPDX-License-Identifier: BSD-2-Clause */
/* The far end of bw and lat: memory that one client writes into or reads, over tern's own lanes, and an answer to each
 * round. It speaks the messages of a migration (migrate/wire.h): HELLO, HELLO_ACK, KEY, ROUND_END, ROUND_ACK, REFUSE. A
 * client's HELLO names a guest of kind "tern-perf COMMAND", with " --read" if that is what it does, so that no
 * migration is taken for one, nor the reverse. */
#ifndef PERF_LINK_SERVER_H
#define PERF_LINK_SERVER_H

#include "perf/link_options.h"

#define LINK_KIND      "tern-perf "
#define LINK_KIND_READ " --read"

/* A server's memory, as 8-byte words, before a client writes there: word i is (i + 1) times this. */
#define LINK_PATTERN 0x9e3779b97f4a7c15ull

/* What a client has done here. */
struct link_served {
    char peer[64];
    char transport[32];
    uint64_t rounds;
};

/* link_server_run: listen, serve one client, end with it. Those that are no client of this command are turned away, on
 * stderr, and waiting goes on, as it does when one leaves before its first round. Says on stderr where it listens.
 * errors   listening; the client went away without a word */
int link_server_run(const char *command, const struct link_values *values, struct link_served *out,
                    struct tern_error *error);

#endif
