/* SPDX-License-Identifier: BSD-2-Clause */
/* Who connects: a preamble hands the socket over; anything else is turned away in one line, closed, and holds nobody
 * up.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/listener.h"

#define MANY 256

/* What the handler was called with; the lock guards it. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_connections, n_strangers;
    int fds[MANY];
    struct preamble preambles[MANY];
    struct tern_error errors[MANY];
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct listener *listener;

static void on_connection(void *opaque, int fd, const struct preamble *preamble)
{
    pthread_mutex_lock(&seen.lock);
    if (opaque == &seen && seen.n_connections < MANY) {
        seen.fds[seen.n_connections] = fd;
        seen.preambles[seen.n_connections++] = *preamble;
    }
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void on_stranger(void *opaque, int fd, const struct tern_error *error)
{
    pthread_mutex_lock(&seen.lock);
    if (opaque == &seen && fd >= 0 && seen.n_strangers < MANY)
        seen.errors[seen.n_strangers++] = *error;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void wait_for(const int *count, int n)
{
    pthread_mutex_lock(&seen.lock);
    while (*count < n)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
}

static void make(void)
{
    struct listener_handler handler = {on_connection, on_stranger, &seen};
    struct tern_error error = {0};

    cr_assert_eq(listener_create("127.0.0.1", 0, &handler, &listener, &error), 0, "%s", error.message);
    cr_assert_neq(listener_port(listener), 0);
}

static int dial(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(listener_port(listener)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void put(int fd, const void *bytes, size_t n)
{
    cr_assert_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* The listener has closed its end and said nothing. */
static void closed(int fd)
{
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, 0);

    cr_assert(n == 0 || (n < 0 && errno == ECONNRESET), "%zd", n);
    close(fd);
}

static void lane_bytes(uint8_t bytes[PREAMBLE_BYTES], uint32_t lane)
{
    struct preamble preamble = {.kind = PREAMBLE_LANE, .token = {1, 2, 3}, .lane = lane, .n_lanes = 9};

    preamble_encode(&preamble, bytes);
}

/* One that does it right is taken; index: how many were before it. */
static void good_one_is_taken(uint32_t index)
{
    uint8_t bytes[PREAMBLE_BYTES];
    int fd = dial();
    char reply;

    lane_bytes(bytes, index);
    put(fd, bytes, sizeof(bytes));
    wait_for(&seen.n_connections, (int)index + 1);
    cr_assert_eq(seen.preambles[index].lane, index);
    put(seen.fds[index], "!", 1);
    cr_assert_eq(recv(fd, &reply, 1, 0), 1);
    cr_assert_eq(reply, '!');
    close(fd);
    close(seen.fds[index]);
}

static void turned_away(int index, int code)
{
    const struct tern_error *error = &seen.errors[index];

    wait_for(&seen.n_strangers, index + 1);
    cr_assert_eq(error->code, code, "%d: %s", error->code, error->message);
    cr_assert_gt(strlen(error->message), 0);
    cr_assert_null(strchr(error->message, '\n'));
}

Test(listener, a_preamble_hands_the_socket_over, .timeout = 30)
{
    uint8_t bytes[PREAMBLE_BYTES + 5];
    char rest[6] = "";
    int fd;

    make();
    fd = dial();
    lane_bytes(bytes, 7);
    memcpy(bytes + PREAMBLE_BYTES, "after", 5);
    put(fd, bytes, sizeof(bytes));
    wait_for(&seen.n_connections, 1);
    cr_assert_eq(seen.preambles[0].kind, PREAMBLE_LANE);
    cr_assert_eq(seen.preambles[0].lane, 7);
    cr_assert_eq(seen.preambles[0].n_lanes, 9);
    cr_assert_eq(memcmp(seen.preambles[0].token, "\1\2\3\0", 4), 0);
    cr_assert_not(fcntl(seen.fds[0], F_GETFL) & O_NONBLOCK, "the socket is to be blocking");
    cr_assert(fcntl(seen.fds[0], F_GETFD) & FD_CLOEXEC);
    cr_assert_eq(recv(seen.fds[0], rest, 5, MSG_WAITALL), 5); /* what follows is the handler's */
    cr_assert_str_eq(rest, "after");
    close(fd);
    close(seen.fds[0]);
    listener_destroy(listener);
    cr_assert_eq(seen.n_strangers, 0);
}

Test(listener, single_bytes_and_several_at_once, .timeout = 30)
{
    uint8_t bytes[3][PREAMBLE_BYTES];
    int fds[3];

    make();
    for (uint32_t i = 0; i < 3; i++) {
        fds[i] = dial();
        lane_bytes(bytes[i], i);
    }
    for (int at = 0; at < PREAMBLE_BYTES; at++)
        for (int i = 0; i < 3; i++)
            put(fds[i], &bytes[i][at], 1);
    wait_for(&seen.n_connections, 3);
    uint32_t lanes = 0;
    for (int i = 0; i < 3; i++)
        lanes |= 1u << seen.preambles[i].lane;
    cr_assert_eq(lanes, 7);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
        close(seen.fds[i]);
    }
    listener_destroy(listener);
}

