/* SPDX-License-Identifier: BSD-2-Clause */
/* Every message: what is put is got, every truncation and every extra byte is refused, garbage never crashes. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/wire.h"
#include "transport/error.h"

static uint8_t buffer[WIRE_BUFFER_BYTES];

typedef int decoder(const uint8_t *payload, size_t length);

/* Each decoder behind one shape; the outputs are big enough for the greatest message. */
static int hello(const uint8_t *p, size_t n)
{
    struct wire_hello out;
    return wire_get_hello(p, n, &out);
}
static int hello_ack(const uint8_t *p, size_t n)
{
    struct wire_hello_ack out;
    return wire_get_hello_ack(p, n, &out);
}
static int refuse(const uint8_t *p, size_t n)
{
    struct wire_refuse out;
    return wire_get_refuse(p, n, &out);
}
static int want(const uint8_t *p, size_t n)
{
    struct wire_chunk out[WIRE_KEYS_MAX];
    uint32_t count;
    return wire_get_want(p, n, out, WIRE_KEYS_MAX, &count);
}
static int keys(const uint8_t *p, size_t n)
{
    struct wire_key out[WIRE_KEYS_MAX];
    uint32_t count;
    return wire_get_keys(p, n, out, WIRE_KEYS_MAX, &count);
}
static int list(const uint8_t *p, size_t n)
{
    struct wire_list out;
    int r = wire_get_list(p, n, &out);

    for (uint32_t i = 0; !r && i < out.n_runs; i++)
        wire_list_run(&out, i);
    return r;
}
static int round_end(const uint8_t *p, size_t n)
{
    struct wire_round_end out;
    return wire_get_round_end(p, n, &out);
}
static int round_ack(const uint8_t *p, size_t n)
{
    struct wire_round_ack out;
    return wire_get_round_ack(p, n, &out);
}
static int ask(const uint8_t *p, size_t n)
{
    struct wire_ask out;
    return wire_get_ask(p, n, &out);
}
static int digests(const uint8_t *p, size_t n)
{
    struct wire_digests out;
    int r = wire_get_digests(p, n, &out);

    for (uint32_t i = 0; !r && i < out.of.n; i++)
        wire_digest(&out, i);
    return r;
}
static int prepare(const uint8_t *p, size_t n)
{
    struct wire_prepare out;
    return wire_get_prepare(p, n, &out);
}
static int query(const uint8_t *p, size_t n)
{
    uint8_t out[WIRE_SESSION_BYTES];
    return wire_get_query(p, n, out);
}
static int standing(const uint8_t *p, size_t n)
{
    enum wire_standing out;
    return wire_get_standing(p, n, &out);
}

static int lane(const uint8_t *p, size_t n)
{
    uint32_t out;
    return wire_get_lane(p, n, &out);
}

static decoder *const decoders[] = {hello,     hello_ack, refuse,  want,    keys,  list,     round_end,
                                    round_ack, ask,       digests, prepare, query, standing, lane};

/* The decoder reads from memory of exactly that length, so that asan sees a byte too many. */
static int decode_exact(decoder *decode, size_t length)
{
    uint8_t *copy = malloc(length ? length : 1);
    int r;

    memcpy(copy, buffer, length);
    r = decode(copy, length);
    free(copy);
    return r;
}

static void only_whole(decoder *decode, size_t length)
{
    cr_assert_eq(decode_exact(decode, length), 0);
    for (size_t shorter = 0; shorter < length; shorter++)
        cr_assert_eq(decode_exact(decode, shorter), -EPROTO, "%zu of %zu bytes were taken", shorter, length);
    buffer[length] = 0;
    cr_assert_eq(decode_exact(decode, length + 1), -EPROTO, "a byte too many was taken");
}

