/* SPDX-License-Identifier: BSD-2-Clause */
/* What a lane shows when it connects, 28 of the 56 bytes that rdma_cm carries, little-endian:
 *   0 "TRNL" · 4 u32 version 1 · 8 u16 lane, u16 n_lanes · 12 token (16) */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

#define MAGIC   "TRNL"
#define VERSION 1u

void verbs_hello_encode(const struct verbs_hello *hello, uint8_t bytes[VERBS_HELLO_BYTES])
{
    uint32_t version = htole32(VERSION);
    uint16_t lanes[2] = {htole16((uint16_t)hello->lane), htole16((uint16_t)hello->n_lanes)};

    memcpy(bytes, MAGIC, 4);
    memcpy(bytes + 4, &version, sizeof(version));
    memcpy(bytes + 8, lanes, sizeof(lanes));
    memcpy(bytes + 12, hello->token, LINK_TOKEN_BYTES);
}

int verbs_hello_decode(const uint8_t *bytes, size_t length, struct verbs_hello *out)
{
    uint32_t version;
    uint16_t lanes[2];

    if (!bytes || length < VERBS_HELLO_BYTES || memcmp(bytes, MAGIC, 4))
        return -EPROTO;
    memcpy(&version, bytes + 4, sizeof(version));
    memcpy(lanes, bytes + 8, sizeof(lanes));
    if (le32toh(version) != VERSION)
        return -EPROTO;
    out->lane = le16toh(lanes[0]);
    out->n_lanes = le16toh(lanes[1]);
    memcpy(out->token, bytes + 12, LINK_TOKEN_BYTES);
    return 0;
}

struct rdma_event_channel *verbs_channel(void)
{
    struct rdma_event_channel *channel = rdma_create_event_channel();

    if (channel)
        fcntl(channel->fd, F_SETFL, fcntl(channel->fd, F_GETFL) | O_NONBLOCK);
    return channel;
}

int verbs_sleep(int completion_fd, int cm_fd, int abort_fd, int timeout_ms)
{
    struct pollfd p[3] = {
        {.fd = completion_fd, .events = POLLIN}, {.fd = cm_fd, .events = POLLIN}, {.fd = abort_fd, .events = POLLIN}};
    int n = poll(p, 3, timeout_ms);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n == 0 ? -ETIMEDOUT : p[2].revents ? -ECANCELED : 0;
}

int verbs_cm_wait(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted, int abort_fd,
                  uint64_t deadline_ns, struct tern_error *error)
{
    struct rdma_cm_event *event;
    enum rdma_cm_event_type got;
    int status, r;

    while (rdma_get_cm_event(channel, &event)) {
        if (errno != EAGAIN && errno != EINTR)
            return error_set(error, -errno, NULL, "rdma_cm: %s", strerror(errno));
        r = verbs_sleep(-1, channel->fd, abort_fd, clock_left_ms(deadline_ns));
        if (r == -ETIMEDOUT)
            return error_set(error, r, "check the network between the hosts",
                             "rdma_cm: no answer in time (waited for %s)", rdma_event_str(wanted));
        if (r)
            return error_set(error, r, NULL, "the link was aborted");
    }
    got = event->event;
    status = event->status;
    rdma_ack_cm_event(event);
    if (got == wanted)
        return 0;
    return error_set(error, got == RDMA_CM_EVENT_REJECTED ? -ECONNREFUSED : -EHOSTUNREACH,
                     "look at the destination's messages", "rdma_cm: %s (status %d) instead of %s", rdma_event_str(got),
                     status, rdma_event_str(wanted));
}
