/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's lanes. Posted runs wait in the lane's own queue; wait() sends them, many in one call, from guest memory.
 * What the kernel has taken it has copied: DRAINED means that source memory may change unseen. Of reads only the frames
 * are sent, and wait() takes the answers.
 * A lane belongs to its worker; abort reaches it only through aborted and abort_fd.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/preamble.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/tcp.h"

#define QUEUE_ITEMS 128u
#define BATCH_ITEMS 64u /* frames in one sendmsg */

struct item {
    uint8_t header[FRAME_BYTES];
    const uint8_t *payload;
    uint64_t length_bytes;
};

struct lane {
    int fd;
    struct item queue[QUEUE_ITEMS];
    uint32_t head, count;
    uint64_t sent_bytes; /* of the first item, header included */
    struct tcp_answers answers;
};

struct link_source {
    uint32_t n_lanes, peer_timeout_ms;
    enum link_operation operation;
    struct lane *lanes;
    struct tcp_region regions[LINK_REGIONS_MAX];
    int abort_fd;
    _Atomic bool aborted;
};

static int canceled(struct tern_error *error)
{
    return error_set(error, -ECANCELED, NULL, "the link was aborted");
}

static int lane_down(uint32_t lane, int code, struct tern_error *error)
{
    return error_set(error, -ENOTCONN, "look at the destination's messages", "tcp lane %u is down: %s", lane,
                     strerror(code));
}

/* ---- sending ---- */

/* Vectors over the queued items, the first one from where it stopped. */
static size_t gather(const struct lane *lane, struct iovec *iov, uint32_t n_items)
{
    uint64_t skip = lane->sent_bytes;
    size_t n = 0;

    for (uint32_t i = 0; i < n_items; i++) {
        const struct item *item = &lane->queue[(lane->head + i) % QUEUE_ITEMS];

        if (skip < FRAME_BYTES)
            iov[n++] = (struct iovec){(void *)(uintptr_t)(item->header + skip), FRAME_BYTES - skip};
        skip = skip > FRAME_BYTES ? skip - FRAME_BYTES : 0;
        if (item->length_bytes > skip)
            iov[n++] = (struct iovec){(void *)(uintptr_t)(item->payload + skip), item->length_bytes - skip};
        skip = 0;
    }
    return n;
}

static void advance(struct lane *lane, uint64_t bytes)
{
    lane->sent_bytes += bytes;
    while (lane->count) {
        uint64_t whole = FRAME_BYTES + lane->queue[lane->head].length_bytes;

        if (lane->sent_bytes < whole)
            return;
        lane->sent_bytes -= whole;
        lane->head = (lane->head + 1) % QUEUE_ITEMS;
        lane->count--;
    }
}

