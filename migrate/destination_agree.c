/* SPDX-License-Identifier: BSD-2-Clause */
/* Phase 0 at the destination. Until the lanes are asked for, a source that does not fit is turned away and nothing of
 * this side has changed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "migrate/destination.h"
#include "migrate/layout.h"
#include "migrate/vm.h"
#include "transport/address.h"
#include "transport/clock.h"
#include "transport/error.h"

#define LANES_MS        10000
#define REGISTRAR_COUNT 2

int destination_bad_message(uint16_t type, struct tern_error *error)
{
    char buffer[16];

    error_set(error, -EPROTO, "both sides must run the same version of tern",
              "the source sent a %s message that is malformed or out of place", wire_type_name(type, buffer));
    return -EPROTO;
}

void destination_refuse(struct tern_destination *destination, const struct tern_error *error)
{
    control_send(destination->door.control, WIRE_REFUSE, destination->message,
                 wire_put_refuse(destination->message, error), NULL);
}

uint8_t *destination_memory(struct tern_destination *destination, uint32_t region, uint64_t *length_bytes)
{
    if (region < destination->vm->n_regions) {
        *length_bytes = destination->vm->regions[region].length_bytes;
        return destination->vm->regions[region].base;
    }
    *length_bytes = destination->state_capacity_bytes;
    return region == destination->vm->n_regions ? destination->state_buffer : NULL;
}

static int agree_on_chunks(struct tern_destination *destination, struct wire_hello_ack *ack, struct tern_error *error)
{
    struct link_limits limits = {0};
    int r = 0;

    if (destination->door.provider->limits)
        r = destination->door.provider->limits(ack->device, &limits, error);
    ack->chunk_bytes = chunk_bytes_agreed(destination->hello.chunk_bytes, vm_memory_bytes(destination->vm), &limits);
    destination->link_options.chunk_bytes = ack->chunk_bytes;
    return r;
}

static int choose_transport(struct tern_destination *destination, struct wire_hello_ack *ack,
                            const struct sockaddr *local, struct tern_error *error)
{
    struct tern_error why = {0};
    struct transport_choice here = {.wanted = destination->options.transport, .device = ack->device};
    int r;

    if (here.wanted != TERN_TRANSPORT_TCP)
        here.verbs_usable = !link_verbs.usable(&destination->link_options, local, TERN_SIDE_DESTINATION, ack->device,
                                               sizeof(ack->device), &why);
    if ((destination->options.device || destination->options.registration == TERN_REGISTER_ODP) &&
        here.wanted != TERN_TRANSPORT_TCP && !here.verbs_usable) {
        if (error) /* asked for by name: tcp would not be what was meant */
            *error = why;
        return why.code;
    }
    here.no_verbs = why.message;
    r = transport_choose(&destination->hello, &here, ack->reason, error);
    if (r < 0)
        return r;
    destination->door.provider = r == TERN_TRANSPORT_VERBS ? &link_verbs : &link_tcp;
    snprintf(ack->transport, sizeof(ack->transport), "%s", destination->door.provider->name);
    if (r == TERN_TRANSPORT_TCP)
        snprintf(ack->device, sizeof(ack->device), "tcp");
    return agree_on_chunks(destination, ack, error);
}

/* ---- registration ---- */

static int register_chunk(void *opaque, uint32_t region, uint64_t chunk, struct tern_error *error)
{
    struct tern_destination *destination = opaque;
    struct destination_door *door = &destination->door;
    struct wire_key key = {.region = region, .chunk = chunk};
    uint8_t message[64];
    uint64_t chunk_bytes = destination->link_options.chunk_bytes, begin_ns, bytes;
    struct tern_error why = {0};
    int r;

    destination_enter_node(destination, region, chunk);
    begin_ns = clock_now_ns();
    r = door->provider->destination_register_chunk(door->link, region, chunk, &key.key, &why);
    atomic_fetch_add(&destination->register_ns, clock_now_ns() - begin_ns);
    if (r < 0) {
        *error = why;
        return r;
    }
    destination_memory(destination, region, &bytes);
    bytes -= chunk * chunk_bytes;
    if (bytes > chunk_bytes)
        bytes = chunk_bytes;
    if (!r)
        atomic_fetch_add(&destination->registered_bytes, bytes);
    else if (!atomic_fetch_add(&destination->ring_bytes, bytes))
        events_warn_of_ring(&destination->events, &why);
    return control_send(door->control, WIRE_KEY, message, wire_put_keys(message, &key, 1), error);
}

/* Tell the source; it gives up, and that ends this side too. */
static void register_failed(void *opaque, const struct tern_error *error)
{
    struct tern_destination *destination = opaque;
    uint8_t message[TERN_ERROR_MESSAGE_BYTES + TERN_ERROR_HINT_BYTES + 16];

    events_warning(&destination->events, "%s", error->message);
    control_send(destination->door.control, WIRE_REFUSE, message, wire_put_refuse(message, error), NULL);
}

static int start_registration(struct tern_destination *destination, struct tern_error *error)
{
    uint64_t bytes[WIRE_REGIONS_MAX + 1];
    uint32_t n = destination->vm->n_regions + 1;
    struct registrar_config config = {.n_regions = n,
                                      .region_bytes = bytes,
                                      .chunk_bytes = destination->link_options.chunk_bytes,
                                      .n_threads = REGISTRAR_COUNT,
                                      .do_chunk = register_chunk,
                                      .failed = register_failed,
                                      .opaque = destination};

    for (uint32_t i = 0; i < n; i++)
        destination_memory(destination, i, &bytes[i]);
    return registrar_create(&config, &destination->registrar, error);
}

