/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's lanes. They are accepted within wait_lanes, by whoever shows the token; afterwards fences and
 * disconnects are heard of, in wait_fence, and lanes that were dropped may connect again. One completion queue serves
 * all lanes of a rail. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
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

static struct target_lane *lane_of(struct link_destination *destination, uint32_t rail, uint32_t qp_num)
{
    for (uint32_t i = 0; i < destination->n_lanes; i++) {
        struct target_lane *lane = &destination->lanes[i];

        if (lane->rail == rail && lane->id && lane->id->qp && lane->id->qp->qp_num == qp_num)
            return lane;
    }
    return NULL;
}

static int on_completion(struct link_destination *destination, uint32_t rail, const struct ibv_wc *wc,
                         struct tern_error *error)
{
    struct target_lane *lane = lane_of(destination, rail, wc->qp_num);
    uint32_t index = (uint32_t)(lane - destination->lanes);
    char peer[ADDRESS_TEXT_BYTES];
    int r;

    if (!lane)
        return 0;
    if (wc->status == IBV_WC_WR_FLUSH_ERR || (wc->status == IBV_WC_RETRY_EXC_ERR && destination->n_rails > 1)) {
        lane->ended = true;
        return 0;
    }
    if (wc->status != IBV_WC_SUCCESS)
        return error_set(error, -EREMOTEIO, "look at the source's messages", "lane %u from %s: %s (vendor error 0x%x)",
                         index, address_host_text(rdma_get_peer_addr(lane->id), peer), ibv_wc_status_str(wc->status),
                         wc->vendor_err);
    if (wc->opcode == IBV_WC_SEND)
        return 0; /* credits that were given back */
    if (wc->opcode == IBV_WC_RECV)
        return verbs_take_slot(destination, lane, wc, error);
    if (wc->opcode != IBV_WC_RECV_RDMA_WITH_IMM || ntohl(wc->imm_data) <= lane->round)
        return error_set(error, -EPROTO, NULL, "lane %u: a fence for round %u after round %u", index,
                         ntohl(wc->imm_data), lane->round);
    lane->round = ntohl(wc->imm_data);
    r = verbs_post_receive(destination, lane->id, index, wc->wr_id);
    return r ? error_set(error, r, NULL, "lane %u: cannot post a receive: %s", index, strerror(-r)) : 0;
}

static int take_of_rail(struct link_destination *destination, uint32_t rail, struct tern_error *error)
{
    struct ibv_wc wc[POLL];
    int n, r = 0;

    while (!r && (n = ibv_poll_cq(destination->rails[rail].cq, POLL, wc)) > 0)
        for (int i = 0; i < n && !r; i++) {
            destination->progress++;
            r = on_completion(destination, rail, &wc[i], error);
        }
    return r;
}

int verbs_take_completions(struct link_destination *destination, struct tern_error *error)
{
    int r = 0;

    for (uint32_t rail = 0; rail < destination->n_rails && !r; rail++)
        r = take_of_rail(destination, rail, error);
    return r;
}

int verbs_all_fenced(struct link_destination *destination, uint32_t round, struct tern_error *error)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < destination->n_lanes; i++) {
        if (destination->lanes[i].round >= round || destination->lanes[i].dropped)
            n++;
        else if (destination->lanes[i].ended)
            return error_set(error, -ECONNRESET, NULL, "lane %u ended before it fenced round %u", i, round);
    }
    return n == destination->n_lanes;
}

/* Until something comes on a rail, of rdma_cm, or from stop_fd. */
static int sleep_on_rails(struct link_destination *destination, int stop_fd, int timeout_ms)
{
    struct pollfd p[LINK_RAILS_MAX + 2] = {{.fd = stop_fd, .events = POLLIN},
                                           {.fd = destination->channel->fd, .events = POLLIN}};
    int n;

    for (uint32_t i = 0; i < destination->n_rails; i++)
        p[2 + i] = (struct pollfd){.fd = destination->rails[i].completions->fd, .events = POLLIN};
    n = poll(p, 2 + destination->n_rails, timeout_ms);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n == 0 ? -ETIMEDOUT : p[0].revents ? -ECANCELED : 0;
}