/* Send as much as the socket takes. 0: all is sent. 1: the socket is full. */
static int push(struct link_source *source, uint32_t index, struct tern_error *error)
{
    struct lane *lane = &source->lanes[index];

    while (lane->count) {
        struct iovec iov[2 * BATCH_ITEMS];
        struct msghdr message = {.msg_iov = iov};
        ssize_t n;

        message.msg_iovlen = gather(lane, iov, lane->count < BATCH_ITEMS ? lane->count : BATCH_ITEMS);
        n = sendmsg(lane->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return 1;
        if (n < 0 && errno != EINTR)
            return lane_down(index, errno, error);
        if (n > 0)
            advance(lane, (uint64_t)n);
    }
    return 0;
}

/* Where no answer is due, readable means that it is over: the peer ended the lane, or sends what nobody asked for. */
static int peer_state(struct link_source *source, uint32_t index, struct tern_error *error)
{
    char byte;
    ssize_t n = recv(source->lanes[index].fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return lane_down(index, n < 0 ? errno : ECONNRESET, error);
}

/* Answers come one by one: only when a quarter of the room is free are many asked for at once. */
static bool holds(const struct lane *lane, enum link_wait what)
{
    if (what == LINK_WAIT_DRAINED)
        return !lane->count && !lane->answers.count;
    return lane->count < QUEUE_ITEMS && lane->answers.count <= TCP_ANSWERS_MAX / 4 * 3;
}

/* Until the socket takes more of what is to be sent (if it was full), something comes, or the link is aborted. */
static int await_socket(struct link_source *source, uint32_t index, bool full, uint64_t deadline_ns,
                        struct tern_error *error)
{
    struct lane *lane = &source->lanes[index];
    struct pollfd p[2] = {{.fd = lane->fd, .events = (short)(POLLIN | (full ? POLLOUT : 0))},
                          {.fd = source->abort_fd, .events = POLLIN}};

    if (poll(p, 2, clock_left_ms(deadline_ns)) == 0)
        return -ETIMEDOUT;
    if (p[0].revents & (POLLIN | POLLERR | POLLHUP) && !lane->answers.count)
        return peer_state(source, index, error);
    return 0;
}

int tcp_wait(struct link_source *source, uint32_t index, enum link_wait what, int timeout_ms, struct tern_error *error)
{
    struct lane *lane = &source->lanes[index];
    uint64_t deadline_ns = clock_after_ms((uint32_t)timeout_ms);

    for (;;) {
        ssize_t n = 0;
        int r;

        if (atomic_load(&source->aborted))
            return canceled(error);
        r = push(source, index, error);
        if (r < 0)
            return r;
        if (lane->answers.count)
            n = tcp_answers_take(&lane->answers, lane->fd);
        if (n < 0)
            return lane_down(index, (int)-n, error);
        if (holds(lane, what))
            return 0;
        if (!n)
            r = await_socket(source, index, r == 1, deadline_ns, error);
        else
            r = clock_left_ms(deadline_ns) ? 0 : -ETIMEDOUT;
        if (r)
            return r;
    }
}

/* ---- posting ---- */

static void enqueue(struct lane *lane, const struct frame *frame, uint8_t *place)
{
    struct item *item = &lane->queue[(lane->head + lane->count++) % QUEUE_ITEMS];

    frame_encode(frame, item->header);
    item->payload = place;
    item->length_bytes = frame->type == FRAME_WRITE ? frame->length_bytes : 0;
    if (frame->type == FRAME_READ)
        tcp_answers_expect(&lane->answers, place, frame->length_bytes);
}

int tcp_post(struct link_source *source, uint32_t index, const struct link_run *runs, size_t n_runs,
             struct tern_error *error)
{
    struct lane *lane = &source->lanes[index];
    size_t taken = 0;

    if (atomic_load(&source->aborted))
        return canceled(error);
    for (; taken < n_runs && lane->count < QUEUE_ITEMS && lane->answers.count < TCP_ANSWERS_MAX; taken++) {
        const struct link_run *run = &runs[taken];
        struct frame frame = {source->operation == LINK_READ ? FRAME_READ : FRAME_WRITE, run->region, run->offset_bytes,
                              run->length_bytes};

        if (!tcp_inside(source->regions, run->region, run->offset_bytes, run->length_bytes))
            return error_set(error, -EINVAL, NULL, "a run of %llu bytes at %llu lies outside region %u",
                             (unsigned long long)run->length_bytes, (unsigned long long)run->offset_bytes, run->region);
        enqueue(lane, &frame, source->regions[run->region].base + run->offset_bytes);
    }
    if (taken) {
        int r = push(source, index, error);

        if (r < 0)
            return r;
    }
    return (int)taken;
}

int tcp_fence(struct link_source *source, uint32_t index, uint32_t round, struct tern_error *error)
{
    struct lane *lane = &source->lanes[index];
    struct frame frame = {FRAME_FENCE, round, 0, 0};
    int r = 0;

    while (!r && lane->count == QUEUE_ITEMS) {
        r = tcp_wait(source, index, LINK_WAIT_ROOM, 200, error);
        if (r == -ETIMEDOUT)
            r = 0; /* bounded by abort */
    }
    if (r)
        return r;
    enqueue(lane, &frame, NULL);
    r = push(source, index, error);
    return r < 0 ? r : 0;
}

/* ---- life ---- */

static int wait_ready(struct link_source *source, int fd, short events, uint64_t deadline_ns)
{
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = source->abort_fd, .events = POLLIN}};
    int r = poll(p, 2, clock_left_ms(deadline_ns));

    return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : p[1].revents ? -ECANCELED : 0;
}

