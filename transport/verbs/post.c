/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs into chains of RDMA writes, and their completions. One work request in many is signalled: a quarter of the
 * queue, and the last of each chain, so that everything posted is covered by a completion to come. source:
 * ibv_post_send(3), ibv_get_cq_event(3) (arm, poll again, then sleep) */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "transport/address.h"
#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

#define CHAIN 32u
#define POLL  16

static int canceled(struct tern_error *error)
{
    return error_set(error, -ECANCELED, NULL, "the link was aborted");
}

static uint32_t room(const struct verbs_lane *lane)
{
    return lane->depth - (uint32_t)(lane->posted - lane->completed);
}

/* ---- completions ---- */

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
    const struct verbs_posted *what = &lane->ring[wc->wr_id % lane->depth];
    const char *hint = hint_for(wc->status), *status = ibv_wc_status_str(wc->status);
    char peer[ADDRESS_TEXT_BYTES];
    struct link_key *key;

    if (!what->length_bytes)
        return error_set(error, -EREMOTEIO, hint, "lane %u to %s: a fence failed: %s (vendor error 0x%x)", lane->index,
                         peer_text(lane, peer), status, wc->vendor_err);
    key = &lane->source->regions[what->region].keys[what->offset_bytes / lane->source->chunk_bytes];
    return error_set(
        error, -EREMOTEIO, hint,
        "lane %u to %s: a write of %llu bytes to region %u at 0x%llx (there at 0x%llx) failed: %s (vendor error 0x%x)",
        lane->index, peer_text(lane, peer), (unsigned long long)what->length_bytes, what->region,
        (unsigned long long)what->offset_bytes,
        (unsigned long long)(key->address + what->offset_bytes % lane->source->chunk_bytes), status, wc->vendor_err);
}

static int reap(struct verbs_lane *lane, struct tern_error *error)
{
    struct ibv_wc wc[POLL];
    int n;

    while ((n = ibv_poll_cq(lane->cq, POLL, wc)) > 0)
        for (int i = 0; i < n; i++) {
            if (wc[i].status != IBV_WC_SUCCESS)
                return failed(lane, &wc[i], error);
            lane->completed = wc[i].wr_id + 1;
        }
    return n < 0 ? error_set(error, -EIO, NULL, "lane %u: cannot poll for completions", lane->index) : 0;
}

/* Disconnects and the like come here; everything else is stale. */
static int look_at_cm(struct verbs_lane *lane, struct tern_error *error)
{
    struct rdma_cm_event *event;
    char peer[ADDRESS_TEXT_BYTES];

    while (!rdma_get_cm_event(lane->channel, &event)) {
        enum rdma_cm_event_type type = event->event;

        rdma_ack_cm_event(event);
        if (type == RDMA_CM_EVENT_DISCONNECTED)
            return error_set(error, -ENOTCONN, "look at the destination's messages",
                             "lane %u to %s is down: the destination ended it", lane->index, peer_text(lane, peer));
        if (type == RDMA_CM_EVENT_DEVICE_REMOVAL)
            return error_set(error, -ENOTCONN, "bring the device back, and start the migration again",
                             "lane %u to %s is down: its RDMA device was removed", lane->index, peer_text(lane, peer));
    }
    return 0;
}

static int sleep_for_completion(struct verbs_lane *lane, int timeout_ms, struct tern_error *error)
{
    struct ibv_cq *cq;
    void *context;
    uint64_t before = lane->completed;
    int r;

    if (ibv_req_notify_cq(lane->cq, 0))
        return error_set(error, -EIO, NULL, "lane %u: cannot arm the completion queue", lane->index);
    r = reap(lane, error); /* what came before it was armed makes no event */
    if (r || lane->completed != before)
        return r;
    r = verbs_sleep(lane->completions->fd, lane->channel->fd, lane->source->abort_fd, timeout_ms);
    if (r == -ECANCELED)
        return canceled(error);
    if (r)
        return r;
    r = look_at_cm(lane, error);
    if (r) {
        struct tern_error first = {0};

        if (reap(lane, &first) && error) /* a failed write says more than the disconnect after it */
            *error = first;
        return r;
    }
    if (verbs_sleep(lane->completions->fd, -1, -1, 0) == 0 && !ibv_get_cq_event(lane->completions, &cq, &context))
        ibv_ack_cq_events(cq, 1);
    return 0;
}

/* ---- posting ---- */

static bool inside(const struct link_source *source, const struct link_run *run)
{
    const struct verbs_region *region = &source->regions[run->region];

    return run->region < source->n_regions && run->length_bytes && run->offset_bytes <= region->length_bytes &&
           run->length_bytes <= region->length_bytes - run->offset_bytes;
}

/* The next work request of lane->rest, cut at chunks and at the longest write. */
static int next_write(struct verbs_lane *lane, struct ibv_send_wr *wr, struct ibv_sge *sge, uint64_t number,
                      struct tern_error *error)
{
    struct link_source *source = lane->source;
    struct link_run *rest = &lane->rest;
    struct verbs_region *region = &source->regions[rest->region];
    uint64_t chunk = rest->offset_bytes / source->chunk_bytes, within = rest->offset_bytes % source->chunk_bytes;
    uint64_t length = source->chunk_bytes - within;

