/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs into chains of RDMA writes or reads, or of sends where the destination has a ring. One work request in many is
 * signalled: a quarter of the queue, and the last of each chain, so that everything posted is covered by a completion
 * to come. source: ibv_post_send(3) */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

#define CHAIN 32u

static int canceled(struct tern_error *error)
{
    return error_set(error, -ECANCELED, NULL, "the link was aborted");
}

static uint32_t room(const struct verbs_lane *lane)
{
    uint64_t under_way = lane->posted - lane->completed;

    return under_way < lane->window ? lane->window - (uint32_t)under_way : 0; /* a window may have become smaller */
}

/* ---- posting ---- */

static bool inside(const struct link_source *source, const struct link_run *run)
{
    const struct verbs_region *region = &source->regions[run->region];

    return run->region < source->n_regions && run->length_bytes && run->offset_bytes <= region->length_bytes &&
           run->length_bytes <= region->length_bytes - run->offset_bytes;
}

/* Where the next piece of lane->rest goes, and how much of it at once. 0 bytes: there is no room yet. */
static int next_length(const struct verbs_lane *lane, const struct verbs_region *region, uint64_t chunk,
                       uint64_t *length_out, struct tern_error *error)
{
    const struct link_source *source = lane->source;
    const struct link_run *rest = &lane->rest;
    uint64_t length = source->chunk_bytes - rest->offset_bytes % source->chunk_bytes;

    if (!*verbs_mr(region, chunk, lane->rail) && !region->through_ring[chunk])
        return error_set(error, -EINVAL, NULL, "chunk %llu of region %u is not registered", (unsigned long long)chunk,
                         rest->region);
    if (length > rest->length_bytes)
        length = rest->length_bytes;
    if (length > source->write_bytes_max)
        length = source->write_bytes_max;
    if (!region->keys[chunk].address) {
        if (!lane->slot_bytes || source->operation == LINK_READ) /* or it would be sent what was to be read */
            return error_set(error, -EPROTO, NULL, "the destination has neither a key nor a ring for chunk %llu",
                             (unsigned long long)chunk);
        if (length > lane->slot_bytes)
            length = lane->slot_bytes;
        if (!lane->credits)
            length = 0;
    }
    *length_out = region->through_ring[chunk] ? verbs_ring_room(&lane->ring, length) : length;
    return 0;
}

/* A piece that the destination copies: its place goes before it. */
static void make_send(struct verbs_lane *lane, struct ibv_send_wr *wr, struct ibv_sge sge[2], uint32_t length)
{
    struct verbs_header *header = &lane->headers[wr->wr_id % lane->depth];

    *header = (struct verbs_header){htole32(lane->rest.region), htole32(length), htole64(lane->rest.offset_bytes)};
    sge[1] = sge[0];
    sge[0] = (struct ibv_sge){(uintptr_t)header, sizeof(*header), lane->mr->lkey};
    wr->num_sge = 2;
    wr->opcode = IBV_WR_SEND;
    lane->credits--;
}

/* The next work request of lane->rest, cut at chunks and at the longest write. returns 1, or 0: there is no room yet */
static int next_write(struct verbs_lane *lane, struct ibv_send_wr *wr, struct ibv_sge sge[2], uint64_t number,
                      struct tern_error *error)
{
    struct link_source *source = lane->source;
    struct link_run *rest = &lane->rest;
    struct verbs_region *region = &source->regions[rest->region];
    uint64_t chunk = rest->offset_bytes / source->chunk_bytes, within = rest->offset_bytes % source->chunk_bytes;
    const struct link_key *key = &region->keys[chunk];
    const uint8_t *from = region->base + rest->offset_bytes;
    uint64_t length = 0;
    int r = next_length(lane, region, chunk, &length, error);

    if (r || !length)
        return r;
    if (region->through_ring[chunk])
        from = memcpy(verbs_ring_take(&lane->ring, length), from, length);
    *sge =
        (struct ibv_sge){(uintptr_t)from, (uint32_t)length,
                         region->through_ring[chunk] ? lane->mr->lkey : (*verbs_mr(region, chunk, lane->rail))->lkey};
    *wr = (struct ibv_send_wr){
        .wr_id = number,
        .sg_list = sge,
        .num_sge = 1,
        .opcode = source->operation == LINK_READ ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
        .wr.rdma = {.remote_addr = key->address + within, .rkey = key->rkey[lane->rail]},
    };
    if (!key->address)
        make_send(lane, wr, sge, (uint32_t)length);
    lane->sent[number % lane->depth] =
        (struct verbs_posted){rest->region, region->through_ring[chunk], rest->offset_bytes, length};
    rest->offset_bytes += length;
    rest->length_bytes -= length;
    return 1;
}

