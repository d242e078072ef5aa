/* SPDX-License-Identifier: BSD-2-Clause */
/* A destination's tcp lane. The input is what the peer sends before it closes; exposed memory must be what the frames
 * up to the first bad one make of it, and all around it untouched; the peer is told nothing. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "transport/link.h"
#include "transport/preamble.h"
#include "transport/tcp/frame.h"

#define LENGTH     300u
#define GUARD      64u
#define ALL        (2 * LENGTH + 3 * GUARD)
#define PATIENT_MS 10000

/* guard, region 0, guard, region 3, guard */
static uint8_t memory[ALL], model[ALL];

static uint8_t *region_in(uint8_t *all, uint32_t region)
{
    return region == 0 ? all + GUARD : region == 3 ? all + 2 * GUARD + LENGTH : NULL;
}

/* What frame.h says of these bytes, done to the model. returns the last round that was fenced */
static uint32_t expect(const uint8_t *data, size_t size)
{
    uint32_t round = 0;

    while (size >= FRAME_BYTES) {
        struct frame frame = frame_decode(data);
        uint8_t *to = region_in(model, frame.what);
        size_t n;

        data += FRAME_BYTES;
        size -= FRAME_BYTES;
        if (frame.type == FRAME_FENCE && frame.what > round && !frame.offset_bytes && !frame.length_bytes) {
            round = frame.what;
            continue;
        }
        if (frame.type != FRAME_WRITE || !to || !frame.length_bytes || frame.offset_bytes > LENGTH ||
            frame.length_bytes > LENGTH - frame.offset_bytes)
            break;
        n = frame.length_bytes < size ? frame.length_bytes : size;
        memcpy(to + frame.offset_bytes, data, n);
        data += n;
        size -= n;
    }
    return round;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct link_options options = {.n_lanes = 1, .connect_timeout_ms = PATIENT_MS};
    static const uint8_t token[LINK_TOKEN_BYTES];
    struct link_destination *link;
    uint8_t answer;
    uint32_t round;
    uint16_t port;
    int fds[2], r;

    memset(memory, 0x5a, ALL);
    memset(model, 0x5a, ALL);
    round = expect(data, size);
    MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    MUST(!link_tcp.destination_open(&options, NULL, token, &port, &link, NULL));
    MUST(!link_tcp.destination_expose(link, 0, region_in(memory, 0), LENGTH, NULL));
    MUST(!link_tcp.destination_expose(link, 3, region_in(memory, 3), LENGTH, NULL));
    MUST(!link_tcp.destination_adopt(link, 0, fds[0], NULL));
    MUST(!link_tcp.wait_lanes(link, NULL));
    (void)!send(fds[1], data, size, MSG_NOSIGNAL); /* fails where the lane has ended by then */
    shutdown(fds[1], SHUT_WR);
    if (round)
        MUST(!link_tcp.wait_fence(link, round, PATIENT_MS, NULL));
    if (round < UINT32_MAX) {
        r = link_tcp.wait_fence(link, UINT32_MAX, PATIENT_MS, NULL);
        MUST(r == -EPROTO || r == -ECONNRESET);
    }
    link_tcp.destination_close(link);
    MUST(recv(fds[1], &answer, 1, 0) == 1 && answer == PREAMBLE_ACCEPTED && recv(fds[1], &answer, 1, 0) <= 0);
    close(fds[1]);
    MUST(!memcmp(memory, model, ALL));
    return 0;
}
