/* SPDX-License-Identifier: BSD-2-Clause */
/* What a lane shows when it connects, 28 of the 56 bytes that rdma_cm carries, little-endian:
 *   0 "TRNL" · 4 u32 version 1 · 8 u16 lane, u16 n_lanes · 12 token (16)
 * and what it is told when it is turned away, 12 bytes:
 *   0 "TRNR" · 4 u32 reason (enum verbs_reason) · 8 u32 errno, or 0
 * and what it is told when it is accepted, 12 bytes:
 *   0 "TRNA" · 4 u32 payload bytes of a slot · 8 u32 slots that it may fill */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

#define MAGIC         "TRNL"
#define MAGIC_REFUSAL "TRNR"
#define MAGIC_WELCOME "TRNA"
#define VERSION       1u

/* The IB CM's own reasons in a rejection. source: IBTA vol. 1, 12.6.7.2 */
#define REJECT_NO_LISTENER 8
#define REJECT_BY_PEER     28

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

void verbs_refusal_encode(const struct verbs_refusal *refusal, uint8_t bytes[VERBS_REFUSAL_BYTES])
{
    uint32_t words[2] = {htole32(refusal->reason), htole32((uint32_t)refusal->code)};

    memcpy(bytes, MAGIC_REFUSAL, 4);
    memcpy(bytes + 4, words, sizeof(words));
}

int verbs_refusal_decode(const uint8_t *bytes, size_t length, struct verbs_refusal *out)
{
    uint32_t words[2];

    if (!bytes || length < VERBS_REFUSAL_BYTES || memcmp(bytes, MAGIC_REFUSAL, 4))
        return -EPROTO;
    memcpy(words, bytes + 4, sizeof(words));
    out->reason = le32toh(words[0]);
    out->code = (int)(le32toh(words[1]) & 0xfff);
    return 0;
}

void verbs_welcome_encode(const struct verbs_welcome *welcome, uint8_t bytes[VERBS_WELCOME_BYTES])
{
    uint32_t words[2] = {htole32(welcome->slot_bytes), htole32(welcome->credits)};

    memcpy(bytes, MAGIC_WELCOME, 4);
    memcpy(bytes + 4, words, sizeof(words));
}

int verbs_welcome_decode(const uint8_t *bytes, size_t length, struct verbs_welcome *out)
{
    uint32_t words[2];

    if (!bytes || length < VERBS_WELCOME_BYTES || memcmp(bytes, MAGIC_WELCOME, 4))
        return -EPROTO;
    memcpy(words, bytes + 4, sizeof(words));
    out->slot_bytes = le32toh(words[0]);
    out->credits = le32toh(words[1]);
    if (out->credits > VERBS_SLOTS_MAX || !out->credits != !out->slot_bytes || out->slot_bytes % VERBS_PAGE_BYTES)
        return -EPROTO;
    return 0;
}

const char *verbs_reason_text(enum verbs_reason reason)
{
    switch (reason) {
    case VERBS_REASON_HELLO:
        return "it showed no greeting of this version of tern";
    case VERBS_REASON_TOKEN:
        return "it showed a wrong token";
    case VERBS_REASON_LANE:
        return "its number is taken or too high";
    case VERBS_REASON_RESOURCES:
        return "the destination has no queue pair for it";
    }
    return "for a reason unknown here";
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

static int turned_away(const struct rdma_cm_event *event, struct tern_error *error)
{
    struct verbs_refusal refusal;

    if (event->status == REJECT_NO_LISTENER)
        return error_set(error, -ECONNREFUSED, "check that the destination still waits for this source",
                         "nobody listens for lanes at the destination");
    if (event->status == REJECT_BY_PEER &&
        !verbs_refusal_decode(event->param.conn.private_data, event->param.conn.private_data_len, &refusal))
        return error_set(error, -ECONNREFUSED,
                         refusal.reason == VERBS_REASON_RESOURCES ? "free RDMA resources there, or use fewer --lanes"
                                                                  : "start the migration again",
                         "the destination turned the lane away: %s%s%s", verbs_reason_text(refusal.reason),
                         refusal.code ? ": " : "", refusal.code ? strerror(refusal.code) : "");
    return error_set(error, -ECONNREFUSED, "look at the destination's messages",
                     "the destination turned the lane away (reason %d)", event->status);
}

/* Another event than the one that was waited for. */
static int other_event(const struct rdma_cm_event *event, enum rdma_cm_event_type wanted, struct tern_error *error)
{
    int code = event->status < 0 ? -event->status : EHOSTUNREACH;

    switch (event->event) {
    case RDMA_CM_EVENT_REJECTED:
        code = turned_away(event, error);
        error_side(error, TERN_SIDE_DESTINATION);
        return code;
    case RDMA_CM_EVENT_UNREACHABLE:
        return error_set(error, -EHOSTUNREACH, "check that UDP port 4791 is not filtered between the hosts",
                         "the destination does not answer over RDMA");
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
        return error_set(error, -code, "check the route to the destination", "no way to the destination: %s",
                         strerror(code));
    default:
        return error_set(error, -EHOSTUNREACH, "look at the destination's messages",
                         "rdma_cm: %s (status %d) instead of %s", rdma_event_str(event->event), event->status,
                         rdma_event_str(wanted));
    }
}

int verbs_cm_wait(struct rdma_event_channel *channel, enum rdma_cm_event_type wanted, int abort_fd,
                  uint64_t deadline_ns, struct verbs_welcome *welcome, struct tern_error *error)
{
    struct rdma_cm_event *event;
    int r;

    while (rdma_get_cm_event(channel, &event)) {
        if (errno != EAGAIN && errno != EINTR)
            return error_set(error, -errno, NULL, "rdma_cm: %s", strerror(errno));
        r = verbs_sleep(-1, channel->fd, abort_fd, clock_left_ms(deadline_ns));
        if (r == -ETIMEDOUT)
            return error_set(error, r, "check that UDP port 4791 is not filtered between the hosts",
                             "no answer over RDMA in time (waited for %s)", rdma_event_str(wanted));
        if (r)
            return error_set(error, r, NULL, "the link was aborted");
    }
    r = event->event == wanted ? 0 : other_event(event, wanted, error);
    if (!r && welcome &&
        verbs_welcome_decode(event->param.conn.private_data, event->param.conn.private_data_len, welcome))
        r = error_set(error, -EPROTO, "both sides must run the same version of tern",
                      "the destination accepted a lane with words that are not of this version");
    rdma_ack_cm_event(event);
    return r;
}
