/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/preamble.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "transport/error.h"

#define MAGIC      "TERN"
#define AT_KIND    4
#define AT_VERSION 6
#define AT_TOKEN   8
#define AT_LANE    24
#define AT_N_LANES 28
#define AT_ZERO    32

static void put32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

void preamble_encode(const struct preamble *preamble, uint8_t bytes[PREAMBLE_BYTES])
{
    memset(bytes, 0, PREAMBLE_BYTES);
    memcpy(bytes, MAGIC, 4);
    bytes[AT_KIND] = (uint8_t)preamble->kind;
    bytes[AT_VERSION] = PREAMBLE_VERSION;
    memcpy(bytes + AT_TOKEN, preamble->token, LINK_TOKEN_BYTES);
    put32(bytes + AT_LANE, preamble->lane);
    put32(bytes + AT_N_LANES, preamble->n_lanes);
}

int preamble_decode(const uint8_t bytes[PREAMBLE_BYTES], struct preamble *out, struct tern_error *error)
{
    uint32_t version = bytes[AT_VERSION] | (uint32_t)bytes[AT_VERSION + 1] << 8;
    uint8_t rest = bytes[AT_KIND + 1];

    if (memcmp(bytes, MAGIC, 4))
        return error_set(error, -EPROTO, NULL, "a connection that does not speak tern's protocol");
    if (version != PREAMBLE_VERSION)
        return error_set(error, -EPROTONOSUPPORT, "use the same version of tern on both sides",
                         "the source speaks version %u of the protocol, the destination version %u", version,
                         PREAMBLE_VERSION);
    for (int i = AT_ZERO; i < PREAMBLE_BYTES; i++)
        rest |= bytes[i];
    if (rest || (bytes[AT_KIND] != PREAMBLE_CONTROL && bytes[AT_KIND] != PREAMBLE_LANE))
        return error_set(error, -EPROTO, NULL, "a malformed preamble");
    *out =
        (struct preamble){.kind = bytes[AT_KIND], .lane = get32(bytes + AT_LANE), .n_lanes = get32(bytes + AT_N_LANES)};
    memcpy(out->token, bytes + AT_TOKEN, LINK_TOKEN_BYTES);
    return 0;
}
