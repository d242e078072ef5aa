/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/control.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"

#define QUEUE_FRAMES 64u
#define LINGER_MS    500u
#define PING_NS_MAX  (500 * NS_PER_MS) /* the peer's time-out may be shorter than this side's */

struct control {
    int fd;
    int wake_fd; /* tells the reader to look again: room in the queue, or the end */
    uint32_t peer_timeout_ms;
    void (*on_lost)(void *opaque, int code);
    void *opaque;
    struct sockaddr_storage peer, local;
    pthread_t reader;
    bool reader_runs;

    pthread_mutex_t send_lock;
    bool send_failed; /* under it */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct control_frame queue[QUEUE_FRAMES];
    uint32_t head, count;
    int lost;
    bool kicked, closing;
};

/* One frame being received. */
struct incoming {
    uint8_t header[CONTROL_HEADER_BYTES];
    uint32_t have_bytes; /* of header, then of payload */
    bool in_payload;
    struct control_frame frame;
};

static void wake(struct control *control)
{
    uint64_t one = 1;
    ssize_t n = write(control->wake_fd, &one, sizeof(one));

    (void)n; /* a full counter wakes as well */
}

static int wait_writable(int fd, uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int n = poll(&p, 1, clock_left_ms(deadline_ns));

        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int send_all(int fd, struct iovec *iov, size_t n_iov, uint64_t deadline_ns)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = n_iov};

    while (message.msg_iovlen) {
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            int r = wait_writable(fd, deadline_ns);

            if (r < 0)
                return r;
            continue;
        }
        if (n < 0)
            return -errno;
        while (message.msg_iovlen && (size_t)n >= message.msg_iov->iov_len) {
            n -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen) {
            message.msg_iov->iov_base = (uint8_t *)message.msg_iov->iov_base + n;
            message.msg_iov->iov_len -= (size_t)n;
        }
    }
    return 0;
}

static int send_frame(int fd, uint16_t type, const void *payload, size_t length_bytes, uint64_t deadline_ns)
{
    uint8_t header[CONTROL_HEADER_BYTES] = {0};
    uint32_t length = htole32((uint32_t)length_bytes);
    uint16_t type_le = htole16(type);
    struct iovec iov[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)payload, length_bytes}};

    if (length_bytes > CONTROL_PAYLOAD_MAX)
        return -EMSGSIZE;
    memcpy(header, &length, sizeof(length));
    memcpy(header + 4, &type_le, sizeof(type_le));
    return send_all(fd, iov, length_bytes ? 2 : 1, deadline_ns);
}

int control_send_raw(int fd, uint16_t type, const void *payload, size_t length_bytes)
{
    return send_frame(fd, type, payload, length_bytes, clock_after_ms(1000));
}

/* End the connection with a reset, at once: the peer must not take it for an orderly end. */
static void cut(struct control *control)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    if (connect(control->fd, &none, sizeof(none)))
        shutdown(control->fd, SHUT_RDWR);
}

/* Any send error cuts the connection: half a frame may be out. The reader notices and tells. */
int control_send(struct control *control, uint16_t type, const void *payload, size_t length_bytes,
                 struct tern_error *error)
{
    int r;

    pthread_mutex_lock(&control->send_lock);
    r = send_frame(control->fd, type, payload, length_bytes, clock_after_ms(control->peer_timeout_ms));
    if (r < 0 && r != -EMSGSIZE) {
        control->send_failed = true;
        cut(control);
    }
    pthread_mutex_unlock(&control->send_lock);
    if (r < 0)
        return error_set(error, r, "look at the peer's own message", "cannot send on the control channel: %s",
                         strerror(-r));
    return 0;
}

/* ---- the reader thread ---- */

static int incoming_header(struct incoming *in)
{
    uint32_t length;
    uint16_t type, zero;

    memcpy(&length, in->header, sizeof(length));
    memcpy(&type, in->header + 4, sizeof(type));
    memcpy(&zero, in->header + 6, sizeof(zero));
    length = le32toh(length);
    if (length > CONTROL_PAYLOAD_MAX || zero)
        return -EPROTO;
    in->frame = (struct control_frame){.type = le16toh(type), .length_bytes = length};
    in->frame.payload = malloc(length ? length : 1);
    if (!in->frame.payload)
        return -ENOMEM;
    in->in_payload = true;
    in->have_bytes = 0;
    return 0;
}

/* The kernel tells of a reset once: if a send was told, receiving looks like an orderly end. So that is only believed
 * where no send has failed, one that is under way included. */
static int end_of_stream(struct control *control, const struct incoming *in)
{
    bool failed;

    pthread_mutex_lock(&control->send_lock);
    failed = control->send_failed;
    pthread_mutex_unlock(&control->send_lock);
    return failed || in->in_payload || in->have_bytes ? -ECONNRESET : -EPIPE;
}

