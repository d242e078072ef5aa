/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's lanes. A thread for each takes headers and, once the place is proven to lie in an exposed region,
 * the payload straight into guest memory, by way of its file if it has one, or answers a read from there. A frame that
 * proves nothing ends its lane; memory beyond it is untouched and untold. Nothing is taken before wait_lanes has
 * succeeded: a source that is turned away has written and learnt nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/preamble.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/tcp.h"

#define BUFFER_BYTES (256u << 10) /* stays in a core's cache */

struct receiver {
    struct link_destination *destination;
    uint32_t lane;
    int fd; /* -1: not connected yet */
    pthread_t thread;
    uint8_t header[FRAME_BYTES]; /* of the next frame */
    uint8_t *buffer;             /* of what goes on into a file; NULL: not needed yet */
    uint32_t round;              /* last fenced; the lock guards these two */
    int ended;                   /* -errno of the lane's end */
    struct tern_error error;
};

struct link_destination {
    uint32_t n_lanes, peer_timeout_ms;
    enum link_operation operation;
    int connect_timeout_ms;
    struct receiver *receivers;
    struct tcp_region regions[LINK_REGIONS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool taking; /* wait_lanes has succeeded */
    bool aborted, torn;
};

/* ---- the receiver thread ---- */

/* Exactly length bytes of payload, and then, if these were its last, the next frame's header, in one call where it can
 * be: there always comes another frame, a fence if nothing else. The kernel copies what has come into place meanwhile.
 */
static int receive_part(struct receiver *receiver, uint8_t *to, uint64_t length, bool last)
{
    struct iovec iov[2] = {{to, length}, {receiver->header, last ? FRAME_BYTES : 0}};

    while (iov[0].iov_len || iov[1].iov_len) {
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t n = recvmsg(receiver->fd, &message, MSG_WAITALL);

        if (n == 0)
            return -ECONNRESET;
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < 2 && n > 0; i++) {
            size_t taken = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

            iov[i].iov_base = (uint8_t *)iov[i].iov_base + taken;
            iov[i].iov_len -= taken;
            n -= (ssize_t)taken;
        }
    }
    return 0;
}

static int receive(struct receiver *receiver, uint8_t *to, uint64_t length)
{
    return receive_part(receiver, to, length, true);
}

