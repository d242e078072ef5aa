/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to accept.c and destination.c: the destination's lanes. */
#ifndef TRANSPORT_VERBS_DESTINATION_H
#define TRANSPORT_VERBS_DESTINATION_H

#include "transport/verbs/verbs.h"

#define RECEIVES 16u /* posted a lane; the rounds' acknowledgement keeps fewer than that under way */

struct target_lane {
    struct rdma_cm_id *id;
    uint32_t round; /* last fenced */
    bool connected, ended;
};

struct link_destination {
    uint32_t n_lanes, n_regions;
    uint64_t chunk_bytes;
    int connect_timeout_ms;
    struct link_options options;
    uint8_t token[LINK_TOKEN_BYTES];
    struct rdma_event_channel *channel;
    struct rdma_cm_id *listener;
    struct ibv_pd *pd;
    struct ibv_comp_channel *completions;
    struct ibv_cq *cq;
    struct target_lane *lanes;
    struct verbs_region regions[LINK_REGIONS_MAX];
    struct verbs_refusal refused; /* the last that was; reason 0: none */
    int abort_fd;
};

/* Post n receives, which fences consume. 0 or -errno */
int verbs_post_receives(struct rdma_cm_id *id, uint32_t n);
/* Handle one rdma_cm event, if there is one. returns 1, 0 none, or -errno */
int verbs_take_event(struct link_destination *destination);
int verbs_canceled(struct tern_error *error);

#endif