/* Receive what is there. 1: in->frame is whole. 0: more is to come. */
static int incoming_advance(struct control *control, struct incoming *in)
{
    for (;;) {
        uint8_t *to = in->in_payload ? in->frame.payload : in->header;
        uint32_t want = in->in_payload ? in->frame.length_bytes : CONTROL_HEADER_BYTES;

        if (in->have_bytes < want) {
            ssize_t n = recv(control->fd, to + in->have_bytes, want - in->have_bytes, MSG_DONTWAIT);

            if (n == 0)
                return end_of_stream(control, in);
            if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : errno == ETIMEDOUT ? -EHOSTDOWN : -ECONNRESET;
            in->have_bytes += (uint32_t)n;
        }
        if (in->have_bytes < want)
            continue;
        if (in->in_payload)
            return 1;
        int r = incoming_header(in);
        if (r < 0)
            return r;
    }
}

/* Hand over a whole frame, or drop a ping. */
static void deliver(struct control *control, struct incoming *in)
{
    if (in->frame.type == CONTROL_PING) {
        control_frame_free(&in->frame);
    } else {
        pthread_mutex_lock(&control->lock);
        control->queue[(control->head + control->count++) % QUEUE_FRAMES] = in->frame;
        pthread_cond_broadcast(&control->changed);
        pthread_mutex_unlock(&control->lock);
    }
    *in = (struct incoming){0};
}

static bool queue_full(struct control *control, bool *closing)
{
    bool full;

    pthread_mutex_lock(&control->lock);
    full = control->count == QUEUE_FRAMES;
    *closing = control->closing;
    pthread_mutex_unlock(&control->lock);
    return full;
}

static void reader_ended(struct control *control, int code)
{
    pthread_mutex_lock(&control->lock);
    control->lost = code;
    pthread_cond_broadcast(&control->changed);
    pthread_mutex_unlock(&control->lock);
    if (control->on_lost)
        control->on_lost(control->opaque, code);
}

/* A ping that finds the socket full is not missed: what fills it keeps the peer informed. */
static void ping(struct control *control)
{
    struct pollfd p = {.fd = control->fd, .events = POLLOUT};

    if (pthread_mutex_trylock(&control->send_lock))
        return;
    if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) &&
        send_frame(control->fd, CONTROL_PING, NULL, 0, clock_after_ms(control->peer_timeout_ms)))
        control->send_failed = true;
    pthread_mutex_unlock(&control->send_lock);
}

static void *reader_main(void *argument)
{
    struct control *control = argument;
    struct incoming in = {0};
    uint64_t heard_ns = clock_now_ns(), ping_ns = heard_ns;
    uint64_t timeout_ns = control->peer_timeout_ms * NS_PER_MS;
    uint64_t period_ns = timeout_ns / 4 < PING_NS_MAX ? timeout_ns / 4 : PING_NS_MAX;
    int r = 0;

    while (!r) {
        bool closing, full = queue_full(control, &closing);
        struct pollfd p[2] = {{.fd = full ? -1 : control->fd, .events = POLLIN},
                              {.fd = control->wake_fd, .events = POLLIN}};
        uint64_t now_ns, silent_ns = heard_ns + timeout_ns;

        if (closing)
            break;
        poll(p, 2, clock_left_ms(ping_ns < silent_ns ? ping_ns : silent_ns));
        now_ns = clock_now_ns();
        if (now_ns > ping_ns + timeout_ns / 4)
            heard_ns += now_ns - ping_ns; /* this thread was held up: that is not the peer's silence */
        if (p[1].revents) {
            uint64_t drop;
            ssize_t n = read(control->wake_fd, &drop, sizeof(drop));

            (void)n;
        }
        if (p[0].revents) {
            heard_ns = now_ns;
            r = incoming_advance(control, &in);
            if (r == 1) {
                deliver(control, &in);
                r = 0;
            }
        } else if (full) {
            heard_ns = now_ns; /* nobody listened: the peer's silence says nothing */
        } else if (now_ns - heard_ns > timeout_ns) {
            r = -EHOSTDOWN;
        }
        if (now_ns >= ping_ns) {
            ping(control);
            ping_ns = now_ns + period_ns;
        }
    }
    control_frame_free(&in.frame);
    if (r)
        reader_ended(control, r);
    return NULL;
}

/* ---- the receiving side of the queue ---- */

static const char *lost_text(int code)
{
    switch (code) {
    case -EPIPE:
        return "the peer closed the connection";
    case -EHOSTDOWN:
        return "the peer is silent: its host or the network is down";
    case -EPROTO:
        return "the peer sent what is no frame of the control channel";
    case -ENOMEM:
        return "out of memory";
    default:
        return "the connection to the peer was cut";
    }
}

