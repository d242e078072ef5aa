/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/link_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "migrate/vm.h"
#include "perf/link_server.h"
#include "transport/address.h"
#include "transport/error.h"
#include "transport/preamble.h"

#define CONNECT_MS 5000
#define AGREE_MS   20000

static void on_lost(void *opaque, int code)
{
    struct link_client *client = opaque;

    (void)code;
    pthread_mutex_lock(&client->lock);
    if (client->link)
        client->provider->source_abort(client->link);
    pthread_mutex_unlock(&client->lock);
}

/* ---- messages ---- */

/* The next message is of this type, else why not. The frame is the caller's. */
static int expect(struct link_client *client, enum wire_type type, int timeout_ms, struct control_frame *frame,
                  struct tern_error *error)
{
    struct wire_refuse refuse;
    int r;

    do {
        r = control_receive(client->control, timeout_ms, frame, error);
    } while (r == -EINTR);
    if (r == -ETIMEDOUT)
        return error_set(error, r, "look at the server's messages", "no answer from the server within %d s",
                         timeout_ms / 1000);
    if (r)
        return r;
    if (frame->type == type)
        return 0;
    r = error_set(error, -EPROTO, "both sides must run the same version of tern", "the server's message is no %s",
                  wire_type_name((uint16_t)type, (char[16]){0}));
    if (frame->type == WIRE_REFUSE && !wire_get_refuse(frame->payload, frame->length_bytes, &refuse)) {
        r = refuse.code;
        error_set(error, r, NULL, "%s", refuse.message);
        if (error) {
            error->side = TERN_SIDE_DESTINATION;
            memcpy(error->hint, refuse.hint, sizeof(error->hint));
        }
    }
    control_frame_free(frame);
    return r;
}

static int say_hello(struct link_client *client, const char *command, const struct link_values *values,
                     struct tern_error *error)
{
    struct sockaddr_storage peer = *control_peer(client->control);
    struct wire_hello hello = {.n_lanes = client->options.n_lanes,
                               .n_regions = 1,
                               .transports = WIRE_CAN_TCP,
                               .regions = {{.length_bytes = client->memory_bytes, .page_bytes = TERN_PAGE_BYTES}}};
    char device[TERN_NAME_BYTES];
    struct tern_error why = {0};
    int r = 0;

    address_unmap(&peer);
    snprintf(hello.kind, sizeof(hello.kind), LINK_KIND "%s%s", command, values->read ? LINK_KIND_READ : "");
    snprintf(hello.program, sizeof(hello.program), "tern %s", TERN_VERSION);
    snprintf(hello.regions[0].name, sizeof(hello.regions[0].name), "memory");
    if (values->transport == TERN_TRANSPORT_TCP)
        snprintf(hello.no_verbs, sizeof(hello.no_verbs), "asked for");
    else
        r = link_verbs.usable(&client->options, (struct sockaddr *)&peer, TERN_SIDE_SOURCE, device, sizeof(device),
                              &why);
    if (!r && values->transport != TERN_TRANSPORT_TCP)
        r = link_verbs.limits(device, &client->limits, &why);
    if (r && (values->transport == TERN_TRANSPORT_VERBS || values->device)) {
        *error = why;
        return r;
    }
    if (r)
        snprintf(hello.no_verbs, sizeof(hello.no_verbs), "%.127s", why.message);
    else if (values->transport != TERN_TRANSPORT_TCP)
        hello.transports |= WIRE_CAN_VERBS;
    if (values->transport == TERN_TRANSPORT_VERBS)
        hello.transports = WIRE_CAN_VERBS;
    hello.chunk_bytes = chunk_bytes_for(client->memory_bytes, &client->limits);
    return control_send(client->control, WIRE_HELLO, client->message, wire_put_hello(client->message, &hello), error);
}

static int hear_ack(struct link_client *client, struct tern_error *error)
{
    struct control_frame frame;
    int r = expect(client, WIRE_HELLO_ACK, AGREE_MS, &frame, error);

    if (r)
        return r;
    if (wire_get_hello_ack(frame.payload, frame.length_bytes, &client->ack))
        r = error_set(error, -EPROTO, NULL, "the server's HELLO_ACK is malformed");
    else
        client->provider = !strcmp(client->ack.transport, link_verbs.name) ? &link_verbs : &link_tcp;
    control_frame_free(&frame);
    client->options.chunk_bytes = client->ack.chunk_bytes;
    client->options.rails = client->ack.rails;
    client->options.n_rails = client->ack.n_rails;
    if (!r && client->limits.chunk_bytes_max && client->ack.chunk_bytes > client->limits.chunk_bytes_max)
        r = error_set(error, -EOPNOTSUPP, "use --transport tcp",
                      "the server registers memory in pieces of %llu bytes, this side's device takes %llu",
                      (unsigned long long)client->ack.chunk_bytes, (unsigned long long)client->limits.chunk_bytes_max);
    return r;
}

/* ---- connecting ---- */

static int connect_control(struct link_client *client, const struct link_values *values, struct tern_error *error)
{
    uint16_t port = values->server.has_port ? values->server.port : (uint16_t)values->port;
    struct preamble preamble = {.kind = PREAMBLE_CONTROL};
    uint8_t bytes[PREAMBLE_BYTES];
    int fd, r = address_connect(values->server.host, port, CONNECT_MS, NULL, NULL, &fd, error);

    if (r == -ECONNREFUSED && error)
        snprintf(error->hint, sizeof(error->hint), "start the same command without HOST there first: it is the server");
    if (r)
        return r;
    if (getrandom(preamble.token, sizeof(preamble.token), 0) != sizeof(preamble.token)) {
        close(fd);
        return error_set(error, -EIO, NULL, "no random numbers for the session");
    }
    preamble_encode(&preamble, bytes);
    if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes)) {
        close(fd);
        return error_set(error, -ECONNRESET, NULL, "the server closed the connection at once");
    }
    return control_create(fd, 0, on_lost, client, &client->control, error);
}

