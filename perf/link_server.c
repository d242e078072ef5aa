/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/link_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "migrate/layout.h"
#include "migrate/vm.h"
#include "migrate/wire.h"
#include "perf/link_door.h"
#include "transport/address.h"
#include "transport/clock.h"
#include "transport/control.h"
#include "transport/error.h"

#define HELLO_MS 5000
#define LANES_MS 10000
#define ROUND_MS 200

#define CHUNK_BYTES_MIN (2ull << 20) /* link.h */

struct server {
    const char *command;
    const struct link_values *values;
    struct link_door door;
    struct control *control;
    struct wire_hello hello;
    struct link_options options;
    void *memory;
    uint64_t memory_bytes;
    uint8_t message[WIRE_BUFFER_BYTES];
};

/* ---- agreement ---- */

/* What a client of this command is, and what it will do. */
static bool is_client(struct server *server)
{
    char wanted[TERN_NAME_BYTES];
    size_t length = (size_t)snprintf(wanted, sizeof(wanted), LINK_KIND "%s", server->command);
    const char *rest = server->hello.kind + length;

    if (strncmp(server->hello.kind, wanted, length) != 0 || (*rest && strcmp(rest, LINK_KIND_READ) != 0))
        return false;
    server->options.operation = *rest ? LINK_READ : LINK_WRITE;
    return true;
}

static int read_hello(struct server *server, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms(HELLO_MS);
    struct control_frame frame;
    int r;

    do {
        r = control_receive(server->control, clock_left_ms(deadline_ns), &frame, error);
    } while (r == -EINTR);
    if (r == -ETIMEDOUT)
        return error_set(error, r, NULL, "it sent no HELLO within %d s", HELLO_MS / 1000);
    if (r)
        return r;
    if (frame.type != WIRE_HELLO || wire_get_hello(frame.payload, frame.length_bytes, &server->hello))
        r = error_set(error, -EPROTO, "both sides must run the same version of tern", "its first message is no HELLO");
    control_frame_free(&frame);
    if (r)
        return r;
    if (!is_client(server))
        return error_set(error, -EINVAL, "start the same command on both hosts",
                         "this is a 'tern-perf %s' server, the other side is a '%s'", server->command,
                         server->hello.kind);
    if (server->hello.n_regions != 1 || !server->hello.n_lanes || server->hello.n_lanes > LINK_LANES_MAX ||
        server->hello.chunk_bytes < CHUNK_BYTES_MIN || (server->hello.chunk_bytes & (server->hello.chunk_bytes - 1)))
        return error_set(error, -EPROTO, NULL, "its HELLO asks for what no client does");
    return 0;
}

static int agree_on_chunks(struct server *server, struct wire_hello_ack *ack, struct tern_error *error)
{
    struct link_limits limits = {0};
    int r = 0;

    if (server->door.provider->limits)
        r = server->door.provider->limits(ack->device, &limits, error);
    ack->chunk_bytes = chunk_bytes_agreed(server->hello.chunk_bytes, server->hello.regions[0].length_bytes, &limits);
    server->options.chunk_bytes = ack->chunk_bytes;
    return r;
}

static int choose_transport(struct server *server, const struct sockaddr *local, struct wire_hello_ack *ack,
                            struct tern_error *error)
{
    struct transport_choice here = {.wanted = (enum tern_transport)server->values->transport, .device = ack->device};
    struct tern_error why = {0};
    int r;

    if (here.wanted != TERN_TRANSPORT_TCP)
        here.verbs_usable =
            !link_verbs.usable(&server->options, local, TERN_SIDE_DESTINATION, ack->device, sizeof(ack->device), &why);
    here.no_verbs = why.message;
    r = transport_choose(&server->hello, &here, ack->reason, error);
    if (r < 0)
        return r;
    server->door.provider = r == TERN_TRANSPORT_VERBS ? &link_verbs : &link_tcp;
    snprintf(ack->transport, sizeof(ack->transport), "%s", server->door.provider->name);
    if (r == TERN_TRANSPORT_TCP)
        snprintf(ack->device, sizeof(ack->device), "tcp");
    return agree_on_chunks(server, ack, error);
}

static void fill(uint64_t *words, uint64_t n)
{
    uint64_t word = 0;

    for (uint64_t i = 0; i < n; i++)
        words[i] = word += LINK_PATTERN;
}

static int reserve(struct server *server, struct tern_error *error)
{
    uint64_t bytes = server->hello.regions[0].length_bytes;
    void *memory;

    if (!bytes || bytes > (uint64_t)sysconf(_SC_PHYS_PAGES) / 2 * (uint64_t)sysconf(_SC_PAGESIZE))
        return error_set(error, -ENOMEM, "give the client a smaller --memory",
                         "the client wants %llu bytes of memory, more than half of what this host has",
                         (unsigned long long)bytes);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(error, -ENOMEM, NULL, "out of memory for %llu bytes", (unsigned long long)bytes);
    server->memory = memory;
    server->memory_bytes = bytes;
    fill(memory, bytes / sizeof(uint64_t)); /* populated */
    return 0;
}

static int open_link(struct server *server, const struct sockaddr *local, struct wire_hello_ack *ack,
                     struct tern_error *error)
{
    const struct link_provider *provider = server->door.provider;
    struct link_destination *link;
    int r;

