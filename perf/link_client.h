/* SPDX-License-Identifier: BSD-2-Clause */
/* The near end of bw and lat: a link to a tern-perf server, as a migration's source makes it, and memory to write from,
 * or to read into. */
#ifndef PERF_LINK_CLIENT_H
#define PERF_LINK_CLIENT_H

#include <pthread.h>

#include "migrate/wire.h"
#include "perf/link_options.h"
#include "transport/control.h"
#include "transport/link.h"

struct link_client {
    const struct link_provider *provider;
    struct link_source *link;
    struct link_options options;
    struct link_limits limits; /* of this side's device */
    struct control *control;
    pthread_mutex_t lock; /* guards link, for the control channel's reader */
    uint8_t *memory;
    uint64_t memory_bytes;
    uint32_t round; /* the last one that began */
    struct wire_hello_ack ack;
    uint8_t message[WIRE_BUFFER_BYTES];
};

/* link_client_open: connect, agree, open the lanes, register memory on both sides.
 * command  "bw" or "lat", as the server's
 * returns  0 and *out, the caller's; -errno with what to do */
int link_client_open(const char *command, const struct link_values *values, uint32_t n_lanes, uint64_t memory_bytes,
                     struct link_client **out, struct tern_error *error);
/* link_client_finish: tell the server that all is measured, which ends it. */
int link_client_finish(struct link_client *client, struct tern_error *error);
/* link_client_close: disconnect, free. Takes NULL. */
void link_client_close(struct link_client *client);

/* link_client_end_round: every lane has fenced client->round; wait for the server's word that it has seen that. */
int link_client_end_round(struct link_client *client, struct tern_error *error);

#endif
