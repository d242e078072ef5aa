/* SPDX-License-Identifier: BSD-2-Clause */
/* The web clients, against a server in a thread that behaves as each test says. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "perf/web_load.h"
#include "transport/address.h"

#define BODY_BYTES 300000u

/* What is done to the bodies, by the number of their request; 0: to none. */
struct server {
    int fd;
    uint16_t port;
    pthread_t thread;
    int damage_from; /* this and later ones have a wrong byte */
    int cut_from;    /* are cut in the middle */
    int refuse_from; /* get 404 */
    int pause_at;    /* stands still for pause_ms in the middle of this one */
    int pause_ms;
    bool keep_alive;
    _Atomic int requests;
};

static char body[BODY_BYTES];

static bool is_from(int from, int n)
{
    return from && n >= from;
}

static bool write_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

static bool answer(struct server *server, int fd, int n)
{
    char head[160], copy[BODY_BYTES];
    size_t half = BODY_BYTES / 2;

    if (is_from(server->refuse_from, n))
        return write_all(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 45);
    memcpy(copy, body, BODY_BYTES);
    if (is_from(server->damage_from, n))
        copy[BODY_BYTES - 1] ^= 1;
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\ncontent-length: %u\r\n%s\r\n", BODY_BYTES,
             server->keep_alive ? "" : "Connection: close\r\n");
    if (!write_all(fd, head, strlen(head)) || !write_all(fd, copy, half) || is_from(server->cut_from, n))
        return false;
    if (n == server->pause_at)
        nanosleep(&(struct timespec){.tv_nsec = server->pause_ms * 1000000l}, NULL);
    return write_all(fd, copy + half, BODY_BYTES - half) && server->keep_alive;
}

static void *serve(void *argument)
{
    struct server *server = argument;
    char request[2048];

    for (;;) {
        int fd = accept(server->fd, NULL, NULL);

        if (fd < 0)
            return NULL;
        while (recv(fd, request, sizeof(request), 0) > 0 && answer(server, fd, ++server->requests))
            continue;
        close(fd);
    }
}

static struct server *start(struct server settings)
{
    struct server *server = malloc(sizeof(*server));

    *server = settings;
    for (uint32_t i = 0; i < BODY_BYTES; i++)
        body[i] = (char)(i * 7 + i / 255);
    cr_assert_eq(address_listen("127.0.0.1", 0, &server->fd, &server->port, NULL), 0);
    cr_assert_eq(fcntl(server->fd, F_SETFL, 0), 0); /* accept is to wait */
    cr_assert_eq(pthread_create(&server->thread, NULL, serve, server), 0);
    return server;
}

static void end(struct server *server, struct web_load *load)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
    free(server);
    web_load_free(load);
}

/* One client for a while; a server serves one connection at a time. */
static struct web_load *load_it(const struct server *server, uint64_t duration_ms)
{
    struct web_load *load = calloc(1, sizeof(*load));
    char url[64];

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/file", server->port);
    cr_assert_eq(web_url_parse(url, &load->url, NULL), 0);
    load->n_clients = 1;
    load->duration_ns = duration_ms * 1000000;
    load->slot_ns = 50000000;
    cr_assert_eq(web_load_run(load, -1, NULL), 0);
    return load;
}

Test(web_load, bodies_are_counted_and_right, .timeout = 20)
{
    struct server *server = start((struct server){0});
    struct web_load *load = load_it(server, 300);
    struct web_client_report *client = &load->clients[0];
    uint64_t slots[6], sum = 0;

    cr_assert_gt(client->bodies, 0);
    cr_assert_eq(client->damaged, 0);
    cr_assert_eq(client->failed, 0);
    cr_assert_geq(client->bytes, client->bodies * BODY_BYTES);
    cr_assert_eq(load->n_slots, 6);
    web_load_slots(load, slots);
    for (int i = 0; i < 6; i++)
        sum += slots[i];
    cr_assert_eq(sum, client->bytes);
    end(server, load);
}

Test(web_load, a_connection_is_kept_where_the_server_keeps_it, .timeout = 20)
{
    struct server *server = start((struct server){.keep_alive = true});
    struct web_load *load = load_it(server, 300);

    cr_assert_gt(load->clients[0].bodies, 1);
    cr_assert_eq(load->clients[0].failed, 0);
    end(server, load);
}

