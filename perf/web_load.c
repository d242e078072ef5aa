/* SPDX-License-Identifier: BSD-2-Clause */
/* source: RFC 9112 (message framing), RFC 9110, 8.6 (Content-Length) */
#include "perf/web_load.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* for the state on the stack */
#include <xxhash.h>

#include "transport/address.h"
#include "transport/clock.h"
#include "transport/error.h"

#define SLICE_MS     100
#define CONNECT_MS   5000
#define RETRY_MS     20
#define HEAD_BYTES   8192
#define BUFFER_BYTES 65536
#define DIGEST_SEED  0

/* What all clients share. */
struct shared {
    struct web_load *load;
    uint64_t begin_ns, end_ns;
    _Atomic bool stopped;
    pthread_mutex_t lock; /* guards what follows */
    bool has_reference;
    uint64_t reference_bytes, reference_digest;
};

struct client {
    struct shared *shared;
    struct web_client_report *report;
    pthread_t thread;
    int fd;                           /* -1: not connected */
    uint64_t heard_ns;                /* the last byte; 0: none yet */
    struct web_connection connection; /* while fd is open */
    size_t fill;                      /* of buffer: read and not yet used */
    char buffer[BUFFER_BYTES];
};

/* ---- one client ---- */

static bool is_over(void *opaque)
{
    struct shared *shared = opaque;

    return atomic_load(&shared->stopped) || clock_now_ns() >= shared->end_ns;
}

/* One more item of a list that doubles when it is full. */
static void add(struct web_client_report *report, void **list, size_t *n, const void *item, size_t item_bytes)
{
    if (!(*n & (*n - 1))) { /* 0, 1, 2, 4 and so on */
        void *larger = reallocarray(*list, *n ? *n * 2 : 1, item_bytes);

        if (!larger) {
            report->out_of_memory = true;
            return;
        }
        *list = larger;
    }
    memcpy((char *)*list + *n * item_bytes, item, item_bytes);
    (*n)++;
}

static uint64_t since_begin(const struct client *client)
{
    return clock_now_ns() - client->shared->begin_ns;
}

static void hear(struct client *client)
{
    struct web_client_report *report = client->report;
    struct web_silence silence = {client->heard_ns, since_begin(client)};
    uint64_t length_ns = silence.end_ns - silence.begin_ns;

    if (client->heard_ns && length_ns > report->silence_ns) {
        report->silence_ns = length_ns;
        report->silence_end_ns = silence.end_ns;
    }
    if (client->heard_ns && length_ns >= WEB_SILENCE_NS)
        add(report, (void **)&report->silences, &report->n_silences, &silence, sizeof(silence));
    client->heard_ns = silence.end_ns;
}

/* More bytes behind the fill. returns 0, -ECANCELED the load is over, -ESHUTDOWN the server's end, the socket's -errno
 */