static int open_lanes(struct link_client *client, struct tern_error *error)
{
    struct sockaddr_storage peer = *control_peer(client->control);
    struct link_source *link;
    int r;

    address_unmap(&peer);
    if (client->ack.port)
        address_set_port(&peer, client->ack.port);
    r = client->provider->source_open(&client->options, (struct sockaddr *)&peer, client->ack.token, &link, error);
    if (r)
        return r;
    pthread_mutex_lock(&client->lock);
    client->link = link;
    pthread_mutex_unlock(&client->lock);
    return client->provider->source_add(link, 0, client->memory, client->memory_bytes, error);
}

static int take_keys(struct link_client *client, uint64_t *n_keys, struct tern_error *error)
{
    struct wire_key keys[16];
    struct control_frame frame;
    uint32_t n = 0;
    int r = expect(client, WIRE_KEY, AGREE_MS, &frame, error);

    if (r)
        return r;
    if (wire_get_keys(frame.payload, frame.length_bytes, keys, 16, &n))
        r = error_set(error, -EPROTO, NULL, "the server's keys are malformed");
    for (uint32_t i = 0; i < n && !r; i++) {
        if (keys[i].region ||
            keys[i].chunk >= (client->memory_bytes + client->options.chunk_bytes - 1) / client->options.chunk_bytes)
            r = error_set(error, -EPROTO, NULL, "the server sent a key of no chunk");
        else
            client->provider->source_set_key(client->link, 0, keys[i].chunk, keys[i].key);
    }
    *n_keys += n;
    control_frame_free(&frame);
    return r;
}

static int register_memory(struct link_client *client, struct tern_error *error)
{
    uint64_t n = (client->memory_bytes + client->options.chunk_bytes - 1) / client->options.chunk_bytes, keys = 0;
    int r = 0;

    if (!client->provider->needs_registration)
        return 0;
    for (uint64_t i = 0; i < n && r >= 0; i++)
        r = client->provider->source_register_chunk(client->link, 0, i, error);
    while (r >= 0 && keys < n)
        r = take_keys(client, &keys, error);
    return r < 0 ? r : 0;
}

static int reserve(struct link_client *client, uint64_t bytes, struct tern_error *error)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return error_set(error, -ENOMEM, NULL, "out of memory for %llu bytes", (unsigned long long)bytes);
    client->memory = memory;
    client->memory_bytes = bytes;
    memset(memory, 0x5a, bytes); /* populated: a page that was never written reads as one and the same zero page */
    return 0;
}

int link_client_open(const char *command, const struct link_values *values, uint32_t n_lanes, uint64_t memory_bytes,
                     struct link_client **out, struct tern_error *error)
{
    struct link_client *client = calloc(1, sizeof(*client));
    int r;

    if (!client)
        return error_set(error, -ENOMEM, NULL, "out of memory for the client");
    pthread_mutex_init(&client->lock, NULL);
    client->options = (struct link_options){.device = values->device,
                                            .gid_index = values->gid_index,
                                            .n_lanes = n_lanes,
                                            .operation = values->read ? LINK_READ : LINK_WRITE,
                                            .queue_depth = (uint32_t)values->depth,
                                            .connect_timeout_ms = CONNECT_MS};
    r = reserve(client, memory_bytes, error);
    if (!r)
        r = connect_control(client, values, error);
    if (!r)
        r = say_hello(client, command, values, error);
    if (!r)
        r = hear_ack(client, error);
    if (!r)
        r = open_lanes(client, error);
    if (!r)
        r = register_memory(client, error);
    if (r)
        link_client_close(client);
    else
        *out = client;
    return r;
}

void link_client_close(struct link_client *client)
{
    struct link_source *link;

    if (!client)
        return;
    control_destroy(client->control);
    pthread_mutex_lock(&client->lock);
    link = client->link;
    client->link = NULL;
    pthread_mutex_unlock(&client->lock);
    if (link)
        client->provider->source_close(link);
    if (client->memory)
        munmap(client->memory, client->memory_bytes);
    pthread_mutex_destroy(&client->lock);
    free(client);
}

int link_client_finish(struct link_client *client, struct tern_error *error)
{
    struct wire_round_end end = {.round = client->round, .last = true};

    return control_send(client->control, WIRE_ROUND_END, client->message, wire_put_round_end(client->message, &end),
                        error);
}

int link_client_end_round(struct link_client *client, struct tern_error *error)
{
    struct wire_round_end end = {.round = client->round};
    struct wire_round_ack ack;
    struct control_frame frame;
    int r = control_send(client->control, WIRE_ROUND_END, client->message, wire_put_round_end(client->message, &end),
                         error);

    if (!r)
        r = expect(client, WIRE_ROUND_ACK, -1, &frame, error); /* bounded by the control channel's peer time-out */
    if (r)
        return r;
    if (wire_get_round_ack(frame.payload, frame.length_bytes, &ack) || ack.round != end.round)
        r = error_set(error, -EPROTO, NULL, "the server's ROUND_ACK is malformed or of another round");
    control_frame_free(&frame);
    return r;
}
