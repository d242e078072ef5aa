/* SPDX-License-Identifier: BSD-2-Clause */
/* The two messages with which a link begins: what the source has, and what the destination offers for it. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "migrate/wire.h"
#include "migrate/wire_bytes.h"

#define RAIL_BYTES      19u
#define RESIDENCE_BYTES 21u

static void put_residence(struct wire_writer *w, const struct wire_hello *hello)
{
    put_u32(w, hello->n_residence);
    for (uint32_t i = 0; i < hello->n_residence; i++) {
        put_u32(w, hello->residence[i].region);
        put_u64(w, hello->residence[i].first_unit);
        put_u64(w, hello->residence[i].n_units);
        put_u8(w, hello->residence[i].node);
    }
}

/* Each in its region, and after the one before. */
static bool residence_fits(const struct wire_hello *hello, uint32_t i)
{
    const struct wire_residence *r = &hello->residence[i], *before = i ? r - 1 : NULL;
    uint64_t bytes, n_units;

    if (r->region >= hello->n_regions || r->node >= TERN_NODES_MAX || !r->n_units)
        return false;
    bytes = hello->regions[r->region].length_bytes;
    n_units = bytes / WIRE_UNIT_BYTES + (bytes % WIRE_UNIT_BYTES != 0);
    if (r->first_unit > n_units || r->n_units > n_units - r->first_unit)
        return false;
    return !before || r->region > before->region ||
           (r->region == before->region && r->first_unit >= before->first_unit + before->n_units);
}

static void get_residence(struct wire_reader *r, struct wire_hello *out)
{
    out->n_residence = get_count(r, WIRE_RESIDENCE_MAX, RESIDENCE_BYTES);
    for (uint32_t i = 0; i < out->n_residence; i++) {
        out->residence[i].region = get_u32(r);
        out->residence[i].first_unit = get_u64(r);
        out->residence[i].n_units = get_u64(r);
        out->residence[i].node = get_u8(r);
        r->bad |= !residence_fits(out, i);
    }
}

/* A power of two, and no smaller than a unit of the rounds. */
static bool chunk_bytes_good(uint64_t bytes)
{
    return bytes >= (2ull << 20) && !(bytes & (bytes - 1));
}

size_t wire_put_hello(uint8_t *buffer, const struct wire_hello *hello)
{
    struct wire_writer w = writer_on(buffer);

    put_bytes(&w, hello->session, sizeof(hello->session));
    put_string(&w, hello->kind);
    put_string(&w, hello->program);
    put_u32(&w, hello->transports);
    put_string(&w, hello->no_verbs);
    put_u32(&w, hello->n_lanes);
    put_u64(&w, hello->chunk_bytes);
    put_u64(&w, hello->state_capacity_bytes);
    put_u32(&w, hello->peer_timeout_ms);
    put_u32(&w, hello->reconnect_ms);
    put_u8(&w, hello->verify);
    put_u32(&w, hello->n_regions);
    for (uint32_t i = 0; i < hello->n_regions; i++) {
        put_u64(&w, hello->regions[i].guest_address);
        put_u64(&w, hello->regions[i].length_bytes);
        put_u64(&w, hello->regions[i].page_bytes);
        put_string(&w, hello->regions[i].name);
    }
    put_u32(&w, hello->profile_bytes);
    put_bytes(&w, hello->profile, hello->profile_bytes);
    put_residence(&w, hello);
    return writer_length(&w);
}