static int write_file(struct receiver *receiver, int fd, uint64_t at, uint64_t length)
{
    const uint8_t *from = receiver->buffer;

    while (length) {
        ssize_t n = pwrite(fd, from, length, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(
                &receiver->error, n ? -errno : -EIO, "make room for the file that the guest's memory is in",
                "tcp lane %u: cannot write guest memory to its file: %s", receiver->lane, strerror(n ? errno : EIO));
        from += n;
        at += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return 0;
}

static int receive_into_file(struct receiver *receiver, const struct tcp_region *region, uint64_t offset_bytes,
                             uint64_t length)
{
    int r = 0;

    while (length && !r) {
        uint64_t part = length < BUFFER_BYTES ? length : BUFFER_BYTES;

        r = receive_part(receiver, receiver->buffer, part, part == length);
        if (!r)
            r = write_file(receiver, region->file_fd, region->file_offset_bytes + offset_bytes, part);
        offset_bytes += part;
        length -= part;
    }
    return r;
}

static int check_run(struct receiver *receiver, const struct frame *frame, enum link_operation operation)
{
    const struct link_destination *destination = receiver->destination;
    const char *name = operation == LINK_READ ? "read" : "write";

    if (destination->operation != operation)
        return error_set(&receiver->error, -EPROTO, NULL, "tcp lane %u: a %s, which guest memory is not exposed for",
                         receiver->lane, name);
    if (!tcp_inside(destination->regions, frame->what, frame->offset_bytes, frame->length_bytes))
        return error_set(&receiver->error, -EPROTO, NULL,
                         "tcp lane %u: a %s of %llu bytes at %llu of region %u lies outside guest memory",
                         receiver->lane, name, (unsigned long long)frame->length_bytes,
                         (unsigned long long)frame->offset_bytes, frame->what);
    return 0;
}

static int take_write(struct receiver *receiver, const struct frame *frame)
{
    const struct tcp_region *region;
    int r = check_run(receiver, frame, LINK_WRITE);

    if (r)
        return r;
    region = &receiver->destination->regions[frame->what];
    if (region->file_fd && !receiver->buffer)
        receiver->buffer = malloc(BUFFER_BYTES);
    if (region->file_fd && receiver->buffer)
        return receive_into_file(receiver, region, frame->offset_bytes, frame->length_bytes);
    return receive(receiver, region->base + frame->offset_bytes, frame->length_bytes);
}

static int take_read(struct receiver *receiver, const struct frame *frame)
{
    int r = check_run(receiver, frame, LINK_READ);

    if (r)
        return r;
    r = tcp_answer(receiver->fd, receiver->destination->regions[frame->what].base + frame->offset_bytes,
                   frame->length_bytes);
    if (r == -ETIMEDOUT)
        error_set(&receiver->error, -ECONNRESET, "look at the source's messages",
                  "tcp lane %u: the source asked for %llu bytes and takes none of them", receiver->lane,
                  (unsigned long long)frame->length_bytes);
    return r ? r : receive(receiver, receiver->header, 0);
}

static int take_fence(struct receiver *receiver, const struct frame *frame)
{
    struct link_destination *destination = receiver->destination;
    int r = 0;

    pthread_mutex_lock(&destination->lock);
    if (frame->offset_bytes || frame->length_bytes || frame->what <= receiver->round) {
        r = error_set(&receiver->error, -EPROTO, NULL, "tcp lane %u: a fence for round %u after round %u",
                      receiver->lane, frame->what, receiver->round);
    } else {
        receiver->round = frame->what;
        pthread_cond_broadcast(&destination->changed);
    }
    pthread_mutex_unlock(&destination->lock);
    return r ? r : receive(receiver, receiver->header, 0); /* no payload */
}

/* The frame whose header has come; returns with the header of the one after it. */
static int take_frame(struct receiver *receiver)
{
    struct frame frame = frame_decode(receiver->header);

    switch (frame.type) {
    case FRAME_WRITE:
        return take_write(receiver, &frame);
    case FRAME_READ:
        return take_read(receiver, &frame);
    case FRAME_FENCE:
        return take_fence(receiver, &frame);
    default:
        return error_set(&receiver->error, -EPROTO, NULL, "tcp lane %u: a frame of unknown type 0x%x", receiver->lane,
                         frame.type);
    }
}

static int await_taking(struct link_destination *destination)
{
    int r;

    pthread_mutex_lock(&destination->lock);
    while (!destination->taking && !destination->torn)
        pthread_cond_wait(&destination->changed, &destination->lock);
    r = destination->taking ? 0 : -ECONNRESET;
    pthread_mutex_unlock(&destination->lock);
    return r;
}

static void *receiver_main(void *argument)
{
    struct receiver *receiver = argument;
    struct link_destination *destination = receiver->destination;
    int r = await_taking(destination);

    if (!r)
        r = receive(receiver, receiver->header, 0);
    while (!r)
        r = take_frame(receiver);
    shutdown(receiver->fd, SHUT_RDWR);
    free(receiver->buffer);
    receiver->buffer = NULL;
    pthread_mutex_lock(&destination->lock);
    if (!receiver->error.message[0])
        error_set(&receiver->error, -ECONNRESET, NULL, "tcp lane %u ended: %s", receiver->lane, strerror(-r));
    receiver->ended = r;
    pthread_cond_broadcast(&destination->changed);
    pthread_mutex_unlock(&destination->lock);
    return NULL;
}

/* ---- life ---- */

int tcp_destination_open(const struct link_options *options, const struct sockaddr *local,
                         const uint8_t token[LINK_TOKEN_BYTES], uint16_t *port_out, struct link_destination **out,
                         struct tern_error *error)
{
    struct link_destination *destination = calloc(1, sizeof(*destination));
    pthread_condattr_t attributes;

    (void)local;
    (void)token; /* the listener's business */
    if (destination)
        destination->receivers = calloc(options->n_lanes, sizeof(*destination->receivers));
    if (!destination || !destination->receivers) {
        free(destination);
        return error_set(error, -ENOMEM, NULL, "out of memory for %u lanes", options->n_lanes);
    }
    destination->n_lanes = options->n_lanes;
    destination->operation = options->operation;
    destination->peer_timeout_ms = options->peer_timeout_ms;
    destination->connect_timeout_ms = options->connect_timeout_ms;
    for (uint32_t i = 0; i < options->n_lanes; i++)
        destination->receivers[i] = (struct receiver){.destination = destination, .lane = i, .fd = -1};
    pthread_mutex_init(&destination->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&destination->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *port_out = 0;
    *out = destination;
    return 0;
}

int tcp_destination_expose(struct link_destination *destination, uint32_t region, void *base, uint64_t length_bytes,
                           struct tern_error *error)
{
    if (region >= LINK_REGIONS_MAX)
        return error_set(error, -EINVAL, NULL, "region %u is over the %d that a link has", region, LINK_REGIONS_MAX);
    destination->regions[region] = (struct tcp_region){.base = base, .length_bytes = length_bytes};
    return 0;
}

int tcp_destination_file(struct link_destination *destination, uint32_t region, int fd, uint64_t offset_bytes,
                         struct tern_error *error)
{
    if (region >= LINK_REGIONS_MAX || !destination->regions[region].length_bytes || fd <= 0)
        return error_set(error, -EINVAL, NULL, "region %u is not exposed, or file %d is none", region, fd);
    destination->regions[region].file_fd = fd;
    destination->regions[region].file_offset_bytes = offset_bytes;
    return 0;
}

static int adopt(struct link_destination *destination, uint32_t lane, int fd, struct tern_error *error)
{
    uint8_t accepted = PREAMBLE_ACCEPTED;
    struct receiver *receiver;
    int r;

    if (lane >= destination->n_lanes || destination->receivers[lane].fd >= 0 || destination->torn)
        return error_set(error, -EINVAL, NULL, "lane %u of %u is not free", lane, destination->n_lanes);
    if (send(fd, &accepted, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        return error_set(error, -ECONNRESET, NULL, "lane %u closed at once", lane);
    tcp_tune(fd, destination->peer_timeout_ms);
    receiver = &destination->receivers[lane];
    receiver->fd = fd;
    r = -pthread_create(&receiver->thread, NULL, receiver_main, receiver);
    if (r) {
        receiver->fd = -1;
        return error_set(error, r, NULL, "cannot start the receiver of lane %u: %s", lane, strerror(-r));
    }
    pthread_cond_broadcast(&destination->changed);
    return 0;
}

int tcp_destination_adopt(struct link_destination *destination, uint32_t lane, int fd, struct tern_error *error)
{
    int r;

    pthread_mutex_lock(&destination->lock);
    r = adopt(destination, lane, fd, error);
    pthread_mutex_unlock(&destination->lock);
    if (r)
        close(fd);
    return r;
}

void tcp_destination_abort(struct link_destination *destination)
{
    pthread_mutex_lock(&destination->lock);
    destination->aborted = true;
    pthread_cond_broadcast(&destination->changed);
    pthread_mutex_unlock(&destination->lock);
}

void tcp_destination_teardown(struct link_destination *destination)
{
    pthread_mutex_lock(&destination->lock);
    destination->torn = true; /* no lane is adopted any more */
    pthread_cond_broadcast(&destination->changed);
    pthread_mutex_unlock(&destination->lock);
    for (uint32_t i = 0; i < destination->n_lanes; i++) /* all of them end at once: the guest stands still meanwhile */
        if (destination->receivers[i].fd >= 0)
            shutdown(destination->receivers[i].fd, SHUT_RDWR);
    for (uint32_t i = 0; i < destination->n_lanes; i++) {
        struct receiver *receiver = &destination->receivers[i];

        if (receiver->fd < 0)
            continue;
        pthread_join(receiver->thread, NULL);
        close(receiver->fd);
        receiver->fd = -1;
    }
}

void tcp_destination_close(struct link_destination *destination)
{
    if (!destination)
        return;
    tcp_destination_teardown(destination);
    pthread_cond_destroy(&destination->changed);
    pthread_mutex_destroy(&destination->lock);
    free(destination->receivers);
    free(destination);
}

/* ---- waiting ---- */

/* With the lock: 0 go on waiting, 1 all lanes have fenced round (0: are connected), or why not. */
static int look(struct link_destination *destination, uint32_t round, struct tern_error *error)
{
    uint32_t n = 0;

    if (destination->aborted)
        return error_set(error, -ECANCELED, NULL, "the link was aborted");
    for (uint32_t i = 0; i < destination->n_lanes; i++) {
        struct receiver *receiver = &destination->receivers[i];

        if (round ? receiver->round >= round : receiver->fd >= 0)
            n++;
        else if (receiver->ended)
            return error_set(error, receiver->error.code, receiver->error.hint, "%s", receiver->error.message);
    }
    return n == destination->n_lanes;
}

static int wait_all(struct link_destination *destination, uint32_t round, int timeout_ms, struct tern_error *error)
{
    struct timespec until = clock_timespec(clock_after_ms((uint32_t)timeout_ms));
    int r, timed = 0;

    pthread_mutex_lock(&destination->lock);
    while (!(r = look(destination, round, error)) && !timed)
        timed = pthread_cond_timedwait(&destination->changed, &destination->lock, &until);
    if (r == 1 && !round) {
        destination->taking = true;
        pthread_cond_broadcast(&destination->changed);
    }
    pthread_mutex_unlock(&destination->lock);
    return r == 1 ? 0 : r ? r : -ETIMEDOUT;
}

int tcp_wait_lanes(struct link_destination *destination, struct tern_error *error)
{
    int r = wait_all(destination, 0, destination->connect_timeout_ms, error);

    if (r == -ETIMEDOUT)
        return error_set(error, r, "check that no firewall stands between the hosts",
                         "not all of the %u lanes connected within %d s", destination->n_lanes,
                         destination->connect_timeout_ms / 1000);
    return r;
}

int tcp_wait_fence(struct link_destination *destination, uint32_t round, int timeout_ms, struct tern_error *error)
{
    return wait_all(destination, round, timeout_ms, error);
}