static int receive(struct client *client)
{
    for (;;) {
        struct pollfd p = {.fd = client->fd, .events = POLLIN};
        ssize_t n;

        if (is_over(client->shared))
            return -ECANCELED;
        if (poll(&p, 1, SLICE_MS) <= 0)
            continue;
        n = recv(client->fd, client->buffer + client->fill, sizeof(client->buffer) - client->fill, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return n ? -errno : -ESHUTDOWN;
        hear(client);
        client->connection.heard_ns = client->heard_ns;
        client->fill += (size_t)n;
        return 0;
    }
}

static void drop(struct client *client, size_t n)
{
    client->fill -= n;
    memmove(client->buffer, client->buffer + n, client->fill);
}

/* error  as in struct web_connection */
static void close_client(struct client *client, int error)
{
    struct web_client_report *report = client->report;

    if (client->fd >= 0) {
        close(client->fd);
        client->connection.closed_ns = since_begin(client);
        client->connection.error = error;
        add(report, (void **)&report->connections, &report->n_connections, &client->connection,
            sizeof(client->connection));
    }
    client->fd = -1;
    client->fill = 0;
}

static int open_client(struct client *client)
{
    const struct web_url *url = &client->shared->load->url;
    int r;

    if (client->fd >= 0)
        return 0;
    r = address_connect(url->host, url->port, CONNECT_MS, is_over, client->shared, &client->fd, NULL);
    if (!r)
        client->connection = (struct web_connection){.opened_ns = since_begin(client)};
    return r;
}

static int ask(struct client *client)
{
    const struct web_url *url = &client->shared->load->url;
    char text[WEB_HOST_BYTES + WEB_PATH_BYTES + 64];
    int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s:%u\r\n\r\n", url->path, url->host, url->port);
    ssize_t sent = send(client->fd, text, (size_t)n, MSG_NOSIGNAL);

    return sent == n ? 0 : sent < 0 ? -errno : -ECONNRESET;
}

static int bad_answer(struct client *client)
{
    char *answer = client->connection.answer;

    for (size_t i = 0; i < client->fill && i < WEB_ANSWER_BYTES - 1 && client->buffer[i] && client->buffer[i] != '\r';
         i++)
        answer[i] = client->buffer[i] < ' ' || client->buffer[i] > '~' ? '?' : client->buffer[i];
    return -EPROTO;
}

/* The head of an answer: 200, with a length. returns as receive, -EPROTO another answer */
static int read_head(struct client *client, uint64_t *length_out, bool *keep_out)
{
    const char *length;
    char *end;
    int r;

    while (!(end = memmem(client->buffer, client->fill, "\r\n\r\n", 4))) {
        if (client->fill >= HEAD_BYTES)
            return bad_answer(client);
        r = receive(client);
        if (r)
            return r;
    }
    *end = 0; /* the head's own text from here on */
    length = strcasestr(client->buffer, "\r\ncontent-length:");
    if (strncmp(client->buffer, "HTTP/1.", 7) || strncmp(client->buffer + 8, " 200", 4) || !length)
        return bad_answer(client);
    *length_out = strtoull(length + 17, NULL, 10);
    *keep_out = client->buffer[7] == '1' && !strcasestr(client->buffer, "\r\nconnection: close");
    drop(client, (size_t)(end - client->buffer) + 4);
    return 0;
}

static void count(struct client *client, uint64_t bytes)
{
    struct web_load *load = client->shared->load;
    uint64_t slot = since_begin(client) / load->slot_ns;

    client->report->bytes += bytes;
    client->report->slot_bytes[slot < load->n_slots ? slot : load->n_slots - 1] += bytes;
}

static int read_body(struct client *client, uint64_t length, uint64_t *digest_out)
{
    XXH3_state_t state;
    int r = 0;

    XXH3_64bits_reset_withSeed(&state, DIGEST_SEED);
    while (length && !r) {
        size_t n = client->fill < length ? client->fill : (size_t)length;

        if (!n) {
            r = receive(client);
            continue;
        }
        XXH3_64bits_update(&state, client->buffer, n);
        count(client, n);
        drop(client, n);
        length -= n;
    }
    client->connection.left_bytes = length;
    *digest_out = XXH3_64bits_digest(&state);
    return r;
}

static void judge(struct client *client, uint64_t length, uint64_t digest)
{
    struct shared *shared = client->shared;
    bool right;

    pthread_mutex_lock(&shared->lock);
    if (!shared->has_reference) {
        shared->has_reference = true;
        shared->reference_bytes = length;
        shared->reference_digest = digest;
    }
    right = length == shared->reference_bytes && digest == shared->reference_digest;
    pthread_mutex_unlock(&shared->lock);
    if (right)
        client->report->bodies++;
    else
        client->report->damaged++;
}

static int fetch(struct client *client)
{
    uint64_t length, digest;
    bool keep = false;
    int r = open_client(client);

    if (!r)
        r = ask(client);
    if (!r)
        r = read_head(client, &length, &keep);
    if (!r)
        r = read_body(client, length, &digest);
    if (!r)
        judge(client, length, digest);
    if (r || !keep)
        close_client(client, r);
    return r;
}

static void *run_client(void *argument)
{
    struct client *client = argument;

    while (!is_over(client->shared)) {
        int r = fetch(client);

        if (!r || r == -ECANCELED)
            continue;
        client->report->failed++;
        poll(NULL, 0, RETRY_MS);
    }
    if (client->heard_ns)
        hear(client); /* a silence that lasts to the end is one, too */
    close_client(client, -ECANCELED);
    return NULL;
}

/* ---- all of them ---- */

static int prepare(struct web_load *load, struct tern_error *error)
{
    load->n_slots = (load->duration_ns + load->slot_ns - 1) / load->slot_ns;
    for (uint32_t i = 0; i < load->n_clients; i++) {
        load->clients[i] = (struct web_client_report){.slot_bytes = calloc(load->n_slots, sizeof(uint64_t))};
        if (!load->clients[i].slot_bytes)
            return error_set(error, -ENOMEM, NULL, "out of memory for %u web clients", load->n_clients);
    }
    return 0;
}

static int start_all(struct shared *shared, struct client *clients, uint32_t *started, struct tern_error *error)
{
    for (*started = 0; *started < shared->load->n_clients; (*started)++) {
        struct client *client = &clients[*started];
        int r;

        client->shared = shared;
        client->report = &shared->load->clients[*started];
        client->fd = -1;
        r = pthread_create(&client->thread, NULL, run_client, client);
        if (r)
            return error_set(error, -r, NULL, "cannot start web client %u: %s", *started, strerror(r));
    }
    return 0;
}

int web_load_run(struct web_load *load, int stop_fd, struct tern_error *error)
{
    struct shared shared = {.load = load, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct pollfd p = {.fd = stop_fd, .events = POLLIN};
    struct client *clients = calloc(load->n_clients, sizeof(*clients));
    uint32_t started = 0;
    int r;

    if (!clients)
        return error_set(error, -ENOMEM, NULL, "out of memory for %u web clients", load->n_clients);
    r = prepare(load, error);
    load->begin_wall_ns = clock_wall_ns();
    shared.begin_ns = clock_now_ns();
    shared.end_ns = shared.begin_ns + load->duration_ns;
    if (!r)
        r = start_all(&shared, clients, &started, error);
    while (!r && !is_over(&shared) && poll(&p, 1, clock_left_ms(shared.end_ns)) <= 0)
        continue;
    atomic_store(&shared.stopped, true);
    load->elapsed_ns = clock_now_ns() - shared.begin_ns;
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(clients[i].thread, NULL);
        if (load->clients[i].out_of_memory && !r)
            r = error_set(error, -ENOMEM, NULL, "out of memory for what %u web clients saw", load->n_clients);
    }
    free(clients);
    return r;
}

void web_load_free(struct web_load *load)
{
    for (uint32_t i = 0; i < load->n_clients; i++) {
        free(load->clients[i].slot_bytes);
        free(load->clients[i].silences);
        free(load->clients[i].connections);
    }
    free(load);
}

void web_load_slots(const struct web_load *load, uint64_t *bytes_out)
{
    for (uint64_t slot = 0; slot < load->n_slots; slot++) {
        bytes_out[slot] = 0;
        for (uint32_t i = 0; i < load->n_clients; i++)
            bytes_out[slot] += load->clients[i].slot_bytes[slot];
    }
}

/* ---- addresses ---- */

static int bad_url(const char *text, struct tern_error *error)
{
    return error_set(error, -EINVAL, "give it as http://HOST[:PORT]/PATH", "option --url: '%.100s' is no such address",
                     text);
}

int web_url_parse(const char *text, struct web_url *out, struct tern_error *error)
{
    const char *host = text + 7, *end, *path;
    struct web_url url = {.port = 80};
    char *rest;

    if (strncmp(text, "http://", 7))
        return bad_url(text, error);
    path = strchrnul(host, '/');
    if (*host == '[') {
        end = strchr(++host, ']');
        if (!end || end > path)
            return bad_url(text, error);
        rest = (char *)end + 1;
    } else {
        rest = (char *)(end = host + strcspn(host, ":/"));
    }
    if (*rest == ':') {
        unsigned long port = strtoul(rest + 1, &rest, 10);

        if (!port || port > UINT16_MAX)
            return bad_url(text, error);
        url.port = (uint16_t)port;
    }
    if (rest != path || end == host || (size_t)(end - host) >= sizeof(url.host) || strlen(path) >= sizeof(url.path) ||
        strpbrk(path, " \r\n"))
        return bad_url(text, error);
    memcpy(url.host, host, (size_t)(end - host));
    memcpy(url.path, *path ? path : "/", strlen(*path ? path : "/"));
    *out = url;
    return 0;
}