static struct wire_hello a_hello(void)
{
    struct wire_hello h = {.kind = "vmm 1",
                           .program = "tern",
                           .transports = WIRE_CAN_TCP,
                           .no_verbs = "no device",
                           .n_lanes = 3,
                           .chunk_bytes = 16 << 20,
                           .state_capacity_bytes = 1 << 20,
                           .peer_timeout_ms = 4000,
                           .reconnect_ms = 15000,
                           .verify = true,
                           .n_regions = 2,
                           .regions = {{0, 3 << 20, 4096, "low"}, {4ull << 30, 1 << 20, 4096, "high"}},
                           .profile_bytes = 5,
                           .profile = "CPU x",
                           .n_residence = 3,
                           .residence = {{0, 0, 1, 5}, {0, 1, 1, 0}, {1, 0, 1, 63}}};

    memset(h.session, 7, sizeof(h.session));
    return h;
}

Test(wire, hello, .timeout = 30)
{
    struct wire_hello in = a_hello(), out;
    size_t length = wire_put_hello(buffer, &in);

    cr_assert_eq(wire_get_hello(buffer, length, &out), 0);
    cr_assert_str_eq(out.kind, in.kind);
    cr_assert_str_eq(out.no_verbs, in.no_verbs);
    cr_assert_eq(memcmp(out.session, in.session, sizeof(in.session)), 0);
    cr_assert_eq(out.n_lanes, 3);
    cr_assert(out.verify);
    cr_assert_eq(out.n_regions, 2);
    cr_assert_str_eq(out.regions[1].name, "high");
    cr_assert_eq(out.regions[1].guest_address, 4ull << 30);
    cr_assert_eq(out.profile_bytes, 5);
    cr_assert_eq(memcmp(out.profile, "CPU x", 5), 0);
    cr_assert_eq(out.n_residence, 3);
    cr_assert(out.residence[1].region == 0 && out.residence[1].first_unit == 1 && out.residence[1].n_units == 1);
    cr_assert(out.residence[0].node == 5 && out.residence[2].node == 63 && out.residence[2].region == 1);
    only_whole(hello, length);
}

/* Of the two regions the first has two units (the second of them half there), the last has one. */
Test(wire, hello_with_impossible_residence, .timeout = 30)
{
    static const struct wire_residence bad[] = {
        {2, 0, 1, 0}, {0, 0, 3, 0},          {0, 1, 2, 0},          {0, 3, 1, 0},
        {0, 0, 0, 0}, {0, UINT64_MAX, 1, 0}, {0, 1, UINT64_MAX, 0}, {0, 0, 1, TERN_NODES_MAX},
    };
    static struct wire_hello in;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        in = a_hello();
        in.n_residence = 1;
        in.residence[0] = bad[i];
        cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), -EPROTO, "entry %zu was taken", i);
    }
    in = a_hello();
    in.n_residence = 2;
    in.residence[0] = (struct wire_residence){1, 0, 1, 0};
    in.residence[1] = (struct wire_residence){0, 0, 1, 0};
    cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), -EPROTO, "regions out of order");
    in.residence[0] = (struct wire_residence){0, 0, 2, 0};
    in.residence[1] = (struct wire_residence){0, 1, 1, 0};
    cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), -EPROTO, "units twice");
}

Test(wire, hello_out_of_range, .timeout = 30)
{
    struct wire_hello in = a_hello();
    size_t length;

    in.n_lanes = 0;
    cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), -EPROTO);
    in.n_lanes = LINK_LANES_MAX + 1;
    cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), -EPROTO);
    in = a_hello();
    in.chunk_bytes = 3 << 20;
    cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), -EPROTO);
    in = a_hello();
    in.transports = 8;
    cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), -EPROTO);
    in = a_hello();
    strcpy(in.kind, "a\nb");
    cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), -EPROTO);
    in = a_hello();
    in.profile_bytes = TERN_PROFILE_BYTES;
    in.n_residence = 0;
    cr_assert_eq(decode_exact(hello, wire_put_hello(buffer, &in)), 0);
    length = wire_put_hello(buffer, &in);
    buffer[length - 4 - TERN_PROFILE_BYTES - 4]++; /* a longer one than there may be, and is */
    cr_assert_eq(decode_exact(hello, length), -EPROTO);
}