int control_receive(struct control *control, int timeout_ms, struct control_frame *out, struct tern_error *error)
{
    struct timespec until = clock_timespec(clock_after_ms(timeout_ms < 0 ? 0 : (uint32_t)timeout_ms));
    int r = 0;

    pthread_mutex_lock(&control->lock);
    while (!control->count && !control->lost && !control->kicked && !r)
        r = timeout_ms < 0 ? pthread_cond_wait(&control->changed, &control->lock)
                           : pthread_cond_timedwait(&control->changed, &control->lock, &until);
    if (control->count) {
        *out = control->queue[control->head];
        control->head = (control->head + 1) % QUEUE_FRAMES;
        if (control->count-- == QUEUE_FRAMES)
            wake(control);
        r = 0;
    } else if (control->lost) {
        r = error_set(error, control->lost, "look at the peer's own message", "%s", lost_text(control->lost));
    } else if (control->kicked) {
        control->kicked = false;
        r = -EINTR;
    } else {
        r = -ETIMEDOUT;
    }
    pthread_mutex_unlock(&control->lock);
    return r;
}

void control_frame_free(struct control_frame *frame)
{
    free(frame->payload);
    frame->payload = NULL;
}

void control_kick(struct control *control)
{
    pthread_mutex_lock(&control->lock);
    control->kicked = true;
    pthread_cond_broadcast(&control->changed);
    pthread_mutex_unlock(&control->lock);
}

int control_lost(struct control *control)
{
    int lost;

    pthread_mutex_lock(&control->lock);
    lost = control->lost;
    pthread_mutex_unlock(&control->lock);
    return lost;
}

const struct sockaddr_storage *control_peer(const struct control *control)
{
    return &control->peer;
}

const struct sockaddr_storage *control_local(const struct control *control)
{
    return &control->local;
}

/* ---- life ---- */

/* Unsent data to a dead host must not hold the connection longer than silence from it would. */
static void socket_tune(int fd, uint32_t peer_timeout_ms)
{
    int on = 1;
    unsigned int timeout = peer_timeout_ms;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

int control_create(int fd, uint32_t peer_timeout_ms, void (*on_lost)(void *opaque, int code), void *opaque,
                   struct control **out, struct tern_error *error)
{
    struct control *control = calloc(1, sizeof(*control));
    socklen_t peer_length = sizeof(control->peer), local_length = sizeof(control->local);
    pthread_condattr_t attributes;

    if (!control) {
        close(fd);
        return error_set(error, -ENOMEM, NULL, "out of memory for the control channel");
    }
    control->fd = fd;
    control->peer_timeout_ms = peer_timeout_ms ? peer_timeout_ms : CONTROL_PEER_TIMEOUT_MS_DEFAULT;
    control->on_lost = on_lost;
    control->opaque = opaque;
    pthread_mutex_init(&control->lock, NULL);
    pthread_mutex_init(&control->send_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&control->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    getpeername(fd, (struct sockaddr *)&control->peer, &peer_length);
    getsockname(fd, (struct sockaddr *)&control->local, &local_length);
    socket_tune(fd, control->peer_timeout_ms);
    control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = control->wake_fd < 0 ? errno : pthread_create(&control->reader, NULL, reader_main, control);
    if (r) {
        control_destroy(control);
        return error_set(error, -r, NULL, "cannot start the control channel: %s", strerror(r));
    }
    control->reader_runs = true;
    *out = control;
    return 0;
}

/* Closing a socket with unread data cuts the connection, and what was sent last may be lost with it. So tell the
 * peer that no more comes, and read on until it does the same, for a bounded time. */
static void linger(struct control *control)
{
    uint64_t deadline_ns = clock_after_ms(LINGER_MS);
    struct control_frame frame;
    int r = 0;

    shutdown(control->fd, SHUT_WR);
    while (clock_left_ms(deadline_ns) && (!r || r == -EINTR)) {
        r = control_receive(control, clock_left_ms(deadline_ns), &frame, NULL);
        if (!r)
            control_frame_free(&frame);
    }
}

static void destroy(struct control *control)
{
    if (control->reader_runs) {
        pthread_mutex_lock(&control->lock);
        control->closing = true;
        pthread_mutex_unlock(&control->lock);
        wake(control);
        pthread_join(control->reader, NULL);
    }
    for (; control->count; control->count--, control->head = (control->head + 1) % QUEUE_FRAMES)
        control_frame_free(&control->queue[control->head]);
    if (control->wake_fd >= 0)
        close(control->wake_fd);
    close(control->fd);
    pthread_cond_destroy(&control->changed);
    pthread_mutex_destroy(&control->send_lock);
    pthread_mutex_destroy(&control->lock);
    free(control);
}

void control_destroy(struct control *control)
{
    if (!control)
        return;
    if (control->reader_runs)
        linger(control);
    destroy(control);
}

void control_cut(struct control *control)
{
    if (!control)
        return;
    cut(control);
    destroy(control);
}
