/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's lanes: how they connect and end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

#define RETRIES     6  /* of a packet that is not acknowledged; 7 is for ever with soft-RoCE */
#define RNR_RETRIES 6  /* receives are posted before they are needed; 7 would be for ever */
#define ACK_TIMEOUT 18 /* 4.096 us << 18: about a second; a busy soft-RoCE host is slow to answer */

static int lane_queue_pair(struct verbs_lane *lane, struct tern_error *error)
{
    struct link_source *source = lane->source;
    struct ibv_qp_init_attr attributes = {
        .cap = {.max_recv_wr = VERBS_SLOTS_MAX, .max_send_sge = 2, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC,
    };
    struct ibv_pd **pd = &source->pds[lane->rail];
    struct ibv_device_attr attr;

    if (*pd && (*pd)->context != lane->id->verbs) /* memory is registered there, and nowhere else */
        return error_set(error, -ENODEV, NULL, "lane %u: its rail is no longer the RDMA device that it was",
                         lane->index);
    if (ibv_query_device(lane->id->verbs, &attr))
        return error_set(error, -EIO, NULL, "lane %u: cannot ask its device for its limits", lane->index);
    lane->depth = lane->window = attributes.cap.max_send_wr = verbs_depth_for(&attr, lane->depth);
    lane->signal_every = lane->depth / 4;
    if (!*pd)
        *pd = ibv_alloc_pd(lane->id->verbs);
    lane->completions = ibv_create_comp_channel(lane->id->verbs);
    if (!*pd || !lane->completions)
        return error_set(error, -errno, NULL, "lane %u: no protection domain or completion channel: %s", lane->index,
                         strerror(errno));
    lane->cq = ibv_create_cq(lane->id->verbs, (int)(lane->depth + VERBS_SLOTS_MAX) + 1, NULL, lane->completions, 0);
    if (!lane->cq)
        return error_set(error, -errno, NULL, "lane %u: no completion queue: %s", lane->index, strerror(errno));
    attributes.send_cq = attributes.recv_cq = lane->cq;
    if (rdma_create_qp(lane->id, *pd, &attributes))
        return error_set(error, -errno, NULL, "lane %u: no queue pair: %s", lane->index, strerror(errno));
    lane->sent = calloc(lane->depth, sizeof(*lane->sent));
    if (!lane->sent || verbs_post_credit_receives(lane, VERBS_SLOTS_MAX))
        return error_set(error, -ENOMEM, NULL, "lane %u: no memory for its queue", lane->index);
    return 0;
}

/* Headers for a destination with a ring, and the ring of this side, in one registered piece. */
static int lane_memory(struct verbs_lane *lane, struct tern_error *error)
{
    const struct link_source *source = lane->source;
    uint64_t headers = (lane->depth * sizeof(*lane->headers) + VERBS_PAGE_BYTES - 1) / VERBS_PAGE_BYTES;

    headers *= VERBS_PAGE_BYTES;
    lane->ring.bytes = source->ring_bytes;
    lane->memory_bytes = headers + lane->ring.bytes;
    lane->memory = mmap(NULL, lane->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (lane->memory == MAP_FAILED) {
        lane->memory = NULL;
        return error_set(error, -ENOMEM, NULL, "lane %u: out of memory for its ring", lane->index);
    }
    lane->headers = lane->memory;
    lane->ring.base = (uint8_t *)lane->memory + headers;
    lane->mr = ibv_reg_mr(source->pds[lane->rail], lane->memory, lane->memory_bytes, 0);
    if (!lane->mr || (source->registration == LINK_REGISTER_RING && !lane->ring.bytes))
        return verbs_cannot_register(lane->mr ? VERBS_RING_BYTES_MIN : lane->memory_bytes, lane->mr ? ENOMEM : errno,
                                     error);
    return 0;
}

static int lane_handshake(struct verbs_lane *lane, int abort_fd, uint64_t deadline_ns, struct tern_error *error)
{
    struct verbs_welcome welcome;
    struct verbs_hello hello = {.lane = lane->index, .n_lanes = lane->source->n_lanes};
    uint8_t bytes[VERBS_HELLO_BYTES], ack_timeout = ACK_TIMEOUT;
    struct rdma_conn_param parameters = {.private_data = bytes,
                                         .private_data_len = sizeof(bytes),
                                         .responder_resources = 1,
                                         .initiator_depth = verbs_reads_begun(lane->source->operation),
                                         .retry_count = RETRIES,
                                         .rnr_retry_count = RNR_RETRIES};
    int r;

    memcpy(hello.token, lane->source->token, sizeof(hello.token));
    verbs_hello_encode(&hello, bytes);
    rdma_set_option(lane->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &ack_timeout, sizeof(ack_timeout));
    if (rdma_connect(lane->id, &parameters))
        return error_set(error, -errno, NULL, "lane %u: cannot connect: %s", lane->index, strerror(errno));
    r = verbs_cm_wait(lane->channel, RDMA_CM_EVENT_ESTABLISHED, abort_fd, deadline_ns, &welcome, error);
    if (r)
        return r;
    lane->slot_bytes = welcome.slot_bytes;
    lane->credits = lane->credits_max = welcome.credits;
    return verbs_check_reads(lane, error);
}

int verbs_lane_open(struct verbs_lane *lane, int abort_fd, uint64_t deadline_ns, struct tern_error *error)
{
    struct link_source *source = lane->source;
    const struct sockaddr *peer = (const struct sockaddr *)&source->rails[lane->rail];
    int r;

    lane->channel = verbs_channel();
    if (!lane->channel)
        return error_set(error, -errno, NULL, "lane %u: no rdma_cm channel: %s", lane->index, strerror(errno));
    r = verbs_resolve(&source->options, lane->channel, &lane->id, peer, abort_fd, deadline_ns, error);
    if (!r && rdma_resolve_route(lane->id, clock_left_ms(deadline_ns)))
        r = error_set(error, -errno, NULL, "lane %u: no route: %s", lane->index, strerror(errno));
    if (!r)
        r = verbs_cm_wait(lane->channel, RDMA_CM_EVENT_ROUTE_RESOLVED, abort_fd, deadline_ns, NULL, error);
    if (!r)
        r = lane_queue_pair(lane, error);
    if (!r && !lane->memory)
        r = lane_memory(lane, error);
    if (!r)
        r = lane_handshake(lane, abort_fd, deadline_ns, error);
    return r;
}

void verbs_lane_close(struct verbs_lane *lane)
{
    if (lane->id && lane->id->qp) {
        rdma_disconnect(lane->id);
        rdma_destroy_qp(lane->id);
    }
    if (lane->cq)
        ibv_destroy_cq(lane->cq);
    if (lane->completions)
        ibv_destroy_comp_channel(lane->completions);
    if (lane->id)
        rdma_destroy_id(lane->id);
    if (lane->channel)
        rdma_destroy_event_channel(lane->channel);
    if (lane->memory)
        munmap(lane->memory, lane->memory_bytes);
    free(lane->sent);
}

static void take_options(struct link_source *source, const struct link_options *options, const struct sockaddr *peer,
                         const uint8_t *token)
{
    source->options = *options;
    source->options.rails = NULL; /* the caller's, for the call only */
    source->options.lane_rail = NULL;
    memcpy(source->token, token, sizeof(source->token));
    memcpy(&source->rails[0], peer,
           peer->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    for (uint32_t i = 0; i < options->n_rails; i++)
        source->rails[i + 1] = options->rails[i];
    if (verbs_wants_ring(options->operation, options->registration))
        source->ring_bytes = verbs_ring_bytes_for(verbs_memlock_bytes(), options->n_lanes);
    source->n_lanes = options->n_lanes;
    source->chunk_bytes = options->chunk_bytes;
    source->operation = options->operation;
    source->registration = options->registration;
    source->write_bytes_max = options->write_bytes_max ? options->write_bytes_max : VERBS_WRITE_BYTES_MAX;
    for (uint32_t i = 0; i < source->n_lanes; i++)
        source->lanes[i] = (struct verbs_lane){
            .source = source, .index = i, .depth = options->queue_depth ? options->queue_depth : VERBS_DEPTH_DEFAULT};
}

uint32_t verbs_source_rails(const struct link_options *options, const struct sockaddr *peer,
                            char device[LINK_RAILS_MAX][LINK_DEVICE_BYTES])
{
    for (uint32_t i = 0; i <= options->n_rails; i++) {
        const struct sockaddr *rail = i ? (const struct sockaddr *)&options->rails[i - 1] : peer;

        if (verbs_usable(options, rail, TERN_SIDE_SOURCE, device[i], LINK_DEVICE_BYTES, NULL))
            device[i][0] = 0;
    }
    return options->n_rails + 1;
}

/* A rail for each lane: as it was planned, or in turn those that a device of this side reaches. The first one is what
 * the transport was agreed on for. */
static void choose_rails(struct link_source *source, const struct link_options *options, const struct sockaddr *peer)
{
    char device[LINK_RAILS_MAX][LINK_DEVICE_BYTES];
    uint32_t order[LINK_RAILS_MAX], n = 0, n_rails = 1;

    if (!options->lane_rail && options->n_rails)
        n_rails = verbs_source_rails(options, peer, device);
    for (uint32_t i = 0; i < n_rails; i++)
        if (!i || device[i][0])
            order[n++] = i;
    for (uint32_t i = 0; i < source->n_lanes; i++)
        source->lanes[i].rail = options->lane_rail ? options->lane_rail[i] : verbs_rail_of(i, order, n);
}

static int open_lanes(struct link_source *source, uint64_t deadline_ns, struct tern_error *error)
{
    int r = 0;

    for (uint32_t i = 0; !r && i < source->n_lanes; i++) {
        struct verbs_lane *lane = &source->lanes[i];

        r = verbs_lane_open(lane, source->abort_fd, deadline_ns, error);
        if (!r)
            verbs_append_name(source->device, sizeof(source->device), ibv_get_device_name(lane->id->verbs->device));
    }
    return r;
}

int verbs_source_open(const struct link_options *options, const struct sockaddr *peer,
                      const uint8_t token[LINK_TOKEN_BYTES], struct link_source **out, struct tern_error *error)
{
    struct link_source *source;
    int r = verbs_operation_check(options, error);

    if (r)
        return r;
    source = calloc(1, sizeof(*source));
    if (!source)
        return error_set(error, -ENOMEM, NULL, "out of memory for the lanes");
    source->abort_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    source->lanes = calloc(options->n_lanes, sizeof(*source->lanes));
    if (source->abort_fd < 0 || !source->lanes)
        r = error_set(error, -ENOMEM, NULL, "out of memory for %u lanes", options->n_lanes);
    else
        take_options(source, options, peer, token);
    if (!r) {
        choose_rails(source, options, peer); /* takes its own time: rails that do not answer leave the others theirs */
        r = open_lanes(source, clock_after_ms((uint32_t)options->connect_timeout_ms), error);
    }
    if (r) {
        verbs_source_close(source);
        return r;
    }
    *out = source;
    return 0;
}

void verbs_source_close(struct link_source *source)
{
    if (!source)
        return;
    for (uint32_t i = 0; i < source->n_regions; i++)
        verbs_region_free(&source->regions[i]);
    /* Queue pairs before the domain, the id that lends the device's context last. */
    for (uint32_t i = 0; i < source->n_lanes; i++)
        if (source->lanes[i].id && source->lanes[i].id->qp) {
            rdma_disconnect(source->lanes[i].id);
            rdma_destroy_qp(source->lanes[i].id);
        }
    for (uint32_t i = 0; i < source->n_lanes; i++)
        verbs_drop_next(&source->lanes[i]);
    for (uint32_t i = 0; i < source->n_lanes; i++)
        if (source->lanes[i].mr)
            ibv_dereg_mr(source->lanes[i].mr);
    for (uint32_t i = 0; i < LINK_RAILS_MAX; i++)
        if (source->pds[i])
            ibv_dealloc_pd(source->pds[i]);
    for (uint32_t i = 0; i < source->n_lanes; i++)
        verbs_lane_close(&source->lanes[i]);
    if (source->abort_fd >= 0)
        close(source->abort_fd);
    free(source->lanes);
    free(source);
}

int verbs_source_add(struct link_source *source, uint32_t region, void *base, uint64_t length_bytes,
                     struct tern_error *error)
{
    if (region >= LINK_REGIONS_MAX)
        return error_set(error, -EINVAL, NULL, "region %u is over the %d that a link has", region, LINK_REGIONS_MAX);
    if (region >= source->n_regions)
        source->n_regions = region + 1;
    return verbs_region_init(&source->regions[region], base, length_bytes, source->chunk_bytes, error);
}

int verbs_source_register_chunk(struct link_source *source, uint32_t region, uint64_t chunk, struct tern_error *error)
{
    return verbs_region_register(&source->regions[region], source->pds, chunk, source->chunk_bytes,
                                 verbs_near_access(source->operation), source->registration, source->ring_bytes, error);
}

void verbs_source_set_key(struct link_source *source, uint32_t region, uint64_t chunk, struct link_key key)
{
    source->regions[region].keys[chunk] = key;
}

void verbs_source_abort(struct link_source *source)
{
    uint64_t one = 1;
    ssize_t n;

    atomic_store(&source->aborted, true);
    n = write(source->abort_fd, &one, sizeof(one));
    (void)n;
}

const char *verbs_source_device(struct link_source *source)
{
    return source->device;
}
