/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "transport/address.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PENDING_MAX 128u /* connections that have not sent their preamble yet */
#define PREAMBLE_MS 3000u

struct pending {
    int fd;
    uint32_t have_bytes;
    uint64_t deadline_ns;
    char from[ADDRESS_TEXT_BYTES];
    uint8_t bytes[PREAMBLE_BYTES];
};

struct listener {
    int fd, end_fd;
    uint16_t port;
    struct listener_handler handler;
    pthread_t thread;
    bool runs;
    uint32_t n_pending;
    struct pending pending[PENDING_MAX];
};

static void drop(struct listener *listener, uint32_t i)
{
    listener->pending[i] = listener->pending[--listener->n_pending];
}

static void turn_away(struct listener *listener, uint32_t i, const struct tern_error *error)
{
    listener->handler.stranger(listener->handler.opaque, listener->pending[i].fd, error);
    close(listener->pending[i].fd);
    drop(listener, i);
}

static void accept_one(struct listener *listener)
{
    struct sockaddr_storage from;
    socklen_t length = sizeof(from);
    int fd = accept4(listener->fd, (struct sockaddr *)&from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct pending *p;

    if (fd < 0)
        return;
    if (listener->n_pending == PENDING_MAX) {
        close(fd); /* a flood; those that wait already have a deadline */
        return;
    }
    p = &listener->pending[listener->n_pending++];
    *p = (struct pending){.fd = fd, .deadline_ns = clock_after_ms(PREAMBLE_MS)};
    address_text((struct sockaddr *)&from, p->from);
}

static void advance(struct listener *listener, uint32_t i)
{
    struct pending *p = &listener->pending[i];
    struct preamble preamble;
    struct tern_error error;
    ssize_t n = recv(p->fd, p->bytes + p->have_bytes, PREAMBLE_BYTES - p->have_bytes, 0);
    int fd = p->fd;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        error_set(&error, -ECONNRESET, NULL, "%s connected and closed without a word", p->from);
        turn_away(listener, i, &error);
        return;
    }
    p->have_bytes += (uint32_t)n;
    if (p->have_bytes < PREAMBLE_BYTES)
        return;
    if (preamble_decode(p->bytes, &preamble, &error)) {
        turn_away(listener, i, &error);
        return;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    drop(listener, i);
    listener->handler.connection(listener->handler.opaque, fd, &preamble);
}

static void expire(struct listener *listener)
{
    uint64_t now_ns = clock_now_ns();
    struct tern_error error;

    for (uint32_t i = listener->n_pending; i-- > 0;)
        if (listener->pending[i].deadline_ns <= now_ns) {
            error_set(&error, -ETIMEDOUT, NULL, "%s connected and sent no preamble in time", listener->pending[i].from);
            turn_away(listener, i, &error);
        }
}

static int poll_timeout_ms(const struct listener *listener)
{
    uint64_t first_ns = UINT64_MAX;

    for (uint32_t i = 0; i < listener->n_pending; i++)
        if (listener->pending[i].deadline_ns < first_ns)
            first_ns = listener->pending[i].deadline_ns;
    return listener->n_pending ? clock_left_ms(first_ns) : -1;
}

static void *listener_main(void *argument)
{
    struct listener *listener = argument;
    struct pollfd p[PENDING_MAX + 2];

    for (;;) {
        uint32_t n = listener->n_pending;

        p[0] = (struct pollfd){.fd = listener->end_fd, .events = POLLIN};
        p[1] = (struct pollfd){.fd = listener->fd, .events = POLLIN};
        for (uint32_t i = 0; i < n; i++)
            p[2 + i] = (struct pollfd){.fd = listener->pending[i].fd, .events = POLLIN};
        poll(p, n + 2, poll_timeout_ms(listener));
        if (p[0].revents)
            break;
        for (uint32_t i = n; i-- > 0;) /* backwards: an entry that goes is replaced by a later one */
            if (p[2 + i].revents)
                advance(listener, i);
        expire(listener);
        if (p[1].revents)
            accept_one(listener);
    }
    return NULL;
}

int listener_create(const char *host, uint16_t port, const struct listener_handler *handler, struct listener **out,
                    struct tern_error *error)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int r;

    if (!listener)
        return error_set(error, -ENOMEM, NULL, "out of memory for the listener");
    listener->fd = -1;
    listener->handler = *handler;
    listener->end_fd = eventfd(0, EFD_CLOEXEC);
    r = listener->end_fd < 0 ? error_set(error, -errno, NULL, "cannot make an eventfd: %s", strerror(errno))
                             : address_listen(host, port, &listener->fd, &listener->port, error);
    if (!r) {
        r = -pthread_create(&listener->thread, NULL, listener_main, listener);
        listener->runs = !r;
        if (r)
            error_set(error, r, NULL, "cannot start the listener: %s", strerror(-r));
    }
    if (r)
        listener_destroy(listener);
    else
        *out = listener;
    return r;
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

void listener_destroy(struct listener *listener)
{
    uint64_t one = 1;

    if (!listener)
        return;
    if (listener->runs) {
        ssize_t n = write(listener->end_fd, &one, sizeof(one));

        (void)n;
        pthread_join(listener->thread, NULL);
    }
    for (uint32_t i = 0; i < listener->n_pending; i++)
        close(listener->pending[i].fd);
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->end_fd >= 0)
        close(listener->end_fd);
    free(listener);
}
