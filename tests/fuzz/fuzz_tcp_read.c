/* SPDX-License-Identifier: BSD-2-Clause */
/* A destination's tcp lane of a link that reads. The input is what the peer sends; it gets the bytes that the frames up
 * to the first bad one ask for and not one more, and memory stays as it was. */
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
#define INPUT_MAX  2048u                              /* as ctest has it: their answers fit a socket */
#define TOLD_MAX   (INPUT_MAX / FRAME_BYTES * LENGTH) /* by so many frames */

/* guard, region 0, guard, region 3, guard; every byte another one */
static uint8_t memory[ALL], before[ALL], expected[1 + TOLD_MAX], told[sizeof(expected) + 1];

static uint8_t *region(uint32_t number)
{
    return number == 0 ? memory + GUARD : number == 3 ? memory + 2 * GUARD + LENGTH : NULL;
}

/* What frame.h says of these bytes. returns how much is told */
static size_t expect(const uint8_t *data, size_t size)
{
    uint32_t round = 0;
    size_t n = 0;

    for (expected[n++] = PREAMBLE_ACCEPTED; size >= FRAME_BYTES; data += FRAME_BYTES, size -= FRAME_BYTES) {
        struct frame frame = frame_decode(data);
        const uint8_t *from = region(frame.what);

        if (frame.type == FRAME_FENCE && frame.what > round && !frame.offset_bytes && !frame.length_bytes) {
            round = frame.what;
            continue;
        }
        if (frame.type != FRAME_READ || !from || !frame.length_bytes || frame.offset_bytes > LENGTH ||
            frame.length_bytes > LENGTH - frame.offset_bytes)
            break;
        memcpy(expected + n, from + frame.offset_bytes, frame.length_bytes);
        n += frame.length_bytes;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct link_options options = {.n_lanes = 1, .connect_timeout_ms = PATIENT_MS, .operation = LINK_READ};
    static const uint8_t token[LINK_TOKEN_BYTES];
    struct link_destination *link;
    size_t wanted, got = 0;
    uint16_t port;
    int fds[2];
    ssize_t n;

    if (size > INPUT_MAX)
        return -1;
    for (uint32_t i = 0; i < ALL; i++)
        memory[i] = before[i] = (uint8_t)(i * 7 + i / 256);
    wanted = expect(data, size);
    MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    MUST(!link_tcp.destination_open(&options, NULL, token, &port, &link, NULL));
    MUST(!link_tcp.destination_expose(link, 0, region(0), LENGTH, NULL));
    MUST(!link_tcp.destination_expose(link, 3, region(3), LENGTH, NULL));
    MUST(!link_tcp.destination_adopt(link, 0, fds[0], NULL));
    MUST(!link_tcp.wait_lanes(link, NULL));
    (void)!send(fds[1], data, size, MSG_NOSIGNAL); /* fails where the lane has ended by then */
    shutdown(fds[1], SHUT_WR);
    while (got < sizeof(told) && (n = recv(fds[1], told + got, sizeof(told) - got, 0)) > 0)
        got += (size_t)n;
    MUST(got == wanted && !memcmp(told, expected, wanted));
    link_tcp.destination_close(link);
    close(fds[1]);
    MUST(!memcmp(memory, before, ALL));
    return 0;
}