    if (getrandom(ack->token, sizeof(ack->token), 0) != sizeof(ack->token))
        return error_set(error, -EIO, NULL, "no random numbers for the token");
    r = provider->destination_open(&server->options, local, ack->token, &ack->port, &link, error);
    if (r)
        return r;
    r = provider->destination_expose(link, 0, server->memory, server->memory_bytes, error);
    if (r) {
        provider->destination_close(link);
        return r;
    }
    if (provider->destination_rails)
        ack->n_rails = provider->destination_rails(link, ack->rails);
    link_door_admit(&server->door, provider, link, ack->token);
    return control_lost(server->control) ? error_set(error, -ECONNRESET, NULL, "the client is gone") : 0;
}

static int register_memory(struct server *server, struct tern_error *error)
{
    const struct link_provider *provider = server->door.provider;
    uint64_t chunk_bytes = server->options.chunk_bytes, n = (server->memory_bytes + chunk_bytes - 1) / chunk_bytes;
    int r = 0;

    for (uint64_t i = 0; i < n && r >= 0 && provider->needs_registration; i++) {
        struct wire_key key = {.chunk = i};

        r = provider->destination_register_chunk(server->door.link, 0, i, &key.key, error);
        if (r >= 0)
            r = control_send(server->control, WIRE_KEY, server->message, wire_put_keys(server->message, &key, 1),
                             error);
    }
    return r < 0 ? r : 0;
}

static int agree(struct server *server, struct wire_hello_ack *ack, struct tern_error *error)
{
    struct sockaddr_storage local = *control_local(server->control);
    int r;

    server->options = (struct link_options){
        .device = server->values->device, .gid_index = server->values->gid_index, .connect_timeout_ms = LANES_MS};
    r = read_hello(server, error);
    if (r)
        return r;
    address_unmap(&local);
    server->options.n_lanes = server->hello.n_lanes;
    r = choose_transport(server, (struct sockaddr *)&local, ack, error);
    if (!r)
        r = reserve(server, error);
    if (!r)
        r = open_link(server, (struct sockaddr *)&local, ack, error);
    if (!r)
        r = control_send(server->control, WIRE_HELLO_ACK, server->message, wire_put_hello_ack(server->message, ack),
                         error);
    if (!r)
        r = server->door.provider->wait_lanes(server->door.link, error);
    return r ? r : register_memory(server, error);
}

/* ---- rounds ---- */

static int answer(struct server *server, uint32_t round, struct tern_error *error)
{
    struct wire_round_ack ack = {.round = round};
    int r;

    do {
        r = server->door.provider->wait_fence(server->door.link, round, ROUND_MS, error);
    } while (r == -ETIMEDOUT && !control_lost(server->control)); /* a dead client ends the control channel */
    if (r)
        return r;
    return control_send(server->control, WIRE_ROUND_ACK, server->message, wire_put_round_ack(server->message, &ack),
                        error);
}

/* Until the client says that it was the last round. */
static int serve(struct server *server, struct link_served *out, struct tern_error *error)
{
    for (;;) {
        struct control_frame frame;
        struct wire_round_end end;
        int r = control_receive(server->control, -1, &frame, error);

        if (r == -EINTR)
            continue;
        if (r)
            return r == -EPIPE ? error_set(error, r, NULL, "the client went away") : r;
        end.last = false;
        if (frame.type != WIRE_ROUND_END || wire_get_round_end(frame.payload, frame.length_bytes, &end))
            r = error_set(error, -EPROTO, NULL, "the client sent a message that is malformed or out of place");
        else if (!end.last)
            r = answer(server, end.round, error);
        control_frame_free(&frame);
        if (r || end.last)
            return r;
        out->rounds++;
    }
}

/* ---- life ---- */

static void on_lost(void *opaque, int code)
{
    struct server *server = opaque;

    (void)code;
    link_door_abort(&server->door);
}

static void release(struct server *server)
{
    control_destroy(server->control);
    server->control = NULL;
    link_door_drop(&server->door);
    if (server->memory)
        munmap(server->memory, server->memory_bytes);
    server->memory = NULL;
}

/* One that came, from its first word to its end. returns 1: it measured nothing, was turned away or thought better */
static int one_client(struct server *server, int fd, struct link_served *out, struct tern_error *error)
{
    struct wire_hello_ack ack = {0};
    int r;

    *out = (struct link_served){0};
    r = control_create(fd, 0, on_lost, server, &server->control, error);

    if (r)
        return 1;
    address_text((const struct sockaddr *)control_peer(server->control), out->peer);
    r = agree(server, &ack, error);
    if (r) {
        control_send(server->control, WIRE_REFUSE, server->message, wire_put_refuse(server->message, error), NULL);
        return 1;
    }
    snprintf(out->transport, sizeof(out->transport), "%s", ack.transport);
    r = serve(server, out, error);
    return r && !out->rounds ? 1 : r;
}

int link_server_run(const char *command, const struct link_values *values, struct link_served *out,
                    struct tern_error *error)
{
    struct server *server = calloc(1, sizeof(*server));
    int r;

    if (!server)
        return error_set(error, -ENOMEM, NULL, "out of memory for the server");
    server->command = command;
    server->values = values;
    r = link_door_open(&server->door, (uint16_t)values->port, error);
    if (!r) {
        fprintf(stderr, "waiting for a 'tern-perf %s' client at port %u\n", command, link_door_port(&server->door));
        do {
            struct tern_error why = {0};

            r = one_client(server, link_door_wait(&server->door), out, &why);
            if (r == 1)
                fprintf(stderr, "%s was not served: %s\n", *out->peer ? out->peer : "a client", why.message);
            else if (r && error)
                *error = why;
            release(server);
            link_door_vacate(&server->door);
        } while (r == 1);
    }
    link_door_close(&server->door);
    free(server);
    if (r)
        error_side(error, TERN_SIDE_DESTINATION);
    return r;
}
