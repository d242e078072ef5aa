/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"

#define STOP_LOOK_MS   100
#define LISTEN_BACKLOG 64

static int resolve(const char *host, uint16_t port, int flags, struct addrinfo **out, struct tern_error *error)
{
    struct addrinfo want = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    char service[8];
    int r;

    snprintf(service, sizeof(service), "%u", port);
    r = getaddrinfo(host, service, &want, out);
    if (r)
        return error_set(error, -EHOSTUNREACH, "check the host name", "cannot resolve '%s': %s", host ? host : "*",
                         gai_strerror(r));
    return 0;
}

static int wait_connected(int fd, uint64_t deadline_ns, bool (*stop)(void *opaque), void *opaque)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int left_ms = clock_left_ms(deadline_ns);
        int n = poll(&p, 1, left_ms < STOP_LOOK_MS ? left_ms : STOP_LOOK_MS);
        int so_error = 0;
        socklen_t length = sizeof(so_error);

        if (n > 0) {
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &so_error, &length);
            return -so_error;
        }
        if (n < 0 && errno != EINTR)
            return -errno;
        if (stop && stop(opaque))
            return -ECANCELED;
        if (!clock_left_ms(deadline_ns))
            return -ETIMEDOUT;
    }
}

static int connect_one(const struct addrinfo *to, uint64_t deadline_ns, bool (*stop)(void *opaque), void *opaque,
                       int *fd_out)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, to->ai_addr, to->ai_addrlen))
        r = errno == EINPROGRESS ? wait_connected(fd, deadline_ns, stop, opaque) : -errno;
    if (r) {
        close(fd);
        return r;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    *fd_out = fd;
    return 0;
}

static const char *connect_hint(int code)
{
    switch (code) {
    case -ECONNREFUSED:
        return "start the destination first ('tern vm receive' or 'tern receive'), and check the port";
    case -ETIMEDOUT:
        return "check that the host is up and that no firewall drops the port";
    case -ENETUNREACH:
    case -EHOSTUNREACH:
        return "check the address and the routes of this host";
    default:
        return NULL;
    }
}

int address_connect(const char *host, uint16_t port, uint32_t timeout_ms, bool (*stop)(void *opaque), void *opaque,
                    int *fd_out, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms(timeout_ms);
    char text[ADDRESS_TEXT_BYTES] = "";
    struct addrinfo *list;
    int r = resolve(host, port, AI_ADDRCONFIG, &list, error);

    if (r == -EHOSTUNREACH) /* a host with nothing but loopback has no configured family */
        r = resolve(host, port, 0, &list, error);
    if (r)
        return r;
    r = -EHOSTUNREACH;
    for (const struct addrinfo *to = list; to; to = to->ai_next) {
        r = connect_one(to, deadline_ns, stop, opaque, fd_out);
        address_text(to->ai_addr, text);
        if (!r || r == -ECANCELED)
            break;
    }
    freeaddrinfo(list);
    if (r)
        return error_set(error, r, connect_hint(r), "cannot connect to %s: %s", text, strerror(-r));
    return 0;
}

static int listen_one(const struct addrinfo *at, int *fd_out)
{
    int on = 1, off = 0;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, at->ai_addr, at->ai_addrlen) || listen(fd, LISTEN_BACKLOG)) {
        r = -errno;
        close(fd);
        return r;
    }
    *fd_out = fd;
    return 0;
}

int address_listen(const char *host, uint16_t port, int *fd_out, uint16_t *port_out, struct tern_error *error)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof(bound);
    struct addrinfo *list;
    int r = resolve(host, port, AI_PASSIVE, &list, error);

    if (r)
        return r;
    r = -EADDRNOTAVAIL;
    /* Without a host, the IPv6 wildcard takes both families; IPv4 alone is for a kernel without IPv6. */
    for (int pass = 0; pass < 2 && r; pass++)
        for (const struct addrinfo *at = list; at && r; at = at->ai_next)
            if (host || (at->ai_family == AF_INET6) == !pass)
                r = listen_one(at, fd_out);
    freeaddrinfo(list);
    if (r)
        return error_set(error, r, r == -EADDRINUSE ? "end the program that uses the port, or give another" : NULL,
                         "cannot listen on %s port %u: %s", host ? host : "any address", port, strerror(-r));
    getsockname(*fd_out, (struct sockaddr *)&bound, &length);
    *port_out = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    return 0;
}

void address_unmap(struct sockaddr_storage *address)
{
    struct sockaddr_in6 v6;
    struct sockaddr_in v4 = {.sin_family = AF_INET};

    memcpy(&v6, address, sizeof(v6));
    if (v6.sin6_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return;
    v4.sin_port = v6.sin6_port;
    memcpy(&v4.sin_addr, &v6.sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
    memset(address, 0, sizeof(*address));
    memcpy(address, &v4, sizeof(v4));
}

void address_set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
}

const char *address_host_text(const struct sockaddr *address, char text[ADDRESS_TEXT_BYTES])
{
    struct sockaddr_storage plain = {0};

    memcpy(&plain, address, address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    address_unmap(&plain);
    snprintf(text, ADDRESS_TEXT_BYTES, "?");
    if (plain.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&plain)->sin6_addr, text, ADDRESS_TEXT_BYTES);
    else
        inet_ntop(AF_INET, &((struct sockaddr_in *)&plain)->sin_addr, text, ADDRESS_TEXT_BYTES);
    return text;
}

const char *address_text(const struct sockaddr *address, char text[ADDRESS_TEXT_BYTES])
{
    struct sockaddr_storage plain = {0};
    char host[INET6_ADDRSTRLEN] = "?";

    memcpy(&plain, address, address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    address_unmap(&plain);
    if (plain.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&plain;

        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(text, ADDRESS_TEXT_BYTES, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&plain;

        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(text, ADDRESS_TEXT_BYTES, "%s:%u", host, ntohs(v4->sin_port));
    }
    return text;
}
