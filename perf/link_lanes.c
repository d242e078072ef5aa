/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/link_lanes.h"

#include <errno.h>
#include <string.h>

#include "transport/clock.h"
#include "transport/error.h"

#define BATCH_RUNS  64u
#define BATCH_BYTES (16ull << 20) /* between two looks at the clock */
#define WAIT_MS     200

struct lane {
    struct link_client *client;
    const struct link_load *load;
    uint32_t index;
    uint64_t wanted; /* operations; 0: until end_ns */
    uint64_t end_ns;
    uint64_t first_byte, n_slots, stride_bytes; /* where they go */
    uint64_t operations;
    pthread_t thread;
    int code;
    struct tern_error error;
};

static uint64_t stride(const struct link_load *load)
{
    return load->scattered ? 2 * load->size_bytes : load->size_bytes;
}

uint64_t link_lanes_memory(const struct link_load *load, uint32_t n_lanes)
{
    return 2 * stride(load) * n_lanes;
}

int link_lanes_wait(struct link_client *client, uint32_t lane, enum link_wait what, struct tern_error *error)
{
    int r;

    do {
        r = client->provider->wait(client->link, lane, what, WAIT_MS, error);
    } while (r == -ETIMEDOUT); /* a host that is gone ends the control channel, and that aborts the link */
    return r;
}

static int post(struct lane *lane, const struct link_run *runs, uint32_t n, struct tern_error *error)
{
    struct link_client *client = lane->client;
    uint32_t at = 0;
    int r = 0;

    while (!r && at < n) {
        r = client->provider->post(client->link, lane->index, runs + at, n - at, error);
        if (r < 0)
            return r;
        at += (uint32_t)r;
        r = at < n ? link_lanes_wait(client, lane->index, LINK_WAIT_ROOM, error) : 0;
    }
    return r;
}

static uint32_t next_batch(struct lane *lane, struct link_run runs[BATCH_RUNS])
{
    uint64_t most = BATCH_BYTES / lane->load->size_bytes;
    uint32_t n = 0;

    while (n < BATCH_RUNS && (!n || n < most) && (!lane->wanted || lane->operations < lane->wanted))
        runs[n++] = (struct link_run){.offset_bytes =
                                          lane->first_byte + lane->operations++ % lane->n_slots * lane->stride_bytes,
                                      .length_bytes = lane->load->size_bytes};
    return n;
}

static void *lane_main(void *argument)
{
    struct lane *lane = argument;
    struct link_client *client = lane->client;
    struct link_run runs[BATCH_RUNS];
    uint32_t n;
    int r = 0;

    while (!r && (n = next_batch(lane, runs)) > 0) {
        r = post(lane, runs, n, &lane->error);
        if (!lane->wanted && clock_now_ns() >= lane->end_ns)
            break;
    }
    if (!r)
        r = client->provider->fence(client->link, lane->index, client->round, &lane->error);
    lane->code = r ? r : link_lanes_wait(client, lane->index, LINK_WAIT_DRAINED, &lane->error);
    return NULL;
}

static void lane_init(struct lane *lane, struct link_client *client, const struct link_load *load, uint32_t index)
{
    uint32_t n_lanes = client->options.n_lanes;
    uint64_t share_bytes = client->memory_bytes / n_lanes;

    *lane = (struct lane){.client = client,
                          .load = load,
                          .index = index,
                          .wanted = load->iterations / n_lanes + (index < load->iterations % n_lanes),
                          .end_ns = clock_now_ns() + load->duration_ns,
                          .stride_bytes = stride(load)};
    lane->n_slots = share_bytes / lane->stride_bytes;
    lane->first_byte = index * share_bytes / TERN_PAGE_BYTES * TERN_PAGE_BYTES;
}

int link_lanes_round(struct link_client *client, const struct link_load *load, struct link_round *out,
                     struct tern_error *error)
{
    struct lane lanes[LINK_LANES_MAX];
    uint64_t begin_ns = clock_now_ns(), operations = 0;
    uint32_t n = client->options.n_lanes, started = 0;
    int r = 0;

    client->round++;
    for (; started < n && !r; started += !r) {
        lane_init(&lanes[started], client, load, started);
        r = -pthread_create(&lanes[started].thread, NULL, lane_main, &lanes[started]);
    }
    if (r) {
        error_set(error, r, NULL, "cannot start a thread for lane %u: %s", started, strerror(-r));
        client->provider->source_abort(client->link);
    }
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(lanes[i].thread, NULL);
        operations += lanes[i].operations;
        if (!r && lanes[i].code) {
            r = lanes[i].code;
            *error = lanes[i].error;
        }
    }
    if (!r)
        r = link_client_end_round(client, error);
    if (!r)
        *out = (struct link_round){operations, clock_now_ns() - begin_ns};
    return r;
}