static int hand_over(struct verbs_lane *lane, struct ibv_send_wr *chain, uint32_t n, struct tern_error *error)
{
    struct ibv_send_wr *bad;
    int r;

    for (uint32_t i = 0; i < n; i++) {
        chain[i].next = i + 1 < n ? &chain[i + 1] : NULL;
        if (i + 1 == n || chain[i].wr_id + 1 - lane->signalled >= lane->signal_every) {
            chain[i].send_flags |= IBV_SEND_SIGNALED;
            lane->signalled = chain[i].wr_id + 1;
        }
    }
    r = ibv_post_send(lane->id->qp, chain, &bad);
    lane->posted += n; /* also of those that were not: who gives up the lane has all of them sent again */
    lane->out |= r != 0;
    return r ? error_set(error, -ENOTCONN, NULL, "lane %u: cannot post: %s", lane->index, strerror(r)) : 0;
}

/* Take the next run as lane->rest, if that is used up. returns 1, or 0: there is none */
static int next_run(struct verbs_lane *lane, const struct link_run *runs, size_t n_runs, size_t *taken,
                    struct tern_error *error)
{
    const struct link_run *run = &runs[*taken];

    if (lane->rest.length_bytes)
        return 1;
    if (*taken == n_runs)
        return 0;
    if (!inside(lane->source, run))
        return error_set(error, -EINVAL, NULL, "a run of %llu bytes at %llu lies outside region %u",
                         (unsigned long long)run->length_bytes, (unsigned long long)run->offset_bytes, run->region);
    lane->rest = *run;
    (*taken)++;
    return 1;
}

/* Post from the runs until they or the room end. *taken counts runs that are posted or in lane->rest. */
static int fill(struct verbs_lane *lane, const struct link_run *runs, size_t n_runs, size_t *taken,
                struct tern_error *error)
{
    struct ibv_send_wr chain[CHAIN];
    struct ibv_sge sges[CHAIN][2];
    int r = 1;

    while (r > 0) {
        uint32_t n = 0, space = room(lane) < CHAIN ? room(lane) : CHAIN;

        r = space > 0;
        while (r > 0 && n < space) {
            r = next_run(lane, runs, n_runs, taken, error);
            if (r > 0)
                r = next_write(lane, &chain[n], sges[n], lane->posted + n, error);
            n += r > 0;
        }
        if (n && r >= 0) {
            int handed = hand_over(lane, chain, n, error);

            r = handed ? handed : r;
        }
    }
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
    r = verbs_reap(lane, error);
    if (!r)
        r = fill(lane, runs, n_runs, &taken, error);
    return r ? r : (int)taken;
}

/* Whatever the next run wants: the queue, the ring, a slot at the destination. */
static bool has_room(const struct verbs_lane *lane)
{
    return room(lane) > lane->window / 4 && (!lane->ring.bytes || verbs_ring_room(&lane->ring, 1)) &&
           (!lane->slot_bytes || lane->credits);
}

/* With no slot left and nothing under way, only the destination's word goes on from here. It comes no more from one
 * that ended the lane, and nobody tells where it cannot come. *until_ns: when to look again at the latest. */
static int check_starved(struct verbs_lane *lane, uint64_t *until_ns, struct tern_error *error)
{
    bool starved = lane->slot_bytes && !lane->credits && lane->completed == lane->posted;
    uint64_t now_ns = clock_now_ns();

    if (starved && lane->ended)
        return verbs_ended(lane, error);
    if (!starved)
        lane->starved_ns = 0;
    else if (!lane->starved_ns)
        lane->starved_ns = now_ns;
    if (starved && now_ns - lane->starved_ns >= VERBS_STARVED_NS) {
        lane->out = true;
        return error_set(error, -ETIME, "look at the destination's messages",
                         "lane %u: the destination has given back nothing of its ring for %llu s", lane->index,
                         VERBS_STARVED_NS / 1000000000);
    }
    if (starved && *until_ns > lane->starved_ns + VERBS_STARVED_NS)
        *until_ns = lane->starved_ns + VERBS_STARVED_NS;
    return 0;
}

int verbs_wait(struct link_source *source, uint32_t index, enum link_wait what, int timeout_ms,
               struct tern_error *error)
{
    struct verbs_lane *lane = &source->lanes[index];
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms);
    size_t none = 0;

    for (;;) {
        uint64_t until_ns = deadline_ns;
        int r = atomic_load(&source->aborted) ? canceled(error) : verbs_reap(lane, error);

        if (!r)
            r = fill(lane, NULL, 0, &none, error);
        if (r)
            return r;
        if (!lane->rest.length_bytes && (what == LINK_WAIT_ROOM ? has_room(lane) : lane->completed == lane->posted))
            return 0;
        r = check_starved(lane, &until_ns, error);
        if (r)
            return r;
        r = verbs_await_completion(lane, clock_left_ms(until_ns), error);
        if (r && !(r == -ETIMEDOUT && until_ns < deadline_ns))
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
    } while (r == -ETIMEDOUT); /* bounded by abort, the queue pair's own retries and VERBS_STARVED_NS */
    if (r)
        return r;
    if (source->operation == LINK_READ)
        wr.send_flags = IBV_SEND_FENCE; /* a write may else be seen there before the reads in front of it */
    wr.wr_id = lane->posted;
    lane->sent[wr.wr_id % lane->depth] = (struct verbs_posted){0};
    return hand_over(lane, &wr, 1, error);
}