Test(wire, lists, .timeout = 30)
{
    struct wire_run runs[] = {{0, 5}, {77, 1}, {1ull << 40, 2}};
    size_t length = wire_put_list(buffer, 9, 1, WIRE_LIST_CLEAR, runs, 3);
    struct wire_list out;

    cr_assert_eq(wire_get_list(buffer, length, &out), 0);
    cr_assert_eq(out.round, 9);
    cr_assert_eq(out.kind, WIRE_LIST_CLEAR);
    cr_assert_eq(wire_list_run(&out, 2).first_page, 1ull << 40);
    cr_assert_eq(wire_list_run(&out, 1).n_pages, 1);
    only_whole(list, length);
}

Test(wire, keys_and_wants, .timeout = 30)
{
    struct wire_key in[2] = {{1, 2, {0x7f0000001000, {99, 98, 97, 96}}}, {3, 4, {5, {6}}}}, out[2];
    struct wire_chunk chunk = {1, 7}, chunks[1];
    uint32_t n;
    size_t length = wire_put_keys(buffer, in, 2);

    cr_assert_eq(wire_get_keys(buffer, length, out, 2, &n), 0);
    cr_assert_eq(n, 2);
    cr_assert_eq(out[0].key.address, 0x7f0000001000);
    cr_assert(out[0].key.rkey[0] == 99 && out[0].key.rkey[3] == 96);
    cr_assert_eq(out[1].key.rkey[0], 6);
    cr_assert_eq(wire_get_keys(buffer, length, out, 1, &n), -EPROTO, "more keys than there is room for");
    only_whole(keys, length);
    length = wire_put_want(buffer, &chunk, 1);
    cr_assert_eq(wire_get_want(buffer, length, chunks, 1, &n), 0);
    cr_assert_eq(chunks[0].chunk, 7);
    only_whole(want, length);
}

Test(wire, rails_of_both_families, .timeout = 30)
{
    struct wire_hello_ack out, in = {.transport = "verbs", .chunk_bytes = 2 << 20, .n_rails = 2};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&in.rails[0];
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&in.rails[1];
    size_t length;

    *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(7), .sin_addr = {htonl(0x0a4d0102)}};
    *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(8), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    length = wire_put_hello_ack(buffer, &in);
    cr_assert_eq(wire_get_hello_ack(buffer, length, &out), 0);
    cr_assert_eq(out.n_rails, 2);
    cr_assert_eq(memcmp(out.rails, in.rails, 2 * sizeof(in.rails[0])), 0);
    only_whole(hello_ack, length);
    buffer[length - 2 * 19] = 5;
    cr_assert_eq(hello_ack(buffer, length), -EPROTO, "a family that is none");
    buffer[length - 2 * 19] = 4;
    buffer[length - 2 * 19 + 1 + 4] = 1;
    cr_assert_eq(hello_ack(buffer, length), -EPROTO, "an IPv4 address of more than four bytes");
    in.n_rails = LINK_RAILS_MAX; /* with the first, one too many */
    cr_assert_eq(hello_ack(buffer, wire_put_hello_ack(buffer, &in)), -EPROTO);
}

