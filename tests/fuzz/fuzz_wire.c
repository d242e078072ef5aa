/* SPDX-License-Identifier: BSD-2-Clause */
/* Every decoder of what a peer sends. The first byte says which; where it takes the rest, encoding what it gave must
 * give the same bytes again: nothing in a message is ignored. */
#include <string.h>

#include "migrate/wire.h"
#include "tests/fuzz/fuzz.h"
#include "transport/preamble.h"
#include "transport/tcp/frame.h"
#include "transport/verbs/verbs.h"

static uint8_t again[WIRE_BUFFER_BYTES];

static void same(const uint8_t *data, size_t size, size_t length)
{
    MUST(length == size && !memcmp(data, again, size));
}

static void hello(const uint8_t *data, size_t size)
{
    static struct wire_hello out;

    if (wire_get_hello(data, size, &out))
        return;
    MUST(out.n_lanes >= 1 && out.n_lanes <= LINK_LANES_MAX && out.n_regions <= WIRE_REGIONS_MAX);
    for (uint32_t i = 0; i < out.n_residence; i++) {
        const struct wire_residence *run = &out.residence[i];

        MUST(run->region < out.n_regions && run->n_units && run->node < TERN_NODES_MAX);
        MUST((run->first_unit + run->n_units - 1) * WIRE_UNIT_BYTES < out.regions[run->region].length_bytes);
    }
    same(data, size, wire_put_hello(again, &out));
}

static void hello_ack(const uint8_t *data, size_t size)
{
    struct wire_hello_ack out;

    if (!wire_get_hello_ack(data, size, &out))
        same(data, size, wire_put_hello_ack(again, &out));
}

static void refuse(const uint8_t *data, size_t size)
{
    struct tern_error error = {0};
    struct wire_refuse out;

    if (wire_get_refuse(data, size, &out))
        return;
    error.code = out.code;
    memcpy(error.message, out.message, sizeof(error.message));
    memcpy(error.hint, out.hint, sizeof(error.hint));
    same(data, size, wire_put_refuse(again, &error));
}

static void want(const uint8_t *data, size_t size)
{
    static struct wire_chunk out[WIRE_KEYS_MAX];
    uint32_t n;

    if (!wire_get_want(data, size, out, WIRE_KEYS_MAX, &n))
        same(data, size, wire_put_want(again, out, n));
}

static void keys(const uint8_t *data, size_t size)
{
    static struct wire_key out[WIRE_KEYS_MAX];
    uint32_t n;

    if (!wire_get_keys(data, size, out, WIRE_KEYS_MAX, &n))
        same(data, size, wire_put_keys(again, out, n));
}

static void list(const uint8_t *data, size_t size)
{
    static struct wire_run runs[WIRE_RUNS_MAX];
    struct wire_list out;

    if (wire_get_list(data, size, &out))
        return;
    for (uint32_t i = 0; i < out.n_runs; i++)
        runs[i] = wire_list_run(&out, i);
    same(data, size, wire_put_list(again, out.round, out.region, out.kind, runs, out.n_runs));
}

static void round_end(const uint8_t *data, size_t size)
{
    struct wire_round_end out;

    if (!wire_get_round_end(data, size, &out))
        same(data, size, wire_put_round_end(again, &out));
}

static void round_ack(const uint8_t *data, size_t size)
{
    struct wire_round_ack out;

    if (!wire_get_round_ack(data, size, &out))
        same(data, size, wire_put_round_ack(again, &out));
}

static void ask(const uint8_t *data, size_t size)
{
    struct wire_ask out;

    if (!wire_get_ask(data, size, &out))
        same(data, size, wire_put_ask(again, &out));
}

static void digests(const uint8_t *data, size_t size)
{
    static uint64_t entries[WIRE_DIGESTS_MAX];
    struct wire_digests out;

    if (wire_get_digests(data, size, &out))
        return;
    for (uint32_t i = 0; i < out.of.n; i++)
        entries[i] = wire_digest(&out, i);
    same(data, size, wire_put_digests(again, &out.of, entries));
}

static void prepare(const uint8_t *data, size_t size)
{
    struct wire_prepare out;

    if (!wire_get_prepare(data, size, &out))
        same(data, size, wire_put_prepare(again, &out));
}

static void query(const uint8_t *data, size_t size)
{
    uint8_t out[WIRE_SESSION_BYTES];

    if (!wire_get_query(data, size, out))
        same(data, size, wire_put_query(again, out));
}

static void standing(const uint8_t *data, size_t size)
{
    enum wire_standing out;

    if (!wire_get_standing(data, size, &out))
        same(data, size, wire_put_standing(again, out));
}

static void preamble(const uint8_t *data, size_t size)
{
    struct preamble out;

    if (size != PREAMBLE_BYTES || preamble_decode(data, &out, NULL))
        return;
    preamble_encode(&out, again);
    same(data, size, PREAMBLE_BYTES);
}

static void tcp_frame(const uint8_t *data, size_t size)
{
    struct frame out;

    if (size != FRAME_BYTES)
        return;
    out = frame_decode(data);
    frame_encode(&out, again);
    same(data, size, FRAME_BYTES);
}

/* rdma_cm pads private data, so these may be followed by anything. */
static void verbs_greeting(const uint8_t *data, size_t size)
{
    struct verbs_hello out;

    if (verbs_hello_decode(data, size, &out))
        return;
    verbs_hello_encode(&out, again);
    same(data, VERBS_HELLO_BYTES, VERBS_HELLO_BYTES);
}

static void verbs_farewell(const uint8_t *data, size_t size)
{
    struct verbs_refusal out;

    if (!verbs_refusal_decode(data, size, &out))
        MUST(verbs_reason_text(out.reason) && out.code >= 0);
}

static void verbs_welcomes(const uint8_t *data, size_t size)
{
    struct verbs_welcome out;

    if (verbs_welcome_decode(data, size, &out))
        return;
    MUST(out.credits <= VERBS_SLOTS_MAX);
    verbs_welcome_encode(&out, again);
    same(data, VERBS_WELCOME_BYTES, VERBS_WELCOME_BYTES);
}

/* Whatever a header says, its place lies within a region. */
static void verbs_slot(const uint8_t *data, size_t size)
{
    static uint8_t memory[8192];
    struct verbs_region regions[] = {{.base = memory, .length_bytes = 4096}, {.base = memory, .length_bytes = 8192}};
    struct verbs_header header;
    const uint8_t *at;

    if (size < sizeof(header))
        return;
    memcpy(&header, data, sizeof(header));
    at = verbs_slot_place(regions, 2, &header, (uint32_t)size);
    MUST(!at || (at >= memory && at + (size - sizeof(header)) <= memory + sizeof(memory)));
}

static void lane(const uint8_t *data, size_t size)
{
    uint32_t out;

    if (!wire_get_lane(data, size, &out))
        same(data, size, wire_put_lane(again, out));
}

static void (*const decoders[])(const uint8_t *data, size_t size) = {
    hello,      hello_ack, refuse, want,     keys,     list,      round_end,      round_ack,      ask,
    digests,    prepare,   query,  standing, preamble, tcp_frame, verbs_greeting, verbs_farewell, verbs_welcomes,
    verbs_slot, lane,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] < sizeof(decoders) / sizeof(*decoders))
        decoders[data[0]](data + 1, size - 1);
    return 0;
}
