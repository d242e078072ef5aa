/* SPDX-License-Identifier: BSD-2-Clause */
/* What travels on a tcp lane, little-endian: u32 type · u32 region or round · u64 offset · u64 length, then, for WRITE,
 * length bytes for that place of the region. A FENCE has offset and length zero. A READ is answered with the length
 * bytes of that place, and nothing else: answers come in the order of the frames. A lane has WRITEs or READs. Pure.
 */
#ifndef TRANSPORT_TCP_FRAME_H
#define TRANSPORT_TCP_FRAME_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define FRAME_BYTES 24u
#define FRAME_WRITE 0x57524954u
#define FRAME_READ  0x52454144u
#define FRAME_FENCE 0x46454e43u

struct frame {
    uint32_t type, what; /* region, or round */
    uint64_t offset_bytes, length_bytes;
};

static inline void frame_encode(const struct frame *frame, uint8_t bytes[FRAME_BYTES])
{
    uint32_t head[2] = {htole32(frame->type), htole32(frame->what)};
    uint64_t tail[2] = {htole64(frame->offset_bytes), htole64(frame->length_bytes)};

    memcpy(bytes, head, sizeof(head));
    memcpy(bytes + sizeof(head), tail, sizeof(tail));
}

static inline struct frame frame_decode(const uint8_t bytes[FRAME_BYTES])
{
    uint32_t head[2];
    uint64_t tail[2];

    memcpy(head, bytes, sizeof(head));
    memcpy(tail, bytes + sizeof(head), sizeof(tail));
    return (struct frame){le32toh(head[0]), le32toh(head[1]), le64toh(tail[0]), le64toh(tail[1])};
}

#endif
