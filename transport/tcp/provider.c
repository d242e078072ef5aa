/* SPDX-License-Identifier: BSD-2-Clause */
/* Lanes over TCP: the same one-sided contract, kept by a receiver thread that reads straight into guest memory. */
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

#include "transport/tcp/tcp.h"

#define PEER_TIMEOUT_MS 4000u
#define LATER_MS        1000u

static int usable(const struct link_options *options, const struct sockaddr *address, enum tern_side side,
                  char *device_out, size_t device_bytes, struct tern_error *error)
{
    (void)options;
    (void)address;
    (void)side;
    (void)error;
    snprintf(device_out, device_bytes, "tcp");
    return 0;
}

/* With TCP_USER_TIMEOUT it is that which ends a connection whose keep-alives are not answered, and one whose peer lives
 * and takes nothing. source: tcp(7) */
void tcp_tune(int fd, uint32_t peer_timeout_ms)
{
    uint64_t most_ms = (uint64_t)(peer_timeout_ms ? peer_timeout_ms : PEER_TIMEOUT_MS) + LATER_MS;
    unsigned int dead_ms = most_ms < INT_MAX ? (unsigned int)most_ms : INT_MAX;
    int on = 1, idle_s = 2, interval_s = 1, probes = 3;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

const struct link_provider link_tcp = {
    .name = "tcp",
    .needs_registration = false,
    .run_cost_bytes = 4096,
    .usable = usable,
    .source_open = tcp_source_open,
    .source_close = tcp_source_close,
    .source_add = tcp_source_add,
    .post = tcp_post,
    .fence = tcp_fence,
    .wait = tcp_wait,
    .source_abort = tcp_source_abort,
    .source_device = tcp_source_device,
    .destination_open = tcp_destination_open,
    .destination_close = tcp_destination_close,
    .destination_expose = tcp_destination_expose,
    .destination_file = tcp_destination_file,
    .destination_adopt = tcp_destination_adopt,
    .wait_lanes = tcp_wait_lanes,
    .wait_fence = tcp_wait_fence,
    .destination_abort = tcp_destination_abort,
    .destination_teardown = tcp_destination_teardown,
};
