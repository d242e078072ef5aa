/* SPDX-License-Identifier: BSD-2-Clause */
/* What a lane shows over rdma_cm, and what it is told: bytes from a peer that may send anything. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "transport/verbs/verbs.h"

Test(hello, comes_back_as_it_went)
{
    struct verbs_hello out, in = {.lane = 3, .n_lanes = 64};
    uint8_t bytes[56] = {0};

    memset(in.token, 0xa7, sizeof(in.token));
    verbs_hello_encode(&in, bytes);
    cr_assert_eq(verbs_hello_decode(bytes, sizeof(bytes), &out), 0); /* rdma_cm pads */
    cr_assert(out.lane == 3 && out.n_lanes == 64);
    cr_assert_eq(memcmp(out.token, in.token, sizeof(in.token)), 0);
    cr_assert_eq(memcmp(bytes, "TRNL\1\0\0\0\3\0\100\0\xa7", 13), 0);
}

Test(hello, other_magic_version_or_length_is_refused)
{
    struct verbs_hello out, in = {.lane = 1, .n_lanes = 2};
    uint8_t bytes[VERBS_HELLO_BYTES];

    verbs_hello_encode(&in, bytes);
    for (size_t length = 0; length < sizeof(bytes); length++)
        cr_assert_eq(verbs_hello_decode(bytes, length, &out), -EPROTO);
    for (int i = 0; i < 8; i++) {
        bytes[i] ^= 0x20;
        cr_assert_eq(verbs_hello_decode(bytes, sizeof(bytes), &out), -EPROTO, "byte %d", i);
        bytes[i] ^= 0x20;
    }
    cr_assert_eq(verbs_hello_decode(NULL, 0, &out), -EPROTO);
}

Test(refusal, comes_back_as_it_went_and_has_words)
{
    for (int reason = 0; reason < 7; reason++) {
        struct verbs_refusal out, in = {.reason = reason, .code = ENOMEM};
        uint8_t bytes[148] = {0};

        verbs_refusal_encode(&in, bytes);
        cr_assert_eq(verbs_refusal_decode(bytes, sizeof(bytes), &out), 0);
        cr_assert(out.reason == in.reason && out.code == ENOMEM);
        cr_assert_gt(strlen(verbs_reason_text(out.reason)), 10);
        cr_assert_eq(verbs_refusal_decode(bytes, VERBS_REFUSAL_BYTES - 1, &out), -EPROTO);
        bytes[3] = 'L';
        cr_assert_eq(verbs_refusal_decode(bytes, sizeof(bytes), &out), -EPROTO);
    }
}
