/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's session, private to migrate/source*.c. One thread runs it; workers, the control channel's reader and a
 * canceller reach it only through what is marked so.
 *   source.c             life, outcome, cancel
 *   source_initiate.c    connect, agree, lanes, registration
 *   source_inbox.c       messages from the destination
 *   source_precopy.c     rounds and convergence
 *   source_lanes.c       lanes that are lost with their rail, and come back with it
 *   source_switchover.c  stop-and-copy, the ledger, the outcome
 *   source_handover.c    who runs the guest: events in, actions out; what follows a cut
 */
#ifndef MIGRATE_SOURCE_H
#define MIGRATE_SOURCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migrate/chunks.h"
#include "migrate/converge.h"
#include "migrate/estimate.h"
#include "migrate/events.h"
#include "migrate/guest.h"
#include "migrate/handover.h"
#include "migrate/locality.h"
#include "migrate/lost_lanes.h"
#include "migrate/pacer.h"
#include "migrate/registrar.h"
#include "migrate/rejoin.h"
#include "migrate/rounds.h"
#include "migrate/tern.h"
#include "migrate/tuner.h"
#include "migrate/wire.h"
#include "transport/control.h"
#include "transport/link.h"

/* What the destination has said so far. Session thread only. */
struct inbox {
    bool acknowledged; /* HELLO_ACK */
    struct wire_hello_ack ack;
    struct wire_round_ack round_ack; /* the latest */
    bool refused;                    /* REFUSE */
    bool ready, active;
    bool has_standing;
    enum wire_standing standing;
};

/* Moments of the switchover, on the monotonic clock. */
struct switchover_times {
    uint64_t pause_ns, paused_ns, scanned_ns, written_ns, fenced_ns, prepared_ns, committed_ns, active_ns;
};

struct source {
    const struct tern_vm *vm;
    struct tern_options options;
    struct events events;
    struct tern_result result;
    uint64_t start_ns, first_page_ns;
    uint8_t session[WIRE_SESSION_BYTES];
    struct handover handover;

    struct guest guest;
    struct locality *locality; /* NULL: one NUMA node */
    struct pacer pacer;
    struct link_limits limits; /* of this side's device */
    uint64_t chunk_bytes;      /* as agreed */
    struct link_options link_options;
    const struct link_provider *provider;
    struct inbox inbox;
    void *state_buffer; /* device state, a region of the link like memory */
    uint64_t state_capacity_bytes;
    uint64_t state_bytes, state_digest;
    uint32_t round;
    struct lost_lanes lost_lanes;
    struct tern_error away; /* why the last try to connect one of them failed */
    struct tuner tuner;
    bool tracking, inhibited, throttled;
    bool overdue; /* the deadline has passed: switch over although the limit is missed */
    struct converge converge;
    struct estimate estimate;
    uint64_t fetched_ns;   /* when the dirty bitmaps were fetched last */
    uint64_t predicted_ns; /* the downtime, as of the last round's end; 0: not known yet */
    struct switchover_times at;
    struct tern_error failure; /* of the handover: why it went the way it went */
    uint64_t reconnect_deadline_ns;
    bool tell; /* the destination may wait for a word that the guest runs here */
    uint8_t message[WIRE_BUFFER_BYTES];

    _Atomic bool cancelled; /* any thread */
    _Atomic uint64_t registered_bytes, register_ns, ring_bytes;

    pthread_mutex_t lock; /* guards the pointers below, for unblock() from other threads */
    struct control *control;
    struct link_source *link;
    struct chunks *chunks;
    struct registrar *registrar;
    struct rounds *rounds;
    struct rejoin *rejoin;         /* once a lane was lost that may come back */
    struct tern_error async_error; /* first failure in a thread that is not the session's */
    bool async_failed;
};

/* source_pump: handle messages for at most timeout_ms or until one was handled.
 * returns  0; -ETIMEDOUT; -ECANCELED tern_source_cancel; the peer's refusal; how the control channel ended */
int source_pump(struct source *source, int timeout_ms, struct tern_error *error);

/* source_send: one message from source->message. */
int source_send(struct source *source, enum wire_type type, size_t length, struct tern_error *error);

/* source_unblock: abort lanes, chunks and workers, so that every thread comes back soon. Any thread. */
void source_unblock(struct source *source);

/* source_round_is_over: wake the session. Any thread. */
void source_round_is_over(void *source);

/* source_fail_async: note a failure of another thread and wake the session. Any thread. */
void source_fail_async(struct source *source, const struct tern_error *error);

int source_initiate(struct source *source, struct tern_error *error);
int source_want_touched(struct source *source, struct tern_error *error);
/* source_register_all: every chunk of guest memory, and wait. For a tracker that keeps pages from being pinned. */
int source_register_all(struct source *source, struct tern_error *error);
int source_want(void *source, uint32_t region, uint64_t chunk, struct tern_error *error);

/* source_connect: a control channel to the destination for source->session, without a message yet. */
int source_connect(struct source *source, uint32_t timeout_ms, struct tern_error *error);
/* source_disconnect: drop the control channel. */
void source_disconnect(struct source *source);

/* source_precopy: rounds until the switchover fits. */
int source_precopy(struct source *source, struct tern_error *error);
/* source_round: send all that is dirty as the next round and wait for the destination's word that it has it.
 * written_ns   may be NULL: when all of it had completed here */
int source_round(struct source *source, bool last, uint64_t *written_ns, struct tern_error *error);

/* source_lose_lanes: lanes (a bit each) that were lost in this round: no page of theirs may travel again before the
 * destination has torn them down. */
int source_lose_lanes(struct source *source, uint64_t lost, struct tern_error *error);
/* source_tend_lanes: try to connect lost lanes again, beside whatever else goes on. Within pre-copy, now and then. */
void source_tend_lanes(struct source *source);
/* source_take_lanes_back: those that have connected are used from the next round of pre-copy on. No round runs. */
int source_take_lanes_back(struct source *source, struct tern_error *error);
/* source_end_tries: no lane comes back from here on; a try that is under way ends now. */
void source_end_tries(struct source *source);

/* source_give_up: before the commit: the guest stays here. Resumes it if it was paused, and tells the destination.
 * returns  code, or -EIO where the guest could not be resumed, then with another *error */
int source_give_up(struct source *source, int code, struct tern_error *error);

/* source_feed: one event into the handover, and all that follows from it. */
void source_feed(struct source *source, enum handover_event event);
enum handover_event source_event_of(int code, const struct tern_error *error);
void source_await_verdict(struct source *source);
void source_tell(struct source *source);

/* source_switchover: from pause to the destination's word that the guest runs; sets result.outcome. */
int source_switchover(struct source *source, struct tern_error *error);

#endif