    if (!region->mrs[chunk])
        return error_set(error, -EINVAL, NULL, "chunk %llu of region %u is not registered", (unsigned long long)chunk,
                         rest->region);
    if (length > rest->length_bytes)
        length = rest->length_bytes;
    if (length > source->write_bytes_max)
        length = source->write_bytes_max;
    *sge = (struct ibv_sge){(uintptr_t)(region->base + rest->offset_bytes), (uint32_t)length, region->mrs[chunk]->lkey};
    *wr = (struct ibv_send_wr){
        .wr_id = number,
        .sg_list = sge,
        .num_sge = 1,
        .opcode = IBV_WR_RDMA_WRITE,
        .wr.rdma = {.remote_addr = region->keys[chunk].address + within, .rkey = region->keys[chunk].rkey},
    };
    lane->ring[number % lane->depth] = (struct verbs_posted){rest->region, rest->offset_bytes, length};
    rest->offset_bytes += length;
    rest->length_bytes -= length;
    return 0;
}

static int hand_over(struct verbs_lane *lane, struct ibv_send_wr *chain, uint32_t n, struct tern_error *error)
{
    struct ibv_send_wr *bad;
    int r;

    for (uint32_t i = 0; i < n; i++) {
        chain[i].next = i + 1 < n ? &chain[i + 1] : NULL;
        if (i + 1 == n || chain[i].wr_id + 1 - lane->signalled >= lane->depth / 4) {
            chain[i].send_flags |= IBV_SEND_SIGNALED;
            lane->signalled = chain[i].wr_id + 1;
        }
    }
    r = ibv_post_send(lane->id->qp, chain, &bad);
    if (r)
        return error_set(error, -ENOTCONN, NULL, "lane %u: cannot post a write: %s", lane->index, strerror(r));
    lane->posted += n;
    return 0;
}

/* Post from the runs until they or the room end. *taken counts runs that are posted or in lane->rest. */
static int fill(struct verbs_lane *lane, const struct link_run *runs, size_t n_runs, size_t *taken,
                struct tern_error *error)
{
    struct ibv_send_wr chain[CHAIN];
    struct ibv_sge sges[CHAIN];
    uint32_t n = 0, space = room(lane);
    int r = 0;

    while (!r && n < space) {
        if (!lane->rest.length_bytes) {
            if (*taken == n_runs)
                break;
            if (!inside(lane->source, &runs[*taken])) {
                r = error_set(error, -EINVAL, NULL, "a run of %llu bytes at %llu lies outside region %u",
                              (unsigned long long)runs[*taken].length_bytes,
                              (unsigned long long)runs[*taken].offset_bytes, runs[*taken].region);
                break;
            }
            lane->rest = runs[(*taken)++];
        }
        r = next_write(lane, &chain[n], &sges[n], lane->posted + n, error);
        n += !r;
        if (n == CHAIN) {
            r = hand_over(lane, chain, n, error);
            n = 0;
            space = room(lane);
        }
    }
    if (n && !r)
        r = hand_over(lane, chain, n, error);
    return r;
}

int verbs_post(struct link_source *source, uint32_t index, const struct link_run *runs, size_t n_runs,
               struct tern_error *error)
{
    struct verbs_lane *lane = &source->lanes[index];
    size_t taken = 0;
    int r;

    if (atomic_load(&source->aborted))
        return canceled(error);
    r = reap(lane, error);
    if (!r)
        r = fill(lane, runs, n_runs, &taken, error);
    return r ? r : (int)taken;
}

int verbs_wait(struct link_source *source, uint32_t index, enum link_wait what, int timeout_ms,
               struct tern_error *error)
{
    struct verbs_lane *lane = &source->lanes[index];
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms);
    size_t none = 0;

    for (;;) {
        int r = atomic_load(&source->aborted) ? canceled(error) : reap(lane, error);

        if (!r)
            r = fill(lane, NULL, 0, &none, error);
        if (r)
            return r;
        if (!lane->rest.length_bytes &&
            (what == LINK_WAIT_ROOM ? room(lane) > lane->depth / 4 : lane->completed == lane->posted))
            return 0;
        r = sleep_for_completion(lane, clock_left_ms(deadline_ns), error);
        if (r)
            return r;
    }
}

int verbs_fence(struct link_source *source, uint32_t index, uint32_t round, struct tern_error *error)
{
    struct verbs_lane *lane = &source->lanes[index];
    struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE_WITH_IMM, .imm_data = htonl(round)};
    int r;

    do {
        r = verbs_wait(source, index, LINK_WAIT_ROOM, 200, error);
    } while (r == -ETIMEDOUT); /* bounded by abort and by the queue pair's own retries */
    if (r)
        return r;
    wr.wr_id = lane->posted;
    lane->ring[wr.wr_id % lane->depth] = (struct verbs_posted){0};
    return hand_over(lane, &wr, 1, error);
}