int wire_get_hello(const uint8_t *payload, size_t length, struct wire_hello *out)
{
    struct wire_reader r = reader_on(payload, length);

    get_bytes(&r, out->session, sizeof(out->session));
    get_string(&r, out->kind, sizeof(out->kind));
    get_string(&r, out->program, sizeof(out->program));
    out->transports = get_u32(&r);
    get_string(&r, out->no_verbs, sizeof(out->no_verbs));
    out->n_lanes = get_u32(&r);
    out->chunk_bytes = get_u64(&r);
    out->state_capacity_bytes = get_u64(&r);
    out->peer_timeout_ms = get_u32(&r);
    out->reconnect_ms = get_u32(&r);
    out->verify = get_bool(&r);
    out->n_regions = get_count(&r, WIRE_REGIONS_MAX, 26);
    for (uint32_t i = 0; i < out->n_regions; i++) {
        out->regions[i].guest_address = get_u64(&r);
        out->regions[i].length_bytes = get_u64(&r);
        out->regions[i].page_bytes = get_u64(&r);
        get_string(&r, out->regions[i].name, sizeof(out->regions[i].name));
    }
    out->profile_bytes = get_count(&r, TERN_PROFILE_BYTES, 1);
    get_bytes(&r, out->profile, out->profile_bytes);
    get_residence(&r, out);
    r.bad |= out->n_lanes < 1 || out->n_lanes > LINK_LANES_MAX;
    r.bad |= !chunk_bytes_good(out->chunk_bytes);
    r.bad |= out->transports & ~(WIRE_CAN_VERBS | WIRE_CAN_TCP);
    return reader_end(&r);
}

/* u8 family 4 or 6, 16 bytes of address (of IPv4 the first four, the rest 0), u16 port */
static void put_rail(struct wire_writer *w, const struct sockaddr_storage *rail)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)rail;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)rail;
    bool is_v4 = rail->ss_family == AF_INET;
    uint8_t address[16] = {0};

    if (is_v4)
        memcpy(address, &v4->sin_addr, 4);
    else
        memcpy(address, &v6->sin6_addr, 16);
    put_u8(w, is_v4 ? 4 : 6);
    put_bytes(w, address, sizeof(address));
    put_u16(w, ntohs(is_v4 ? v4->sin_port : v6->sin6_port));
}

static void get_rail(struct wire_reader *r, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    uint8_t family = get_u8(r), address[16];
    static const uint8_t none[12];

    get_bytes(r, address, sizeof(address));
    memset(out, 0, sizeof(*out));
    out->ss_family = family == 4 ? AF_INET : AF_INET6;
    r->bad |= family != 4 && family != 6;
    if (family == 4) {
        r->bad |= !!memcmp(address + 4, none, sizeof(none));
        memcpy(&v4->sin_addr, address, 4);
        v4->sin_port = htons(get_u16(r));
    } else {
        memcpy(&v6->sin6_addr, address, 16);
        v6->sin6_port = htons(get_u16(r));
    }
}

size_t wire_put_hello_ack(uint8_t *buffer, const struct wire_hello_ack *ack)
{
    struct wire_writer w = writer_on(buffer);

    put_string(&w, ack->transport);
    put_string(&w, ack->reason);
    put_string(&w, ack->device);
    put_bytes(&w, ack->token, sizeof(ack->token));
    put_u16(&w, ack->port);
    put_u64(&w, ack->chunk_bytes);
    put_u32(&w, ack->n_rails);
    for (uint32_t i = 0; i < ack->n_rails; i++)
        put_rail(&w, &ack->rails[i]);
    return writer_length(&w);
}

int wire_get_hello_ack(const uint8_t *payload, size_t length, struct wire_hello_ack *out)
{
    struct wire_reader r = reader_on(payload, length);

    get_string(&r, out->transport, sizeof(out->transport));
    get_string(&r, out->reason, sizeof(out->reason));
    get_string(&r, out->device, sizeof(out->device));
    get_bytes(&r, out->token, sizeof(out->token));
    out->port = get_u16(&r);
    out->chunk_bytes = get_u64(&r);
    out->n_rails = get_count(&r, LINK_RAILS_MAX - 1, RAIL_BYTES);
    for (uint32_t i = 0; i < out->n_rails; i++)
        get_rail(&r, &out->rails[i]);
    r.bad |= !chunk_bytes_good(out->chunk_bytes);
    return reader_end(&r);
}
