/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's lanes. They are accepted within wait_lanes, by whoever shows the token; afterwards only fences and
 * disconnects are heard of, in wait_fence. One completion queue serves all lanes. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "transport/address.h"
#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/destination.h"

#define POLL 16

/* ---- fences ---- */

static struct target_lane *lane_of(struct link_destination *destination, uint32_t qp_num)
{
    for (uint32_t i = 0; i < destination->n_lanes; i++)
        if (destination->lanes[i].id && destination->lanes[i].id->qp && destination->lanes[i].id->qp->qp_num == qp_num)
            return &destination->lanes[i];
    return NULL;
}

static int on_completion(struct link_destination *destination, const struct ibv_wc *wc, struct tern_error *error)
{
    struct target_lane *lane = lane_of(destination, wc->qp_num);
    char peer[ADDRESS_TEXT_BYTES];

    if (!lane)
        return 0;
    if (wc->status == IBV_WC_WR_FLUSH_ERR) {
        lane->ended = true;
        return 0;
    }
    if (wc->status != IBV_WC_SUCCESS)
        return error_set(error, -EREMOTEIO, "look at the source's messages", "lane %u from %s: %s (vendor error 0x%x)",
                         (uint32_t)(lane - destination->lanes), address_host_text(rdma_get_peer_addr(lane->id), peer),
                         ibv_wc_status_str(wc->status), wc->vendor_err);
    if (wc->opcode != IBV_WC_RECV_RDMA_WITH_IMM || ntohl(wc->imm_data) <= lane->round)
        return error_set(error, -EPROTO, NULL, "lane %u: a fence for round %u after round %u",
                         (uint32_t)(lane - destination->lanes), ntohl(wc->imm_data), lane->round);
    lane->round = ntohl(wc->imm_data);
    return verbs_post_receives(lane->id, 1);
}

static int reap(struct link_destination *destination, struct tern_error *error)
{
    struct ibv_wc wc[POLL];
    int n, r = 0;

    while (!r && (n = ibv_poll_cq(destination->cq, POLL, wc)) > 0)
        for (int i = 0; i < n && !r; i++)
            r = on_completion(destination, &wc[i], error);
    return r;
}

/* 1: every lane has fenced round. 0: not yet. */
static int all_fenced(struct link_destination *destination, uint32_t round, struct tern_error *error)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < destination->n_lanes; i++) {
        if (destination->lanes[i].round >= round)
            n++;
        else if (destination->lanes[i].ended)
            return error_set(error, -ECONNRESET, NULL, "lane %u ended before it fenced round %u", i, round);
    }
    return n == destination->n_lanes;
}

/* Arm, look once more, sleep. */
static int sleep_for_completion(struct link_destination *destination, uint32_t round, int timeout_ms,
                                struct tern_error *error)
{
    struct ibv_cq *cq;
    void *context;
    int r;

    if (ibv_req_notify_cq(destination->cq, 0))
        return error_set(error, -EIO, NULL, "cannot arm the completion queue");
    r = reap(destination, error);
    if (!r)
        r = all_fenced(destination, round, NULL);
    if (r)
        return r > 0 ? 0 : r;
    r = verbs_sleep(destination->completions->fd, destination->channel->fd, destination->abort_fd, timeout_ms);
    if (r)
        return r == -ECANCELED ? verbs_canceled(error) : r;
    while (verbs_take_event(destination) > 0)
        ;
    if (verbs_sleep(destination->completions->fd, -1, -1, 0) == 0 &&
        !ibv_get_cq_event(destination->completions, &cq, &context))
        ibv_ack_cq_events(cq, 1);
    return 0;
}

int verbs_wait_fence(struct link_destination *destination, uint32_t round, int timeout_ms, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms);
    int r;

    for (;;) {
        r = reap(destination, error);
        if (!r)
            r = all_fenced(destination, round, error);
        if (r)
            return r > 0 ? 0 : r;
        r = sleep_for_completion(destination, round, clock_left_ms(deadline_ns), error);
        if (r)
            return r;
    }
}

/* ---- life ---- */

static int listen_on(struct link_destination *destination, const struct sockaddr *local, uint16_t *port_out,
                     struct tern_error *error)
{
    struct sockaddr_storage address = {0};
    int r;