Test(listener, what_is_no_preamble, .timeout = 30)
{
    uint8_t bytes[PREAMBLE_BYTES];
    char version[32];
    int fd;

    make();
    fd = dial(); /* another magic */
    lane_bytes(bytes, 0);
    memcpy(bytes, "GET ", 4);
    put(fd, bytes, sizeof(bytes));
    turned_away(0, -EPROTO);
    closed(fd);
    good_one_is_taken(0);

    fd = dial(); /* another version */
    lane_bytes(bytes, 0);
    bytes[6] = PREAMBLE_VERSION + 1;
    put(fd, bytes, sizeof(bytes));
    turned_away(1, -EPROTONOSUPPORT);
    snprintf(version, sizeof(version), "version %u", PREAMBLE_VERSION + 1);
    cr_assert_not_null(strstr(seen.errors[1].message, version));
    closed(fd);
    good_one_is_taken(1);

    fd = dial(); /* an unknown kind */
    lane_bytes(bytes, 0);
    bytes[4] = 3;
    put(fd, bytes, sizeof(bytes));
    turned_away(2, -EPROTO);
    closed(fd);
    good_one_is_taken(2);
    listener_destroy(listener);
    cr_assert_eq(seen.n_strangers, 3);
}

Test(listener, truncated_anywhere, .timeout = 30)
{
    static const size_t lengths[] = {0, 1, 4, 63};
    uint8_t bytes[PREAMBLE_BYTES];

    make();
    lane_bytes(bytes, 0);
    for (int i = 0; i < 4; i++) {
        int fd = dial();

        if (lengths[i])
            put(fd, bytes, lengths[i]);
        shutdown(fd, SHUT_WR);
        turned_away(i, -ECONNRESET);
        cr_assert_not_null(strstr(seen.errors[i].message, "127.0.0.1:"), "%s", seen.errors[i].message);
        closed(fd);
        good_one_is_taken((uint32_t)i);
    }
    listener_destroy(listener);
}

/* One says nothing, one stops midway: others are served at once, and these two are turned away in time. */
Test(listener, the_silent_hold_nobody_up, .timeout = 30)
{
    uint8_t bytes[PREAMBLE_BYTES];
    int silent, half;

    make();
    silent = dial();
    half = dial();
    lane_bytes(bytes, 0);
    put(half, bytes, 30);
    for (uint32_t i = 0; i < 10; i++)
        good_one_is_taken(i);
    turned_away(0, -ETIMEDOUT);
    turned_away(1, -ETIMEDOUT);
    cr_assert_not_null(strstr(seen.errors[0].message, "127.0.0.1:"), "%s", seen.errors[0].message);
    closed(silent);
    closed(half);
    good_one_is_taken(10);
    listener_destroy(listener);
}

/* More silent ones than it keeps: those beyond are closed at once, and when the others go there is room again. */
Test(listener, a_flood, .timeout = 30)
{
    enum { KEPT = 128, BEYOND = 10 };
    int fds[KEPT + BEYOND];

    make();
    for (int i = 0; i < KEPT + BEYOND; i++)
        fds[i] = dial();
    for (int i = KEPT; i < KEPT + BEYOND; i++)
        closed(fds[i]);
    for (int i = 0; i < KEPT; i++)
        close(fds[i]);
    wait_for(&seen.n_strangers, KEPT);
    good_one_is_taken(0);
    listener_destroy(listener);
    cr_assert_eq(seen.n_strangers, KEPT);
}

Test(listener, destroy_closes_those_that_wait, .timeout = 30)
{
    uint8_t bytes[PREAMBLE_BYTES];
    int fd;

    listener_destroy(NULL);
    make();
    fd = dial();
    lane_bytes(bytes, 0);
    put(fd, bytes, 10);
    good_one_is_taken(0); /* so the first was accepted */
    listener_destroy(listener);
    closed(fd);
    cr_assert_eq(seen.n_strangers, 0);
}

Test(listener, a_port_in_use_is_named, .timeout = 30)
{
    struct listener_handler handler = {on_connection, on_stranger, &seen};
    struct listener *second = NULL;
    struct tern_error error = {0};
    char port[8];

    make();
    cr_assert_eq(listener_create("127.0.0.1", listener_port(listener), &handler, &second, &error), -EADDRINUSE);
    snprintf(port, sizeof(port), "%u", listener_port(listener));
    cr_assert_not_null(strstr(error.message, port), "%s", error.message);
    cr_assert_null(second);
    listener_destroy(listener);
}

Test(listener, everywhere_is_both_families, .timeout = 30)
{
    struct listener_handler handler = {on_connection, on_stranger, &seen};
    struct tern_error error = {0};
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    uint8_t bytes[PREAMBLE_BYTES];
    int fd;

    cr_assert_eq(listener_create(NULL, 0, &handler, &listener, &error), 0, "%s", error.message);
    good_one_is_taken(0);
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin6_port = htons(listener_port(listener));
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    lane_bytes(bytes, 1);
    put(fd, bytes, sizeof(bytes));
    wait_for(&seen.n_connections, 2);
    close(fd);
    close(seen.fds[1]);
    listener_destroy(listener);
}
