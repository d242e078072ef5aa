/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's session, private to migrate/destination*.c.
 *   destination.c           life, waiting for a source, outcome, cancel
 *   destination_accept.c    who connects: control channels, lanes, strangers
 *   destination_agree.c     HELLO, layout, transport, lanes
 *   destination_place.c     on which NUMA node memory lands
 *   destination_receive.c   messages of the rounds
 *   destination_verify.c    comparing digests before commit
 *   destination_handover.c  ready, commit, activation, what follows a cut
 */
#ifndef MIGRATE_DESTINATION_H
#define MIGRATE_DESTINATION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migrate/events.h"
#include "migrate/handover.h"
#include "migrate/registrar.h"
#include "migrate/tern.h"
#include "migrate/verifier.h"
#include "migrate/wire.h"
#include "transport/control.h"
#include "transport/link.h"
#include "transport/listener.h"

struct destination_door { /* what the listener's thread and the session share; lock guards all of it */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool receiving;       /* a source is here: others are refused */
    bool wants_reconnect; /* and the same source may come again */
    int waiting_fd;       /* a control channel that nobody serves yet, or -1 */
    uint8_t waiting_session[WIRE_SESSION_BYTES];
    uint8_t session[WIRE_SESSION_BYTES];
    uint8_t token[LINK_TOKEN_BYTES];
    uint32_t n_lanes;
    const struct link_provider *provider;
    struct link_destination *link;
    struct control *control;
};

struct tern_destination {
    const struct tern_vm *vm;
    struct tern_options options;
    struct events events;
    struct tern_result result;
    struct handover handover;
    struct listener *listener;
    struct destination_door door;
    _Atomic bool cancelled;

    struct wire_hello hello;
    uint64_t start_ns;
    uint8_t *state_buffer;
    uint64_t state_capacity_bytes, state_bytes;
    struct registrar *registrar;
    struct verifier *verifier;
    struct placement *placement; /* NULL: this host has one NUMA node */
    struct link_options link_options;
    uint32_t round;         /* the last one that was acknowledged */
    bool last;              /* and it was the last: nothing but the device state is still to come */
    uint64_t lanes_dropped; /* a bit each */
    bool inhibited;
    bool torn;    /* the lanes are down for good */
    bool queried; /* the present connection began with a QUERY */
    uint64_t await_deadline_ns;
    struct tern_error failure; /* of the handover: why it went the way it went */
    _Atomic uint64_t registered_bytes, register_ns, ring_bytes;
    uint8_t message[WIRE_BUFFER_BYTES];
};

/* ---- destination_accept.c ---- */
void door_init(struct destination_door *door);
void door_free(struct destination_door *door);
struct listener_handler door_handler(struct tern_destination *destination);
/* door_wait: the next control channel. returns 0 and *fd_out, -ETIMEDOUT (-1: none), -ECANCELED */
int door_wait(struct tern_destination *destination, int timeout_ms, int *fd_out, uint8_t session[WIRE_SESSION_BYTES]);
/* door_open_control: serve this socket. */
int door_open_control(struct tern_destination *destination, int fd, struct tern_error *error);
void door_close_control(struct tern_destination *destination);
/* door_close_link: close the lanes for good. */
void door_close_link(struct tern_destination *destination);

/* ---- destination_agree.c ---- */
/* destination_agree: from HELLO to connected lanes; guest memory may be written from then on. */
int destination_agree(struct tern_destination *destination, struct tern_error *error);
/* Memory of a region of the link, the device state's included. NULL: no such region. */
uint8_t *destination_memory(struct tern_destination *destination, uint32_t region, uint64_t *length_bytes);
/* destination_refuse: tell the source why. */
void destination_refuse(struct tern_destination *destination, const struct tern_error *error);
int destination_bad_message(uint16_t type, struct tern_error *error);

/* ---- destination_place.c ---- */
/* placement_check: is it a map, and of nodes that are here? NULL is none. errors -EINVAL, -ENOMEM, -EIO */
int placement_check(const char *numa_map, struct tern_error *error);
/* destination_place: memory policies on guest memory, by hello.residence and options.numa_map. Before registration. */
void destination_place(struct tern_destination *destination);
/* placement_destroy: and the policies are what they were. Takes NULL. */
void placement_destroy(struct placement *placement);
/* destination_enter_node: let the calling thread run on the CPUs of the node on which the chunk will lie. */
void destination_enter_node(const struct tern_destination *destination, uint32_t region, uint64_t chunk);
/* destination_report_nodes: pages per node, into the result. */
void destination_report_nodes(struct tern_destination *destination);

/* ---- destination_receive.c ---- */
/* destination_next: the next message from the source; -ETIMEDOUT; -ECANCELED when either side gives up; how the control
 * channel ended. timeout_ms: -1 none */
int destination_next(struct tern_destination *destination, int timeout_ms, struct control_frame *out,
                     struct tern_error *error);
/* destination_check_cancelled: 0, or -ECANCELED after tern_destination_cancel. */
int destination_check_cancelled(struct tern_destination *destination, struct tern_error *error);
/* destination_receive: all rounds, until the device state is here and loaded. */
int destination_receive(struct tern_destination *destination, struct tern_error *error);

/* ---- destination_verify.c ---- */
/* destination_compare: against the source's digests; asks for more of them to name the page that differs. */
int destination_compare(struct tern_destination *destination, const struct wire_round_end *end,
                        struct tern_error *error);

/* ---- destination_handover.c ---- */
/* destination_feed: one event into the handover, and all that follows from it. */
void destination_feed(struct tern_destination *destination, enum handover_event event);
enum handover_event destination_event_of(int code, const struct tern_error *error);
/* destination_handover: from READY to the end; sets result.outcome. */
int destination_handover(struct tern_destination *destination, struct tern_error *error);

#endif
