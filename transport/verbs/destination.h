/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to listen.c, accept.c, slots.c and destination.c: the destination's lanes. */
#ifndef TRANSPORT_VERBS_DESTINATION_H
#define TRANSPORT_VERBS_DESTINATION_H

#include <pthread.h>

#include "transport/verbs/verbs.h"

#define RECEIVES VERBS_SLOTS_MAX /* posted a lane; the rounds' acknowledgement keeps fewer than that under way */

struct target_lane {
    struct rdma_cm_id *id;
    uint32_t rail;
    struct ibv_mr *mr; /* of its slots */
    uint32_t round;    /* last fenced */
    uint32_t owed;     /* slots that were copied and not yet given back */
    bool connected, ended, dropped;
};

/* The ring, n slots a lane, and the thread that copies what they receive. */
struct verbs_slots {
    uint32_t n; /* 0: there is no ring */
    uint8_t *memory;
    uint64_t bytes;
    int stop_fd;
    pthread_t thread;

    pthread_mutex_t lock; /* guards all below, the lanes' rounds, and the completion queue */
    pthread_cond_t changed;
    bool wanted, joined, running; /* wanted: a chunk has no key; joined: all lanes are connected */
    int result;                   /* of the thread, once it failed */
    struct tern_error error;
};

struct target_rail {
    struct rdma_cm_id *listener; /* lends the device's context */
    struct sockaddr_storage address;
    struct ibv_comp_channel *completions;
    struct ibv_cq *cq; /* of all lanes that ride it */
};

struct link_destination {
    uint32_t n_lanes, n_regions;
    uint64_t chunk_bytes;
    int connect_timeout_ms;
    struct link_options options;
    uint8_t token[LINK_TOKEN_BYTES];
    struct rdma_event_channel *channel;
    struct target_rail rails[LINK_RAILS_MAX];
    struct ibv_pd *pds[LINK_RAILS_MAX];
    uint32_t n_rails;
    char device[2 * VERBS_NAME_BYTES];
    struct target_lane *lanes;
    uint64_t progress; /* completions handled */
    struct verbs_region regions[LINK_REGIONS_MAX];
    struct verbs_refusal refused; /* the last that was; reason 0: none */
    int abort_fd;
    struct verbs_slots slots;
};

/* Handle one rdma_cm event, if there is one. returns 1, 0 none, or -errno */
int verbs_take_event(struct link_destination *destination);
int verbs_canceled(struct tern_error *error);

/* ---- destination.c ---- */

/* verbs_take_completions: handle what has completed. slots.lock is held. */
int verbs_take_completions(struct link_destination *destination, struct tern_error *error);
/* verbs_all_fenced: 1 every lane has fenced round, 0 not yet, or the error. slots.lock is held. */
int verbs_all_fenced(struct link_destination *destination, uint32_t round, struct tern_error *error);
/* verbs_await_completions: handle what has completed, or, where nothing has, sleep until something does. Takes
 * slots.lock. returns 0: look again; -ETIMEDOUT; -ECANCELED when stop_fd is readable; a lane's error */
int verbs_await_completions(struct link_destination *destination, int stop_fd, int timeout_ms,
                            struct tern_error *error);

/* ---- listen.c ---- */

/* verbs_listen: at local, and at the other named devices. *port_out is that of the first */
int verbs_listen(struct link_destination *destination, const struct sockaddr *local, uint16_t *port_out,
                 struct tern_error *error);
/* Takes a zeroed one; its lanes' queue pairs are gone. */
void verbs_close_rail(struct target_rail *rail);

/* ---- slots.c ---- */

int verbs_slots_init(struct link_destination *destination, struct tern_error *error);
/* verbs_slots_of_lane: register a lane's slots on its rail. 0 or an errno */
int verbs_slots_of_lane(struct link_destination *destination, uint32_t lane);
void verbs_slots_free(struct link_destination *destination);
/* Receives that are posted on a lane. */
uint32_t verbs_receives_of(const struct link_destination *destination);
int verbs_post_receive(struct link_destination *destination, struct rdma_cm_id *id, uint32_t lane, uint64_t slot);
/* verbs_take_slot: copy what a receive brought into its place, and give the slot back. */
int verbs_take_slot(struct link_destination *destination, struct target_lane *lane, const struct ibv_wc *wc,
                    struct tern_error *error);
/* verbs_slots_start: note what has come; with both the thread starts. Any thread. */
int verbs_slots_start(struct link_destination *destination, bool wanted, bool joined, struct tern_error *error);
/* verbs_slots_stop: after return nothing is copied any more. */
void verbs_slots_stop(struct link_destination *destination);
int verbs_slots_wait_fence(struct link_destination *destination, uint32_t round, uint64_t deadline_ns,
                           struct tern_error *error);

#endif