Test(wire, small_messages, .timeout = 30)
{
    struct wire_round_end end = {.round = 3, .last = true, .n_digests = 2, .digests = {11, 12}};
    struct wire_round_ack ack = {4, 5, 6};
    struct wire_ask asked = {1, true, 512, 2};
    struct wire_prepare prepared = {5, 100, 200};
    struct wire_hello_ack hello_ack_in = {.transport = "tcp", .token = {1, 2, 3}, .port = 7471, .chunk_bytes = 2 << 20};
    uint64_t entries[2] = {21, 22};
    uint8_t session[WIRE_SESSION_BYTES] = {9};
    struct tern_error error;
    struct wire_digests got;
    struct wire_refuse refused;

    only_whole(round_end, wire_put_round_end(buffer, &end));
    only_whole(round_ack, wire_put_round_ack(buffer, &ack));
    only_whole(ask, wire_put_ask(buffer, &asked));
    only_whole(prepare, wire_put_prepare(buffer, &prepared));
    only_whole(hello_ack, wire_put_hello_ack(buffer, &hello_ack_in));
    hello_ack_in.chunk_bytes = 1 << 20;
    cr_assert_eq(hello_ack(buffer, wire_put_hello_ack(buffer, &hello_ack_in)), -EPROTO, "chunks smaller than a unit");
    only_whole(query, wire_put_query(buffer, session));
    only_whole(lane, wire_put_lane(buffer, LINK_LANES_MAX - 1));
    cr_assert_eq(lane(buffer, wire_put_lane(buffer, LINK_LANES_MAX)), -EPROTO, "no such lane");
    only_whole(standing, wire_put_standing(buffer, WIRE_STANDING_GONE));
    cr_assert_eq(wire_get_digests(buffer, wire_put_digests(buffer, &asked, entries), &got), 0);
    cr_assert_eq(wire_digest(&got, 1), 22);
    only_whole(digests, wire_put_digests(buffer, &asked, entries));
    error_set(&error, -EINVAL, "hint", "message %d", 5);
    cr_assert_eq(wire_get_refuse(buffer, wire_put_refuse(buffer, &error), &refused), 0);
    cr_assert_eq(refused.code, -EINVAL);
    cr_assert_str_eq(refused.message, "message 5");
    only_whole(refuse, wire_put_refuse(buffer, &error));
}

/* An error may come from a VMM's callback: whatever it is, the peer must be able to read that there was one. */
Test(wire, any_error_can_be_sent, .timeout = 30)
{
    static const int codes[] = {0, 5, -EINVAL, -4095, -4096, INT_MIN};
    struct tern_error error = {.message = "a\nb\x7f\tc", .hint = "\r"};
    struct wire_refuse refused;

    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        error.code = codes[i];
        cr_assert_eq(wire_get_refuse(buffer, wire_put_refuse(buffer, &error), &refused), 0, "code %d", codes[i]);
        cr_assert_str_eq(refused.message, "a b  c");
        cr_assert_str_eq(refused.hint, " ");
        cr_assert_eq(refused.code, codes[i] < 0 && codes[i] >= -4095 ? codes[i] : -EIO);
    }
    memset(error.message, 'x', sizeof(error.message)); /* no end */
    memset(error.hint, 'y', sizeof(error.hint));
    cr_assert_eq(wire_get_refuse(buffer, wire_put_refuse(buffer, &error), &refused), 0);
    cr_assert_eq(strlen(refused.message), TERN_ERROR_MESSAGE_BYTES - 1);
    cr_assert_eq(strlen(refused.hint), TERN_ERROR_HINT_BYTES - 1);
}

Test(wire, garbage_is_refused_or_harmless, .timeout = 60)
{
    srand(1);
    for (int i = 0; i < 20000; i++) {
        size_t length = (size_t)(rand() % 300);

        for (size_t k = 0; k < length; k++)
            buffer[k] = (uint8_t)(rand() % 3 ? rand() % 4 : rand());
        for (size_t k = 0; k < sizeof(decoders) / sizeof(*decoders); k++)
            decode_exact(decoders[k], length);
    }
}

Test(wire, names)
{
    char text[16];

    cr_assert_str_eq(wire_type_name(WIRE_STANDING, text), "STANDING");
    cr_assert_str_eq(wire_type_name(WIRE_COMMIT, text), "COMMIT");
    cr_assert_str_eq(wire_type_name(3, text), "type 3");
}