int verbs_await_completions(struct link_destination *destination, int stop_fd, int timeout_ms, struct tern_error *error)
{
    pthread_mutex_t *lock = &destination->slots.lock;
    uint64_t before;
    struct ibv_cq *cq;
    void *context;
    int r;

    for (uint32_t i = 0; i < destination->n_rails; i++)
        if (ibv_req_notify_cq(destination->rails[i].cq, 0))
            return error_set(error, -EIO, NULL, "cannot arm the completion queue");
    pthread_mutex_lock(lock);
    before = destination->progress; /* what came before it was armed makes no event */
    r = verbs_take_completions(destination, error);
    before = destination->progress - before;
    pthread_mutex_unlock(lock);
    if (r || before)
        return r;
    r = sleep_on_rails(destination, stop_fd, timeout_ms);
    if (r)
        return r == -ECANCELED ? verbs_canceled(error) : r;
    pthread_mutex_lock(lock);
    while (verbs_take_event(destination) > 0)
        ;
    pthread_mutex_unlock(lock);
    for (uint32_t i = 0; i < destination->n_rails; i++)
        if (!ibv_get_cq_event(destination->rails[i].completions, &cq, &context))
            ibv_ack_cq_events(cq, 1);
    return 0;
}

int verbs_wait_fence(struct link_destination *destination, uint32_t round, int timeout_ms, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms);

    for (;;) {
        bool running;
        int r = 0;

        pthread_mutex_lock(&destination->slots.lock);
        running = destination->slots.running;
        if (!running)
            r = verbs_take_completions(destination, error);
        if (!running && !r)
            r = verbs_all_fenced(destination, round, error);
        pthread_mutex_unlock(&destination->slots.lock);
        if (running)
            return verbs_slots_wait_fence(destination, round, deadline_ns, error);
        if (!r)
            r = verbs_await_completions(destination, destination->abort_fd, clock_left_ms(deadline_ns), error);
        if (r)
            return r > 0 ? 0 : r;
    }
}

/* ---- life ---- */

/* A condition's deadlines are on the clock of clock.h. */
static void init_lock(struct verbs_slots *slots)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&slots->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&slots->lock, NULL);
    slots->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

int verbs_destination_open(const struct link_options *options, const struct sockaddr *local,
                           const uint8_t token[LINK_TOKEN_BYTES], uint16_t *port_out, struct link_destination **out,
                           struct tern_error *error)
{
    struct link_destination *destination;
    int r = verbs_operation_check(options, error);

    if (r)
        return r;
    destination = calloc(1, sizeof(*destination));
    if (!destination)
        return error_set(error, -ENOMEM, NULL, "out of memory for the lanes");
    init_lock(&destination->slots);
    destination->n_lanes = options->n_lanes;
    destination->chunk_bytes = options->chunk_bytes;
    destination->connect_timeout_ms = options->connect_timeout_ms;
    destination->options = *options;
    memcpy(destination->token, token, LINK_TOKEN_BYTES);
    destination->abort_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    destination->lanes = calloc(options->n_lanes, sizeof(*destination->lanes));
    destination->channel = verbs_channel();
    if (destination->abort_fd < 0 || destination->slots.stop_fd < 0 || !destination->lanes || !destination->channel)
        r = error_set(error, -errno, NULL, "cannot listen for lanes: %s", strerror(errno));
    if (!r)
        r = verbs_listen(destination, local, port_out, error);
    if (!r)
        r = verbs_slots_init(destination, error);
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
    int r = verbs_region_register(memory, destination->pds, chunk, destination->chunk_bytes,
                                  verbs_far_access(destination->options.operation), destination->options.registration,
                                  destination->slots.n, error);