/* ---- lanes ---- */

static int reserve(struct tern_destination *destination, struct tern_error *error)
{
    void *buffer;

    if (destination->hello.state_capacity_bytes > STATE_CAPACITY_MAX || !destination->hello.state_capacity_bytes)
        return error_set(error, -EINVAL, NULL, "the source wants room for %llu bytes of device state",
                         (unsigned long long)destination->hello.state_capacity_bytes);
    destination->state_capacity_bytes = destination->hello.state_capacity_bytes;
    buffer = mmap(NULL, destination->state_capacity_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return error_set(error, -ENOMEM, NULL, "out of memory for the device state");
    destination->state_buffer = buffer;
    if (!destination->hello.verify)
        return 0;
    return verifier_create(destination->vm->regions, destination->vm->n_regions, &destination->verifier, error);
}

static int expose(struct tern_destination *destination, struct link_destination *link, uint32_t index,
                  struct tern_error *error)
{
    const struct link_provider *provider = destination->door.provider;
    const struct tern_region *region = index < destination->vm->n_regions ? &destination->vm->regions[index] : NULL;
    uint64_t length;
    uint8_t *base = destination_memory(destination, index, &length);
    int r = provider->destination_expose(link, index, base, length, error);

    if (!r && region && region->file_fd > 0 && region->page_bytes == TERN_PAGE_BYTES && provider->destination_file)
        r = provider->destination_file(link, index, region->file_fd, region->file_offset_bytes, error);
    return r;
}

static int open_link(struct tern_destination *destination, struct wire_hello_ack *ack, const struct sockaddr *local,
                     struct tern_error *error)
{
    struct destination_door *door = &destination->door;
    struct link_destination *link;
    int r;

    if (getrandom(ack->token, sizeof(ack->token), 0) != sizeof(ack->token))
        return error_set(error, -EIO, NULL, "no random numbers for the token");
    r = door->provider->destination_open(&destination->link_options, local, ack->token, &ack->port, &link, error);
    if (r)
        return r;
    if (door->provider->destination_rails)
        ack->n_rails = door->provider->destination_rails(link, ack->rails);
    if (door->provider->destination_device)
        snprintf(ack->device, sizeof(ack->device), "%.31s", door->provider->destination_device(link));
    for (uint32_t i = 0; i <= destination->vm->n_regions && !r; i++)
        r = expose(destination, link, i, error);
    if (r) {
        door->provider->destination_close(link);
        return r;
    }
    pthread_mutex_lock(&door->lock);
    memcpy(door->token, ack->token, sizeof(door->token));
    memcpy(door->session, destination->hello.session, sizeof(door->session));
    door->n_lanes = destination->hello.n_lanes;
    door->link = link;
    pthread_mutex_unlock(&door->lock);
    if (control_lost(door->control)) /* before there was a link to abort */
        return error_set(error, -ECONNRESET, NULL, "the source is gone");
    return destination_check_cancelled(destination, error);
}

static void note_agreement(struct tern_destination *destination, const struct wire_hello_ack *ack)
{
    struct tern_result *result = &destination->result;

    snprintf(result->transport, sizeof(result->transport), "%s", ack->transport);
    snprintf(result->transport_reason, sizeof(result->transport_reason), "%s", ack->reason);
    snprintf(result->device, sizeof(result->device), "%s", ack->device);
    address_text((const struct sockaddr *)control_peer(destination->door.control), result->peer);
    result->lanes = destination->hello.n_lanes;
    destination->events.transport = result->transport;
    destination->events.device = result->device;
}

int destination_agree(struct tern_destination *destination, struct tern_error *error)
{
    struct destination_door *door = &destination->door;
    struct sockaddr_storage local = *control_local(door->control);
    struct wire_hello_ack ack = {0};
    const struct wire_hello *hello = &destination->hello;
    const struct tern_vm *vm = destination->vm;
    int r = layout_check(hello, vm, error);

    if (!r && vm->check_profile)
        r = VM_ASK(vm->check_profile(vm->opaque, hello->profile, hello->profile_bytes, error), "check_profile",
                   TERN_SIDE_DESTINATION, error);
    if (r)
        return r;
    address_unmap(&local);
    destination->link_options =
        (struct link_options){.device = destination->options.device,
                              .gid_index = destination->options.gid_index,
                              .n_lanes = hello->n_lanes,
                              .registration = (enum link_register)destination->options.registration,
                              .peer_timeout_ms = destination->options.peer_timeout_ms,
                              .connect_timeout_ms = LANES_MS};
    r = choose_transport(destination, &ack, (struct sockaddr *)&local, error);
    if (!r)
        r = reserve(destination, error);
    if (!r)
        destination_place(destination);
    if (!r)
        r = open_link(destination, &ack, (struct sockaddr *)&local, error);
    if (!r && vm->inhibit_discards)
        r = VM_ASK(vm->inhibit_discards(vm->opaque, true, error), "inhibit_discards", TERN_SIDE_DESTINATION, error);
    destination->inhibited = !r && vm->inhibit_discards;
    if (!r && door->provider->needs_registration)
        r = start_registration(destination, error);
    if (!r && vm->prepare)
        r = VM_ASK(vm->prepare(vm->opaque, error), "prepare", TERN_SIDE_DESTINATION, error);
    if (!r)
        r = control_send(door->control, WIRE_HELLO_ACK, destination->message,
                         wire_put_hello_ack(destination->message, &ack), error);
    if (r)
        return r;
    note_agreement(destination, &ack);
    return door->provider->wait_lanes(door->link, error);
}
