/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/wire.h"

#include <stdio.h>

#include "migrate/wire_bytes.h"

#define RUN_BYTES      16u
#define KEY_BYTES      (20u + 4u * LINK_RAILS_MAX)
#define CHUNK_BYTES    12u
#define WIRE_ERRNO_MAX 4095

/* A VMM's callback may have written it: the peer gets one printable line. */
static void put_line(struct wire_writer *w, const char *text, size_t capacity)
{
    size_t n = strnlen(text, capacity - 1);

    put_u16(w, (uint16_t)n);
    for (size_t i = 0; i < n; i++)
        put_u8(w, (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : (uint8_t)text[i]);
}

size_t wire_put_refuse(uint8_t *buffer, const struct tern_error *error)
{
    struct wire_writer w = writer_on(buffer);

    put_u32(&w, (uint32_t)(error->code < 0 && error->code >= -WIRE_ERRNO_MAX ? error->code : -EIO));
    put_line(&w, error->message, sizeof(error->message));
    put_line(&w, error->hint, sizeof(error->hint));
    return writer_length(&w);
}

int wire_get_refuse(const uint8_t *payload, size_t length, struct wire_refuse *out)
{
    struct wire_reader r = reader_on(payload, length);

    out->code = (int32_t)get_u32(&r);
    get_string(&r, out->message, sizeof(out->message));
    get_string(&r, out->hint, sizeof(out->hint));
    r.bad |= out->code >= 0 || out->code < -WIRE_ERRNO_MAX;
    return reader_end(&r);
}

size_t wire_put_want(uint8_t *buffer, const struct wire_chunk *chunks, uint32_t n)
{
    struct wire_writer w = writer_on(buffer);

    put_u32(&w, n);
    for (uint32_t i = 0; i < n; i++) {
        put_u32(&w, chunks[i].region);
        put_u64(&w, chunks[i].chunk);
    }
    return writer_length(&w);
}

int wire_get_want(const uint8_t *payload, size_t length, struct wire_chunk *out, uint32_t max, uint32_t *n)
{
    struct wire_reader r = reader_on(payload, length);

    *n = get_count(&r, max, CHUNK_BYTES);
    for (uint32_t i = 0; i < *n; i++) {
        out[i].region = get_u32(&r);
        out[i].chunk = get_u64(&r);
    }
    return reader_end(&r);
}

size_t wire_put_keys(uint8_t *buffer, const struct wire_key *keys, uint32_t n)
{
    struct wire_writer w = writer_on(buffer);

    put_u32(&w, n);
    for (uint32_t i = 0; i < n; i++) {
        put_u32(&w, keys[i].region);
        put_u64(&w, keys[i].chunk);
        put_u64(&w, keys[i].key.address);
        for (uint32_t rail = 0; rail < LINK_RAILS_MAX; rail++)
            put_u32(&w, keys[i].key.rkey[rail]);
    }
    return writer_length(&w);
}

int wire_get_keys(const uint8_t *payload, size_t length, struct wire_key *out, uint32_t max, uint32_t *n)
{
    struct wire_reader r = reader_on(payload, length);

    *n = get_count(&r, max, KEY_BYTES);
    for (uint32_t i = 0; i < *n; i++) {
        out[i].region = get_u32(&r);
        out[i].chunk = get_u64(&r);
        out[i].key.address = get_u64(&r);
        for (uint32_t rail = 0; rail < LINK_RAILS_MAX; rail++)
            out[i].key.rkey[rail] = get_u32(&r);
    }
    return reader_end(&r);
}

size_t wire_put_list(uint8_t *buffer, uint32_t round, uint32_t region, enum wire_list_kind kind,
                     const struct wire_run *runs, uint32_t n_runs)
{
    struct wire_writer w = writer_on(buffer);

    put_u32(&w, round);
    put_u32(&w, region);
    put_u8(&w, (uint8_t)kind);
    put_u32(&w, n_runs);
    for (uint32_t i = 0; i < n_runs; i++) {
        put_u64(&w, runs[i].first_page);
        put_u64(&w, runs[i].n_pages);
    }
    return writer_length(&w);
}

int wire_get_list(const uint8_t *payload, size_t length, struct wire_list *out)
{
    struct wire_reader r = reader_on(payload, length);
    uint8_t kind;

    out->round = get_u32(&r);
    out->region = get_u32(&r);
    kind = get_u8(&r);
    out->n_runs = get_count(&r, WIRE_RUNS_MAX, RUN_BYTES);
    out->runs = r.at;
    r.bad |= kind < WIRE_LIST_WRITTEN || kind > WIRE_LIST_CLEAR || r.left != (size_t)out->n_runs * RUN_BYTES;
    out->kind = kind;
    return r.bad ? -EPROTO : 0;
}

struct wire_run wire_list_run(const struct wire_list *list, uint32_t i)
{
    struct wire_reader r = reader_on(list->runs + (size_t)i * RUN_BYTES, RUN_BYTES);
    struct wire_run run = {.first_page = get_u64(&r)};

    run.n_pages = get_u64(&r);
    return run;
}

size_t wire_put_round_end(uint8_t *buffer, const struct wire_round_end *end)
{
    struct wire_writer w = writer_on(buffer);

    put_u32(&w, end->round);
    put_u8(&w, end->last);
    put_u32(&w, end->n_digests);
    for (uint32_t i = 0; i < end->n_digests; i++)
        put_u64(&w, end->digests[i]);
    return writer_length(&w);
}

int wire_get_round_end(const uint8_t *payload, size_t length, struct wire_round_end *out)
{
    struct wire_reader r = reader_on(payload, length);

    out->round = get_u32(&r);
    out->last = get_bool(&r);
    out->n_digests = get_count(&r, WIRE_REGIONS_MAX, 8);
    for (uint32_t i = 0; i < out->n_digests; i++)
        out->digests[i] = get_u64(&r);
    return reader_end(&r);
}

size_t wire_put_round_ack(uint8_t *buffer, const struct wire_round_ack *ack)
{
    struct wire_writer w = writer_on(buffer);

    put_u32(&w, ack->round);
    put_u64(&w, ack->backlog_pages);
    put_u64(&w, ack->digest_pages_ps);
    return writer_length(&w);
}

int wire_get_round_ack(const uint8_t *payload, size_t length, struct wire_round_ack *out)
{
    struct wire_reader r = reader_on(payload, length);

    out->round = get_u32(&r);
    out->backlog_pages = get_u64(&r);
    out->digest_pages_ps = get_u64(&r);
    return reader_end(&r);
}

static void put_ask(struct wire_writer *w, const struct wire_ask *ask)
{
    put_u32(w, ask->region);
    put_u8(w, ask->per_page);
    put_u64(w, ask->first);
    put_u32(w, ask->n);
}

static void get_ask(struct wire_reader *r, struct wire_ask *ask)
{
    ask->region = get_u32(r);
    ask->per_page = get_bool(r);
    ask->first = get_u64(r);
    ask->n = get_u32(r);
    r->bad |= ask->n > WIRE_DIGESTS_MAX;
}

size_t wire_put_ask(uint8_t *buffer, const struct wire_ask *ask)
{
    struct wire_writer w = writer_on(buffer);

    put_ask(&w, ask);
    return writer_length(&w);
}

int wire_get_ask(const uint8_t *payload, size_t length, struct wire_ask *out)
{
    struct wire_reader r = reader_on(payload, length);

    get_ask(&r, out);
    return reader_end(&r);
}

size_t wire_put_digests(uint8_t *buffer, const struct wire_ask *of, const uint64_t *entries)
{
    struct wire_writer w = writer_on(buffer);

    put_ask(&w, of);
    for (uint32_t i = 0; i < of->n; i++)
        put_u64(&w, entries[i]);
    return writer_length(&w);
}

int wire_get_digests(const uint8_t *payload, size_t length, struct wire_digests *out)
{
    struct wire_reader r = reader_on(payload, length);

    get_ask(&r, &out->of);
    out->entries = r.at;
    return r.bad || r.left != (size_t)out->of.n * 8 ? -EPROTO : 0;
}

uint64_t wire_digest(const struct wire_digests *digests, uint32_t i)
{
    struct wire_reader r = reader_on(digests->entries + (size_t)i * 8, 8);

    return get_u64(&r);
}

size_t wire_put_prepare(uint8_t *buffer, const struct wire_prepare *prepare)
{
    struct wire_writer w = writer_on(buffer);

    put_u32(&w, prepare->round);
    put_u64(&w, prepare->state_bytes);
    put_u64(&w, prepare->state_digest);
    return writer_length(&w);
}

int wire_get_prepare(const uint8_t *payload, size_t length, struct wire_prepare *out)
{
    struct wire_reader r = reader_on(payload, length);

    out->round = get_u32(&r);
    out->state_bytes = get_u64(&r);
    out->state_digest = get_u64(&r);
    return reader_end(&r);
}

size_t wire_put_query(uint8_t *buffer, const uint8_t session[WIRE_SESSION_BYTES])
{
    memcpy(buffer, session, WIRE_SESSION_BYTES);
    return WIRE_SESSION_BYTES;
}

int wire_get_query(const uint8_t *payload, size_t length, uint8_t session[WIRE_SESSION_BYTES])
{
    struct wire_reader r = reader_on(payload, length);

    get_bytes(&r, session, WIRE_SESSION_BYTES);
    return reader_end(&r);
}

size_t wire_put_lane(uint8_t *buffer, uint32_t lane)
{
    struct wire_writer w = writer_on(buffer);

    put_u32(&w, lane);
    return writer_length(&w);
}

int wire_get_lane(const uint8_t *payload, size_t length, uint32_t *lane)
{
    struct wire_reader r = reader_on(payload, length);

    *lane = get_u32(&r);
    r.bad |= *lane >= LINK_LANES_MAX;
    return reader_end(&r);
}

size_t wire_put_standing(uint8_t *buffer, enum wire_standing standing)
{
    buffer[0] = (uint8_t)standing;
    return 1;
}

int wire_get_standing(const uint8_t *payload, size_t length, enum wire_standing *out)
{
    if (length != 1 || payload[0] < WIRE_STANDING_READY || payload[0] > WIRE_STANDING_UNKNOWN)
        return -EPROTO;
    *out = payload[0];
    return 0;
}

const char *wire_type_name(uint16_t type, char buffer[16])
{
    static const char *const names[] = {
        "REFUSE",  "HELLO", "HELLO_ACK", "WANT",   "KEY",   "LIST",  "ROUND_END", "ROUND_ACK", "ASK",       "DIGESTS",
        "PREPARE", "READY", "COMMIT",    "ACTIVE", "ABORT", "QUERY", "STANDING",  "LANE_DOWN", "LANE_GONE", "LANE_UP"};

    if (type >= WIRE_REFUSE && type <= WIRE_LANE_UP)
        return names[type - WIRE_REFUSE];
    snprintf(buffer, 16, "type %u", type);
    return buffer;
}
