/* SPDX-License-Identifier: BSD-2-Clause */
/* The first 64 bytes of a connection: their places on the wire, and what is refused. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport/preamble.h"

static uint8_t bytes[PREAMBLE_BYTES];

static struct preamble a_lane(void)
{
    struct preamble p = {.kind = PREAMBLE_LANE, .lane = 0x01020304, .n_lanes = 0x0a0b0c0d};

    for (uint8_t i = 0; i < LINK_TOKEN_BYTES; i++)
        p.token[i] = (uint8_t)(0x80 + i);
    return p;
}

static int refused(struct tern_error *error)
{
    struct preamble out, untouched;
    int r;

    memset(&out, 0x5a, sizeof(out));
    memset(&untouched, 0x5a, sizeof(untouched));
    memset(error, 0, sizeof(*error));
    r = preamble_decode(bytes, &out, error);
    cr_assert_lt(r, 0);
    cr_assert_eq(error->code, r);
    cr_assert_gt(strlen(error->message), 0);
    cr_assert_eq(memcmp(&out, &untouched, sizeof(out)), 0, "written though refused");
    return r;
}

Test(preamble, what_is_put_is_got)
{
    struct preamble in = a_lane(), out;
    struct tern_error error = {0};

    preamble_encode(&in, bytes);
    cr_assert_eq(preamble_decode(bytes, &out, &error), 0, "%s", error.message);
    cr_assert_eq(out.kind, PREAMBLE_LANE);
    cr_assert_eq(out.lane, in.lane);
    cr_assert_eq(out.n_lanes, in.n_lanes);
    cr_assert_eq(memcmp(out.token, in.token, sizeof(in.token)), 0);
    in.kind = PREAMBLE_CONTROL;
    preamble_encode(&in, bytes);
    cr_assert_eq(preamble_decode(bytes, &out, &error), 0, "%s", error.message);
    cr_assert_eq(out.kind, PREAMBLE_CONTROL);
}

/* These bytes never change: other versions must be able to read them. */
Test(preamble, places_on_the_wire)
{
    static const uint8_t expected[PREAMBLE_BYTES] = {
        'T',  'E',  'R',  'N',  2,    0,    3,    0,    0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
        0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 4,    3,    2,    1,    0x0d, 0x0c, 0x0b, 0x0a,
    };
    struct preamble in = a_lane();

    memset(bytes, 0xff, sizeof(bytes));
    preamble_encode(&in, bytes);
    cr_assert_eq(memcmp(bytes, expected, sizeof(bytes)), 0);
}

Test(preamble, another_magic)
{
    struct preamble in = a_lane();
    struct tern_error error;

    for (int i = 0; i < 4; i++) {
        preamble_encode(&in, bytes);
        bytes[i] ^= 0x20;
        cr_assert_eq(refused(&error), -EPROTO);
    }
    memcpy(bytes, "GET / HTTP/1.1\r\n", 16);
    cr_assert_eq(refused(&error), -EPROTO);
    memset(bytes, 0, sizeof(bytes));
    cr_assert_eq(refused(&error), -EPROTO);
}

Test(preamble, another_version_is_told_with_both)
{
    struct preamble in = a_lane();
    struct tern_error error;

    preamble_encode(&in, bytes);
    bytes[6] = 0x39;
    bytes[7] = 0x30;
    bytes[5] = 1; /* what a later version may use: the version is judged first */
    bytes[60] = 1;
    cr_assert_eq(refused(&error), -EPROTONOSUPPORT);
    cr_assert_not_null(strstr(error.message, "version 12345"), "%s", error.message);
    cr_assert_not_null(strstr(error.message, "version 3"), "%s", error.message);
    cr_assert_gt(strlen(error.hint), 0);
}

Test(preamble, every_byte_that_must_be_zero)
{
    struct preamble in = a_lane();
    struct tern_error error;

    for (int i = 0; i < PREAMBLE_BYTES; i++) {
        if (i != 5 && i < 32)
            continue;
        preamble_encode(&in, bytes);
        bytes[i] = 0x80;
        cr_assert_eq(refused(&error), -EPROTO, "byte %d", i);
    }
}

Test(preamble, unknown_kinds)
{
    struct preamble in = a_lane();
    struct tern_error error;

    for (int kind = 0; kind < 256; kind++) {
        if (kind == PREAMBLE_CONTROL || kind == PREAMBLE_LANE)
            continue;
        preamble_encode(&in, bytes);
        bytes[4] = (uint8_t)kind;
        cr_assert_eq(refused(&error), -EPROTO, "kind %d", kind);
    }
}

Test(preamble, garbage_is_refused, .timeout = 30)
{
    struct tern_error error;

    srand(1);
    for (int i = 0; i < 20000; i++) {
        for (int k = 0; k < PREAMBLE_BYTES; k++)
            bytes[k] = (uint8_t)rand();
        if (i % 2)
            memcpy(bytes, "TERN", 4);
        bytes[63] |= 1;
        refused(&error);
    }
}