Test(web_load, a_wrong_byte_is_seen, .timeout = 20)
{
    struct server *server = start((struct server){.damage_from = 2});
    struct web_load *load = load_it(server, 300);

    cr_assert_eq(load->clients[0].bodies, 1);
    cr_assert_gt(load->clients[0].damaged, 0);
    end(server, load);
}

Test(web_load, a_cut_body_is_a_failure, .timeout = 20)
{
    struct server *server = start((struct server){.cut_from = 2});
    struct web_load *load = load_it(server, 300);

    cr_assert_eq(load->clients[0].bodies, 1);
    cr_assert_eq(load->clients[0].damaged, 0);
    cr_assert_gt(load->clients[0].failed, 0);
    end(server, load);
}

Test(web_load, another_answer_than_200_is_a_failure, .timeout = 20)
{
    struct server *server = start((struct server){.refuse_from = 1});
    struct web_load *load = load_it(server, 300);

    cr_assert_eq(load->clients[0].bodies, 0);
    cr_assert_gt(load->clients[0].failed, 0);
    cr_assert_eq(load->clients[0].connections[0].error, -EPROTO);
    cr_assert_str_eq(load->clients[0].connections[0].answer, "HTTP/1.1 404 Not Found");
    cr_assert_eq(load->clients[0].bytes, 0);
    end(server, load);
}

Test(web_load, silence_in_the_middle_of_a_body_is_measured, .timeout = 20)
{
    struct server *server = start((struct server){.pause_at = 2, .pause_ms = 250});
    struct web_load *load = load_it(server, 600);
    struct web_client_report *client = &load->clients[0];
    bool is_listed = false;

    cr_assert_geq(client->silence_ns, 240000000);
    cr_assert_geq(client->silence_end_ns, client->silence_ns);
    cr_assert_gt(client->bodies, 1);
    for (size_t i = 0; i < client->n_silences; i++)
        is_listed |= client->silences[i].end_ns - client->silences[i].begin_ns == client->silence_ns &&
                     client->silences[i].end_ns == client->silence_end_ns;
    cr_assert(is_listed);
    end(server, load);
}

Test(web_load, connections_are_listed, .timeout = 20)
{
    struct server *server = start((struct server){.cut_from = 3});
    struct web_load *load = load_it(server, 800);
    struct web_client_report *client = &load->clients[0];

    cr_assert_gt(client->n_connections, 2);
    for (size_t i = 0; i < client->n_connections; i++) {
        const struct web_connection *c = &client->connections[i];

        if (i < 2)
            cr_assert_eq(c->error, 0);
        else if (i + 1 < client->n_connections) /* the last one ended with the load */
            cr_assert(c->error == -ESHUTDOWN && c->left_bytes && c->left_bytes <= BODY_BYTES);
        cr_assert_leq(c->opened_ns, c->closed_ns);
        cr_assert(!c->heard_ns || (c->heard_ns >= c->opened_ns && c->heard_ns <= c->closed_ns));
    }
    end(server, load);
}

Test(web_url, parts)
{
    struct web_url url;

    cr_assert_eq(web_url_parse("http://10.0.0.2/a/b", &url, NULL), 0);
    cr_assert_str_eq(url.host, "10.0.0.2");
    cr_assert_str_eq(url.path, "/a/b");
    cr_assert_eq(url.port, 80);
    url = (struct web_url){0};
    cr_assert_eq(web_url_parse("http://[fd00::1]:8080", &url, NULL), 0);
    cr_assert_str_eq(url.host, "fd00::1");
    cr_assert_str_eq(url.path, "/");
    cr_assert_eq(url.port, 8080);
}

Test(web_url, what_is_none)
{
    static const char *const bad[] = {"10.0.0.2/a",      "https://a/",   "http://",      "http:///a",   "http://a:0/",
                                      "http://a:70000/", "http://[::1/", "http://a:b/c", "http://a/b c"};
    struct tern_error error;
    struct web_url url;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(web_url_parse(bad[i], &url, &error), -EINVAL, "%s", bad[i]);
}
