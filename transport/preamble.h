/* SPDX-License-Identifier: BSD-2-Clause */
/* The first bytes of every TCP connection to a tern listener. Pure. 64 bytes, little-endian:
 *   0  "TERN"    4  u8 kind, u8 zero    6  u16 version    8  16 bytes: session (control) or token (lane)
 *   24 u32 lane  28 u32 n_lanes         32  32 bytes of zero
 * A lane that is accepted is answered with the byte PREAMBLE_ACCEPTED. Magic, version and their places never change.
 */
#ifndef TRANSPORT_PREAMBLE_H
#define TRANSPORT_PREAMBLE_H

#include <stdint.h>

#include "transport/link.h"
#include "transport/tern_error.h"

#define PREAMBLE_BYTES    64
#define PREAMBLE_VERSION  3u
#define PREAMBLE_ACCEPTED 0x06u

enum preamble_kind {
    PREAMBLE_CONTROL = 1,
    PREAMBLE_LANE = 2,
};

struct preamble {
    enum preamble_kind kind;
    uint8_t token[LINK_TOKEN_BYTES];
    uint32_t lane, n_lanes;
};

void preamble_encode(const struct preamble *preamble, uint8_t bytes[PREAMBLE_BYTES]);

/* preamble_decode: 0 and *out; -EPROTO foreign or malformed; -EPROTONOSUPPORT another version, both are in the text */
int preamble_decode(const uint8_t bytes[PREAMBLE_BYTES], struct preamble *out, struct tern_error *error);

#endif
