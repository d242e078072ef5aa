/* SPDX-License-Identifier: BSD-2-Clause */
/* Who connects to the port of a tern-perf server: one client's control channel, its lanes; others are turned away. */
#ifndef PERF_LINK_DOOR_H
#define PERF_LINK_DOOR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/link.h"
#include "transport/listener.h"

/* What the listener's thread and the server share; lock guards all of it. */
struct link_door {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct listener *listener;
    bool busy;      /* a client is here */
    int waiting_fd; /* a control channel that nobody serves yet, or -1 */
    uint8_t token[LINK_TOKEN_BYTES];
    const struct link_provider *provider;
    struct link_destination *link; /* takes lanes that show the token */
};

/* link_door_open: listen. port 0: any free one, link_door_port tells. */
int link_door_open(struct link_door *door, uint16_t port, struct tern_error *error);
/* link_door_close: takes one whose open failed. */
void link_door_close(struct link_door *door);
uint16_t link_door_port(const struct link_door *door);

/* link_door_wait: the next control channel, the caller's; who comes while it is served is told to wait. */
int link_door_wait(struct link_door *door);
/* link_door_vacate: the client was turned away: the next may come. */
void link_door_vacate(struct link_door *door);

/* link_door_admit: lanes with this token go to link. */
void link_door_admit(struct link_door *door, const struct link_provider *provider, struct link_destination *link,
                     const uint8_t token[LINK_TOKEN_BYTES]);
/* link_door_abort: make whoever waits for lanes or fences return. Any thread. */
void link_door_abort(struct link_door *door);
/* link_door_drop: close the link, if any. */
void link_door_drop(struct link_door *door);

/* link_door_refuse: a frame that every version of tern can read. */
void link_door_refuse(int fd, const struct tern_error *error);

#endif
