/* SPDX-License-Identifier: BSD-2-Clause */
/* What completes on a lane of the source: its work requests, which give room in the queue and in the ring back, and
 * messages of the destination, which give credits back. source: ibv_get_cq_event(3) (arm, poll again, then sleep) */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "transport/address.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

#define POLL         16
#define CREDIT_WR_ID UINT64_MAX

static const char *hint_for(enum ibv_wc_status status)
{
    switch (status) {
    case IBV_WC_RETRY_EXC_ERR:
        return "the destination or the network is gone: check both";
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
    case IBV_WC_RNR_RETRY_EXC_ERR:
    case IBV_WC_WR_FLUSH_ERR:
        return "look at the destination's messages";
    default:
        return "look at the kernel's messages of both hosts";
    }
}

static const char *peer_text(const struct verbs_lane *lane, char text[ADDRESS_TEXT_BYTES])
{
    return address_host_text(rdma_get_peer_addr(lane->id), text);
}

/* On an error the completion's status, number and vendor's code are all that is valid. source: ibv_poll_cq(3) */
static int failed(struct verbs_lane *lane, const struct ibv_wc *wc, struct tern_error *error)
{
    const struct verbs_posted *what = &lane->sent[wc->wr_id % lane->depth];
    const char *hint = hint_for(wc->status), *status = ibv_wc_status_str(wc->status);
    bool reads = lane->source->operation == LINK_READ;
    char peer[ADDRESS_TEXT_BYTES];
    struct link_key *key;

    /* A flush is the first that is heard of where the kernel ended the lane. */
    lane->out |= wc->status == IBV_WC_RETRY_EXC_ERR || wc->status == IBV_WC_WR_FLUSH_ERR;
    if (!what->length_bytes)
        return error_set(error, -EREMOTEIO, hint, "lane %u to %s: a fence failed: %s (vendor error 0x%x)", lane->index,
                         peer_text(lane, peer), status, wc->vendor_err);
    key = &lane->source->regions[what->region].keys[what->offset_bytes / lane->source->chunk_bytes];
    return error_set(
        error, -EREMOTEIO, hint,
        "lane %u to %s: a %s of %llu bytes %s region %u at 0x%llx (there at 0x%llx) failed: %s (vendor error 0x%x)",
        lane->index, peer_text(lane, peer), reads ? "read" : "write", (unsigned long long)what->length_bytes,
        reads ? "of" : "to", what->region, (unsigned long long)what->offset_bytes,
        (unsigned long long)(key->address + what->offset_bytes % lane->source->chunk_bytes), status, wc->vendor_err);
}

int verbs_post_credit_receives(struct verbs_lane *lane, uint32_t n)
{
    struct ibv_recv_wr wr = {.wr_id = CREDIT_WR_ID}, *bad;
    int r = 0;

    while (n-- && !r)
        r = ibv_post_recv(lane->id->qp, &wr, &bad);
    return -r;
}

static int take_credits(struct verbs_lane *lane, const struct ibv_wc *wc, struct tern_error *error)
{
    uint32_t n = ntohl(wc->imm_data);

    if (!(wc->wc_flags & IBV_WC_WITH_IMM) || n > lane->credits_max - lane->credits)
        return error_set(error, -EPROTO, NULL, "lane %u: the destination gives back more of its ring than was used",
                         lane->index);
    lane->credits += n;
    if (verbs_post_credit_receives(lane, 1))
        return error_set(error, -ENOTCONN, NULL, "lane %u: cannot post a receive", lane->index);
    return 0;
}

/* This one and those before it that were not signalled. */
static void retire(struct verbs_lane *lane, uint64_t last)
{
    for (; lane->completed <= last; lane->completed++) {
        const struct verbs_posted *what = &lane->sent[lane->completed % lane->depth];

        if (what->from_ring)
            verbs_ring_give(&lane->ring, what->length_bytes);
    }
}

int verbs_reap(struct verbs_lane *lane, struct tern_error *error)
{
    struct ibv_wc wc[POLL];
    int n, r = 0;

    while (!r && (n = ibv_poll_cq(lane->cq, POLL, wc)) > 0)
        for (int i = 0; i < n && !r; i++) {
            lane->progress++;
            if (wc[i].status != IBV_WC_SUCCESS) /* a receive that is flushed is not what failed */
                r = wc[i].wr_id == CREDIT_WR_ID ? 0 : failed(lane, &wc[i], error);
            else if (wc[i].wr_id == CREDIT_WR_ID)
                r = take_credits(lane, &wc[i], error);
            else
                retire(lane, wc[i].wr_id);
        }
    return !r && n < 0 ? error_set(error, -EIO, NULL, "lane %u: cannot poll for completions", lane->index) : r;
}