    if (r < 0)
        return r;
    if (r) {
        int started = verbs_slots_start(destination, true, false, error);

        if (started)
            return started;
        *out = (struct link_key){0};
    } else {
        *out = (struct link_key){.address = (uintptr_t)(*verbs_mr(memory, chunk, 0))->addr};
        for (uint32_t rail = 0; rail < destination->n_rails; rail++)
            out->rkey[rail] = (*verbs_mr(memory, chunk, rail))->rkey;
    }
    return r;
}

void verbs_destination_abort(struct link_destination *destination)
{
    uint64_t one = 1;
    ssize_t n = write(destination->abort_fd, &one, sizeof(one));

    n += write(destination->slots.stop_fd, &one, sizeof(one));
    (void)n;
}

uint32_t verbs_destination_rails(struct link_destination *destination, struct sockaddr_storage out[LINK_RAILS_MAX])
{
    for (uint32_t i = 1; i < destination->n_rails; i++)
        out[i - 1] = destination->rails[i].address;
    return destination->n_rails - 1;
}

const char *verbs_destination_device(struct link_destination *destination)
{
    return destination->device;
}

int verbs_destination_drop_lane(struct link_destination *destination, uint32_t index, struct tern_error *error)
{
    struct target_lane *lane = &destination->lanes[index];
    uint32_t n = 0;
    int r;

    for (uint32_t i = 0; i < destination->n_lanes; i++)
        n += i != index && !destination->lanes[i].dropped;
    if (index >= destination->n_lanes || lane->dropped || !n)
        return error_set(error, -EINVAL, NULL, "the source gave up lane %u, which it cannot", index);
    pthread_mutex_lock(&destination->slots.lock);
    r = verbs_take_completions(destination, error); /* what is in a slot counts as brought over at the source */
    lane->dropped = !r;
    if (!r && lane->id->qp)
        rdma_destroy_qp(lane->id);
    pthread_mutex_unlock(&destination->slots.lock);
    return r;
}

void verbs_destination_look(struct link_destination *destination)
{
    pthread_mutex_lock(&destination->slots.lock);
    while (verbs_take_event(destination) > 0)
        ;
    pthread_mutex_unlock(&destination->slots.lock);
}

int verbs_destination_readmit_lane(struct link_destination *destination, uint32_t index, struct tern_error *error)
{
    struct target_lane *lane = &destination->lanes[index];
    bool good;

    if (index >= destination->n_lanes)
        return error_set(error, -EINVAL, NULL, "the source uses lane %u, which is not there", index);
    pthread_mutex_lock(&destination->slots.lock);
    good = lane->dropped && lane->id && lane->id->qp;
    if (good)
        lane->dropped = false;
    pthread_mutex_unlock(&destination->slots.lock);
    return good ? 0 : error_set(error, -EINVAL, NULL, "the source uses lane %u, which has not connected again", index);
}

/* A queue pair that does not exist takes no writes, and nobody copies any more. */
void verbs_destination_teardown(struct link_destination *destination)
{
    verbs_slots_stop(destination);
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
    verbs_slots_free(destination);
    for (uint32_t i = 0; i < LINK_RAILS_MAX; i++)
        if (destination->pds[i])
            ibv_dealloc_pd(destination->pds[i]);
    for (uint32_t i = 0; destination->lanes && i < destination->n_lanes; i++)
        if (destination->lanes[i].id)
            rdma_destroy_id(destination->lanes[i].id);
    for (uint32_t i = 0; i < LINK_RAILS_MAX; i++)
        verbs_close_rail(&destination->rails[i]);
    if (destination->channel)
        rdma_destroy_event_channel(destination->channel);
    if (destination->abort_fd >= 0)
        close(destination->abort_fd);
    if (destination->slots.stop_fd >= 0)
        close(destination->slots.stop_fd);
    pthread_cond_destroy(&destination->slots.changed);
    pthread_mutex_destroy(&destination->slots.lock);
    free(destination->lanes);
    free(destination);
}
