/* SPDX-License-Identifier: BSD-2-Clause */
/* Which lanes a destination accepts: those that show its token, each number once, and again after it was dropped; the
 * others are told why not. */
#include <errno.h>
#include <string.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/destination.h"

static bool token_is_right(const struct link_destination *destination, const struct verbs_hello *hello)
{
    uint8_t difference = 0;

    for (size_t i = 0; i < LINK_TOKEN_BYTES; i++)
        difference |= hello->token[i] ^ destination->token[i];
    return !difference;
}

/* returns 0 or an errno */
static int lane_accept(struct link_destination *destination, struct rdma_cm_id *id, uint32_t rail, uint32_t lane)
{
    uint32_t slots = destination->slots.n, receives = verbs_receives_of(destination);
    struct verbs_welcome welcome = {.slot_bytes = slots ? VERBS_SLOT_BYTES : 0,
                                    .credits = slots ? slots - VERBS_SLOTS_FENCES : 0};
    uint8_t bytes[VERBS_WELCOME_BYTES];
    struct ibv_qp_init_attr attributes = {
        .cap = {.max_send_wr = 2 * slots + 1, .max_recv_wr = receives, .max_send_sge = 1, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC,
    };
    struct rdma_conn_param parameters = {.private_data = bytes,
                                         .private_data_len = sizeof(bytes),
                                         .responder_resources = verbs_reads_answered(destination->options.operation),
                                         .initiator_depth = 1,
                                         .rnr_retry_count = 6};
    int r = 0;

    verbs_welcome_encode(&welcome, bytes);
    attributes.send_cq = attributes.recv_cq = destination->rails[rail].cq;
    destination->lanes[lane].rail = rail;
    r = verbs_slots_of_lane(destination, lane);
    if (r)
        return r;
    if (rdma_create_qp(id, destination->pds[rail], &attributes))
        return errno ? errno : EIO;
    for (uint32_t i = 0; i < receives && !r; i++)
        r = -verbs_post_receive(destination, id, lane, i);
    if (!r && rdma_accept(id, &parameters))
        r = errno ? errno : EIO;
    if (r)
        rdma_destroy_qp(id);
    return r;
}

/* 0: the lane is to be accepted. */
static enum verbs_reason reason_against(const struct link_destination *destination, const struct verbs_hello *hello)
{
    if (!hello)
        return VERBS_REASON_HELLO;
    if (!token_is_right(destination, hello))
        return VERBS_REASON_TOKEN;
    if (hello->lane >= destination->n_lanes ||
        (destination->lanes[hello->lane].id && !destination->lanes[hello->lane].dropped))
        return VERBS_REASON_LANE;
    return 0;
}

/* Of a lane that was dropped, or of a try to come back that the source gave up since: the latest one counts. Nothing of
 * either is in a slot: drop_lane has copied what was, and nothing is sent before the lane is readmitted. */
static void forget(struct target_lane *lane)
{
    if (lane->id && lane->id->qp)
        rdma_destroy_qp(lane->id);
    if (lane->id)
        rdma_destroy_id(lane->id);
    lane->id = NULL;
    lane->owed = 0;
    lane->connected = lane->ended = false;
}

/* Who does not show the token of this link, or asks for a lane that is taken, is turned away and told why. */
static void on_request(struct link_destination *destination, struct rdma_cm_id *id, uint32_t rail,
                       const struct verbs_hello *hello)
{
    struct verbs_refusal refusal = {.reason = reason_against(destination, hello)};
    uint8_t bytes[VERBS_REFUSAL_BYTES];

    if (!refusal.reason) {
        forget(&destination->lanes[hello->lane]);
        refusal.code = lane_accept(destination, id, rail, hello->lane);
        if (!refusal.code) {
            id->context = &destination->lanes[hello->lane];
            destination->lanes[hello->lane].id = id;
            return;
        }
        refusal.reason = VERBS_REASON_RESOURCES;
    }
    destination->refused = refusal;
    verbs_refusal_encode(&refusal, bytes);
    rdma_reject(id, bytes, sizeof(bytes));
    rdma_destroy_id(id);
}

int verbs_take_event(struct link_destination *destination)
{
    struct verbs_hello hello;
    struct rdma_cm_event *event;
    enum rdma_cm_event_type type;
    struct rdma_cm_id *id;
    uint32_t rail = 0;
    bool good;

    if (rdma_get_cm_event(destination->channel, &event))
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    type = event->event;
    id = event->id;
    good = type == RDMA_CM_EVENT_CONNECT_REQUEST &&
           !verbs_hello_decode(event->param.conn.private_data, event->param.conn.private_data_len, &hello);
    while (type == RDMA_CM_EVENT_CONNECT_REQUEST && rail + 1 < destination->n_rails &&
           event->listen_id != destination->rails[rail].listener)
        rail++;
    rdma_ack_cm_event(event);
    if (type == RDMA_CM_EVENT_CONNECT_REQUEST)
        on_request(destination, id, rail, good ? &hello : NULL);
    else if (type == RDMA_CM_EVENT_ESTABLISHED && id->context)
        ((struct target_lane *)id->context)->connected = true;
    else if ((type == RDMA_CM_EVENT_DISCONNECTED || type == RDMA_CM_EVENT_CONNECT_ERROR ||
              type == RDMA_CM_EVENT_DEVICE_REMOVAL) &&
             id->context)
        ((struct target_lane *)id->context)->ended = true;
    return 1;
}

int verbs_canceled(struct tern_error *error)
{
    return error_set(error, -ECANCELED, NULL, "the link was aborted");
}

static int lanes_missing(const struct link_destination *destination, uint32_t n, int code, struct tern_error *error)
{
    const struct verbs_refusal *refused = &destination->refused;

    if (refused->reason)
        return error_set(error, code, "start the migration again",
                         "%u of %u lanes connected within %d s; one was turned away: %s%s%s", n, destination->n_lanes,
                         destination->connect_timeout_ms / 1000, verbs_reason_text(refused->reason),
                         refused->code ? ": " : "", refused->code ? strerror(refused->code) : "");
    return error_set(error, code, "check that UDP port 4791 is not filtered between the hosts",
                     "%u of %u lanes connected within %d s", n, destination->n_lanes,
                     destination->connect_timeout_ms / 1000);
}

int verbs_wait_lanes(struct link_destination *destination, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)destination->connect_timeout_ms);

    for (;;) {
        uint32_t n = 0;
        int r;

        while ((r = verbs_take_event(destination)) > 0)
            ;
        if (r < 0)
            return error_set(error, r, NULL, "rdma_cm: %s", strerror(-r));
        for (uint32_t i = 0; i < destination->n_lanes; i++)
            n += destination->lanes[i].connected;
        if (n == destination->n_lanes)
            return verbs_slots_start(destination, false, true, error);
        r = verbs_sleep(-1, destination->channel->fd, destination->abort_fd, clock_left_ms(deadline_ns));
        if (r == -ECANCELED)
            return verbs_canceled(error);
        if (r)
            return lanes_missing(destination, n, r, error);
    }
}