static int lane_connect(struct link_source *source, int fd, const struct sockaddr *peer, uint64_t deadline_ns)
{
    socklen_t length = peer->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    socklen_t size = sizeof(int);
    int failed = 0, r;

    if (!connect(fd, peer, length))
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    r = wait_ready(source, fd, POLLOUT, deadline_ns);
    if (!r && !getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size))
        r = -failed;
    return r;
}

static int lane_greet(struct link_source *source, int fd, uint32_t index, const uint8_t *token, uint64_t deadline_ns)
{
    struct preamble preamble = {.kind = PREAMBLE_LANE, .lane = index, .n_lanes = source->n_lanes};
    uint8_t bytes[PREAMBLE_BYTES], answer = 0;
    int r;

    memcpy(preamble.token, token, sizeof(preamble.token));
    preamble_encode(&preamble, bytes);
    if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes)) /* fits an empty socket buffer */
        return -ECONNRESET;
    r = wait_ready(source, fd, POLLIN, deadline_ns);
    if (!r && (recv(fd, &answer, 1, 0) != 1 || answer != PREAMBLE_ACCEPTED))
        r = -EACCES;
    return r;
}

static int lane_open(struct link_source *source, uint32_t index, const struct sockaddr *peer, const uint8_t *token,
                     uint64_t deadline_ns, struct tern_error *error)
{
    int fd = socket(peer->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (fd < 0)
        return error_set(error, -errno, NULL, "cannot make a socket for lane %u: %s", index, strerror(errno));
    source->lanes[index].fd = fd;
    tcp_tune(fd, source->peer_timeout_ms);
    r = lane_connect(source, fd, peer, deadline_ns);
    if (!r)
        r = lane_greet(source, fd, index, token, deadline_ns);
    if (r)
        return error_set(error, r, "look at the destination's messages", "tcp lane %u was not taken: %s", index,
                         strerror(-r));
    return 0;
}

int tcp_source_open(const struct link_options *options, const struct sockaddr *peer,
                    const uint8_t token[LINK_TOKEN_BYTES], struct link_source **out, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)options->connect_timeout_ms);
    struct link_source *source = calloc(1, sizeof(*source));
    int r = 0;

    if (!source)
        return error_set(error, -ENOMEM, NULL, "out of memory for the lanes");
    source->operation = options->operation;
    source->peer_timeout_ms = options->peer_timeout_ms;
    source->abort_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    source->lanes = calloc(options->n_lanes, sizeof(*source->lanes));
    if (source->abort_fd < 0 || !source->lanes)
        r = error_set(error, -ENOMEM, NULL, "out of memory for %u lanes", options->n_lanes);
    for (uint32_t i = 0; !r && i < options->n_lanes; i++)
        source->lanes[i].fd = -1;
    source->n_lanes = r ? 0 : options->n_lanes;
    for (uint32_t i = 0; !r && i < source->n_lanes; i++)
        r = lane_open(source, i, peer, token, deadline_ns, error);
    if (r)
        tcp_source_close(source);
    else
        *out = source;
    return r;
}

void tcp_source_close(struct link_source *source)
{
    if (!source)
        return;
    for (uint32_t i = 0; i < source->n_lanes; i++)
        if (source->lanes[i].fd >= 0)
            close(source->lanes[i].fd);
    if (source->abort_fd >= 0)
        close(source->abort_fd);
    free(source->lanes);
    free(source);
}

int tcp_source_add(struct link_source *source, uint32_t region, void *base, uint64_t length_bytes,
                   struct tern_error *error)
{
    if (region >= LINK_REGIONS_MAX)
        return error_set(error, -EINVAL, NULL, "region %u is over the %d that a link has", region, LINK_REGIONS_MAX);
    source->regions[region] = (struct tcp_region){.base = base, .length_bytes = length_bytes};
    return 0;
}

void tcp_source_abort(struct link_source *source)
{
    uint64_t one = 1;
    ssize_t n;

    atomic_store(&source->aborted, true);
    n = write(source->abort_fd, &one, sizeof(one));
    (void)n;
}

const char *tcp_source_device(struct link_source *source)
{
    (void)source;
    return "tcp";
}