int verbs_ended(const struct verbs_lane *lane, struct tern_error *error)
{
    char peer[ADDRESS_TEXT_BYTES];

    return error_set(error, -ENOTCONN, "look at the destination's messages",
                     "lane %u to %s is down: the destination ended it", lane->index, peer_text(lane, peer));
}

/* Disconnects and the like come here; everything else is stale. */
static int look_at_cm(struct verbs_lane *lane, struct tern_error *error)
{
    struct rdma_cm_event *event;
    char peer[ADDRESS_TEXT_BYTES];

    while (!rdma_get_cm_event(lane->channel, &event)) {
        enum rdma_cm_event_type type = event->event;

        rdma_ack_cm_event(event);
        lane->out |= type == RDMA_CM_EVENT_DEVICE_REMOVAL || type == RDMA_CM_EVENT_DISCONNECTED;
        lane->ended |= type == RDMA_CM_EVENT_DISCONNECTED;
        if (type == RDMA_CM_EVENT_DISCONNECTED)
            return verbs_ended(lane, error);
        if (type == RDMA_CM_EVENT_DEVICE_REMOVAL)
            return error_set(error, -ENOTCONN, "bring the device back, and start the migration again",
                             "lane %u to %s is down: its RDMA device was removed", lane->index, peer_text(lane, peer));
    }
    return 0;
}

int verbs_await_completion(struct verbs_lane *lane, int timeout_ms, struct tern_error *error)
{
    struct ibv_cq *cq;
    void *context;
    uint64_t before = lane->progress;
    int r;

    if (ibv_req_notify_cq(lane->cq, 0))
        return error_set(error, -EIO, NULL, "lane %u: cannot arm the completion queue", lane->index);
    r = verbs_reap(lane, error); /* what came before it was armed makes no event */
    if (r || lane->progress != before)
        return r;
    r = verbs_sleep(lane->completions->fd, lane->channel->fd, lane->source->abort_fd, timeout_ms);
    if (r == -ECANCELED)
        return error_set(error, r, NULL, "the link was aborted");
    if (r)
        return r;
    r = look_at_cm(lane, error);
    if (r) {
        struct tern_error first = {0};

        if (verbs_reap(lane, &first) && error) /* a failed write says more than the disconnect after it */
            *error = first;
        return r;
    }
    if (verbs_sleep(lane->completions->fd, -1, -1, 0) == 0 && !ibv_get_cq_event(lane->completions, &cq, &context))
        ibv_ack_cq_events(cq, 1);
    return 0;
}

/* What is still on its way to a reader would land after what another lane reads anew. */
static void stop_reads(const struct verbs_lane *lane)
{
    struct ibv_qp_attr error_state = {.qp_state = IBV_QPS_ERR};

    if (lane->source->operation == LINK_READ && lane->id && lane->id->qp)
        ibv_modify_qp(lane->id->qp, &error_state, IBV_QP_STATE);
}

bool verbs_lost(struct link_source *source, uint32_t index, void (*each)(void *opaque, const struct link_run *run),
                void *opaque)
{
    struct verbs_lane *lane = &source->lanes[index];
    uint32_t rails[LINK_LANES_MAX];
    uint64_t lost;

    if (!lane->out)
        return false;
    for (uint32_t i = 0; i < source->n_lanes; i++)
        rails[i] = source->lanes[i].rail;
    lost = atomic_fetch_or(&source->lanes_lost, 1ull << index);
    if (!verbs_rail_goes_on(rails, source->n_lanes, lost, lane->rail))
        return false;
    stop_reads(lane);
    for (uint64_t i = lane->completed; i < lane->posted; i++) {
        const struct verbs_posted *what = &lane->sent[i % lane->depth];

        if (what->length_bytes)
            each(opaque, &(struct link_run){what->region, what->offset_bytes, what->length_bytes});
    }
    if (lane->rest.length_bytes)
        each(opaque, &lane->rest);
    return true;
}