    memcpy(&address, local, local->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    if (rdma_bind_addr(destination->listener, (struct sockaddr *)&address)) {
        address_set_port(&address, 0); /* the number is taken among rdma_cm's ports: any other */
        if (rdma_bind_addr(destination->listener, (struct sockaddr *)&address))
            return verbs_no_rail(&destination->options, local, error);
    }
    if (!destination->listener->verbs)
        return verbs_no_rail(&destination->options, local, error);
    if (rdma_listen(destination->listener, LINK_LANES_MAX))
        return error_set(error, -errno, NULL, "cannot listen for lanes: %s", strerror(errno));
    *port_out = ntohs(rdma_get_src_port(destination->listener));
    r = verbs_device_check(&destination->options, destination->listener, error);
    return r ? r : verbs_bound_gid_check(&destination->options, destination->listener, local, error);
}

static int make_queues(struct link_destination *destination, struct tern_error *error)
{
    struct ibv_context *verbs = destination->listener->verbs;

    destination->pd = ibv_alloc_pd(verbs);
    destination->completions = ibv_create_comp_channel(verbs);
    if (destination->completions)
        destination->cq =
            ibv_create_cq(verbs, (int)(destination->n_lanes * (RECEIVES + 1)), NULL, destination->completions, 0);
    if (!destination->pd || !destination->cq)
        return error_set(error, -errno, NULL, "no protection domain or completion queue: %s", strerror(errno));
    return 0;
}

int verbs_destination_open(const struct link_options *options, const struct sockaddr *local,
                           const uint8_t token[LINK_TOKEN_BYTES], uint16_t *port_out, struct link_destination **out,
                           struct tern_error *error)
{
    struct link_destination *destination = calloc(1, sizeof(*destination));
    int r = 0;

    if (!destination)
        return error_set(error, -ENOMEM, NULL, "out of memory for the lanes");
    destination->n_lanes = options->n_lanes;
    destination->chunk_bytes = options->chunk_bytes;
    destination->connect_timeout_ms = options->connect_timeout_ms;
    destination->options = *options;
    memcpy(destination->token, token, LINK_TOKEN_BYTES);
    destination->abort_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    destination->lanes = calloc(options->n_lanes, sizeof(*destination->lanes));
    destination->channel = verbs_channel();
    if (destination->abort_fd < 0 || !destination->lanes || !destination->channel ||
        rdma_create_id(destination->channel, &destination->listener, NULL, RDMA_PS_TCP))
        r = error_set(error, -errno, NULL, "cannot listen for lanes: %s", strerror(errno));
    if (!r)
        r = listen_on(destination, local, port_out, error);
    if (!r)
        r = make_queues(destination, error);
    if (r)
        verbs_destination_close(destination);
    else
        *out = destination;
    return r;
}

int verbs_destination_expose(struct link_destination *destination, uint32_t region, void *base, uint64_t length_bytes,
                             struct tern_error *error)
{
    if (region >= LINK_REGIONS_MAX)
        return error_set(error, -EINVAL, NULL, "region %u is over the %d that a link has", region, LINK_REGIONS_MAX);
    if (region >= destination->n_regions)
        destination->n_regions = region + 1;
    return verbs_region_init(&destination->regions[region], base, length_bytes, destination->chunk_bytes, error);
}

int verbs_destination_register_chunk(struct link_destination *destination, uint32_t region, uint64_t chunk,
                                     struct link_key *out, struct tern_error *error)
{
    struct verbs_region *memory = &destination->regions[region];
    int r = verbs_region_register(memory, destination->pd, chunk, destination->chunk_bytes,
                                  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, error);

    if (!r)
        *out = (struct link_key){(uintptr_t)memory->mrs[chunk]->addr, memory->mrs[chunk]->rkey};
    return r;
}

void verbs_destination_abort(struct link_destination *destination)
{
    uint64_t one = 1;
    ssize_t n = write(destination->abort_fd, &one, sizeof(one));

    (void)n;
}

/* A queue pair that does not exist takes no writes. */
void verbs_destination_teardown(struct link_destination *destination)
{
    for (uint32_t i = 0; i < destination->n_lanes; i++)
        if (destination->lanes[i].id && destination->lanes[i].id->qp) {
            rdma_disconnect(destination->lanes[i].id);
            rdma_destroy_qp(destination->lanes[i].id);
        }
}

void verbs_destination_close(struct link_destination *destination)
{
    if (!destination)
        return;
    if (destination->lanes)
        verbs_destination_teardown(destination);
    for (uint32_t i = 0; i < destination->n_regions; i++)
        verbs_region_free(&destination->regions[i]);
    if (destination->cq)
        ibv_destroy_cq(destination->cq);
    if (destination->completions)
        ibv_destroy_comp_channel(destination->completions);
    if (destination->pd)
        ibv_dealloc_pd(destination->pd);
    for (uint32_t i = 0; destination->lanes && i < destination->n_lanes; i++)
        if (destination->lanes[i].id)
            rdma_destroy_id(destination->lanes[i].id);
    if (destination->listener)
        rdma_destroy_id(destination->listener);
    if (destination->channel)
        rdma_destroy_event_channel(destination->channel);
    if (destination->abort_fd >= 0)
        close(destination->abort_fd);
    free(destination->lanes);
    free(destination);
}
