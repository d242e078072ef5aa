/* SPDX-License-Identifier: BSD-2-Clause */
/* Phase 0: connect, agree on layout and transport, connect the lanes, start registration. Nothing of the guest is
 * touched. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "migrate/source.h"
#include "migrate/vm.h"
#include "transport/address.h"
#include "transport/clock.h"
#include "transport/error.h"
#include "transport/preamble.h"

#define CONNECT_MS      5000
#define HELLO_MS        10000
#define LANES_AUTO_MAX  4
#define REGISTRAR_COUNT 2

/* A cancel that came after the commit is too late, and must not keep the source from finding the destination. */
static bool cancelled(void *opaque)
{
    struct source *source = opaque;

    return atomic_load(&source->cancelled) && handover_can_cancel(&source->handover);
}

static void control_is_lost(void *opaque, int code)
{
    (void)code;
    source_unblock(opaque);
}

/* ---- the control channel ---- */

int source_connect(struct source *source, uint32_t timeout_ms, struct tern_error *error)
{
    struct preamble preamble = {.kind = PREAMBLE_CONTROL};
    uint8_t bytes[PREAMBLE_BYTES];
    struct control *control;
    int fd, r;

    r = address_connect(source->options.host, source->options.port, timeout_ms, cancelled, source, &fd, error);
    if (r)
        return r;
    memcpy(preamble.token, source->session, sizeof(preamble.token));
    preamble_encode(&preamble, bytes);
    if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes)) {
        close(fd);
        return error_set(error, -ECONNRESET, NULL, "the destination closed the connection at once");
    }
    r = control_create(fd, source->options.peer_timeout_ms, control_is_lost, source, &control, error);
    if (r)
        return r;
    pthread_mutex_lock(&source->lock);
    source->control = control;
    pthread_mutex_unlock(&source->lock);
    return 0;
}

void source_disconnect(struct source *source)
{
    struct control *control;

    pthread_mutex_lock(&source->lock);
    control = source->control;
    source->control = NULL;
    pthread_mutex_unlock(&source->lock);
    control_destroy(control);
}

/* ---- agreement ---- */

/* What this side can use towards the destination, and why not verbs if not. */
static int wishes(struct source *source, struct wire_hello *hello, struct tern_error *error)
{
    struct sockaddr_storage peer = *control_peer(source->control);
    char device[TERN_NAME_BYTES];
    struct tern_error why = {0};
    int r;

    address_unmap(&peer);
    hello->transports = WIRE_CAN_TCP;
    if (source->options.transport == TERN_TRANSPORT_TCP) {
        snprintf(hello->no_verbs, sizeof(hello->no_verbs), "asked for");
        return 0;
    }
    r = link_verbs.usable(&source->link_options, (struct sockaddr *)&peer, TERN_SIDE_SOURCE, device, sizeof(device),
                          &why);
    if (!r) {
        hello->transports |= WIRE_CAN_VERBS;
        r = link_verbs.limits(device, &source->limits, error);
        if (r)
            return r;
    } else if (source->options.transport == TERN_TRANSPORT_VERBS || source->options.device ||
               source->options.registration == TERN_REGISTER_ODP) {
        if (error)
            *error = why;
        error_side(error, TERN_SIDE_SOURCE);
        return r;
    } else {
        snprintf(hello->no_verbs, sizeof(hello->no_verbs), "%.127s", why.message);
    }
    if (source->options.transport == TERN_TRANSPORT_VERBS)
        hello->transports = WIRE_CAN_VERBS;
    return 0;
}

static int take_profile(const struct tern_vm *vm, struct wire_hello *hello, struct tern_error *error)
{
    size_t length_bytes = 0;
    int r;

    if (!vm->save_profile)
        return 0;
    r = VM_ASK(vm->save_profile(vm->opaque, hello->profile, sizeof(hello->profile), &length_bytes, error),
               "save_profile", TERN_SIDE_SOURCE, error);
    if (!r && length_bytes > sizeof(hello->profile))
        r = error_set(error, -EINVAL, NULL, "the VMM's profile of the guest has %zu bytes, %u at most", length_bytes,
                      TERN_PROFILE_BYTES);
    hello->profile_bytes = r ? 0 : (uint32_t)length_bytes;
    return r;
}

static int say_hello(struct source *source, struct tern_error *error)
{
    struct wire_hello hello = {.n_lanes = source->link_options.n_lanes, .verify = source->options.verify};
    int r = wishes(source, &hello, error);

    if (!r)
        r = take_profile(source->vm, &hello, error);
    if (r)
        return r;
    memcpy(hello.session, source->session, sizeof(hello.session));
    snprintf(hello.kind, sizeof(hello.kind), "%s", source->vm->kind);
    snprintf(hello.program, sizeof(hello.program), "tern %s", TERN_VERSION);
    hello.chunk_bytes = chunk_bytes_for(vm_memory_bytes(source->vm), &source->limits);
    hello.state_capacity_bytes = source->state_capacity_bytes;
    hello.peer_timeout_ms = source->options.peer_timeout_ms;
    hello.reconnect_ms = source->options.reconnect_ms;
    hello.n_residence = locality_runs(source->locality, &source->guest, hello.residence);
    hello.n_regions = source->vm->n_regions;
    for (uint32_t i = 0; i < hello.n_regions; i++) {
        const struct tern_region *region = &source->vm->regions[i];

        hello.regions[i] = (struct wire_region){region->guest_address, region->length_bytes, region->page_bytes, ""};
        snprintf(hello.regions[i].name, sizeof(hello.regions[i].name), "%s", region->name);
    }
    return source_send(source, WIRE_HELLO, wire_put_hello(source->message, &hello), error);
}

static int await_ack(struct source *source, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms(HELLO_MS);
    int r = 0;

    while (!source->inbox.acknowledged && (!r || r == -ETIMEDOUT)) {
        if (!clock_left_ms(deadline_ns))
            return error_set(error, -ETIMEDOUT, "check that a tern destination listens there",
                             "no answer to HELLO within %d s", HELLO_MS / 1000);
        r = source_pump(source, 200, error);
    }
    return source->inbox.acknowledged ? 0 : r;
}

/* ---- lanes and registration ---- */

/* On a host with several NUMA nodes the plan says which rail a lane rides, of those that something here reaches: the
 * nearest to the node whose memory it sends. rail has an entry a lane; returns whether it was filled in. */
static bool plan_lanes_and_rails(struct source *source, const struct sockaddr *peer, uint8_t *rail)
{
    char device[LINK_RAILS_MAX][LINK_DEVICE_BYTES];
    const char *reached[LINK_RAILS_MAX];
    uint8_t number[LINK_RAILS_MAX];
    uint32_t n = 0, n_rails = 0;

    if (!source->locality)
        return false;
    if (source->provider->source_rails)
        n_rails = source->provider->source_rails(&source->link_options, peer, device);
    for (uint32_t i = 0; i < n_rails; i++)
        if (device[i][0]) {
            reached[n] = device[i];
            number[n++] = (uint8_t)i;
        }
    locality_plan(source->locality, source->link_options.n_lanes, reached, n);
    for (uint32_t i = 0; i < source->link_options.n_lanes && n; i++)
        rail[i] = number[source->locality->plan.workers[i].rail];
    return n > 0;
}

static int open_lanes(struct source *source, struct tern_error *error)
{
    const struct wire_hello_ack *ack = &source->inbox.ack;
    uint8_t lane_rail[LINK_LANES_MAX];
    struct sockaddr_storage peer = *control_peer(source->control);
    struct link_source *link;
    int r;

    source->chunk_bytes = source->link_options.chunk_bytes = ack->chunk_bytes;
    if (source->limits.chunk_bytes_max && ack->chunk_bytes > source->limits.chunk_bytes_max)
        return error_set(error, -EOPNOTSUPP, "use --transport tcp",
                         "the destination registers memory in pieces of %llu bytes, this side's device takes %llu",
                         (unsigned long long)ack->chunk_bytes, (unsigned long long)source->limits.chunk_bytes_max);
    if (!strcmp(ack->transport, link_verbs.name))
        source->provider = &link_verbs;
    else if (!strcmp(ack->transport, link_tcp.name))
        source->provider = &link_tcp;
    else
        return error_set(error, -EPROTO, NULL, "the destination chose transport '%s', which is unknown here",
                         ack->transport);
    address_unmap(&peer);
    if (ack->port)
        address_set_port(&peer, ack->port);
    source->link_options.rails = ack->rails;
    source->link_options.n_rails = ack->n_rails;
    if (plan_lanes_and_rails(source, (struct sockaddr *)&peer, lane_rail))
        source->link_options.lane_rail = lane_rail;
    r = source->provider->source_open(&source->link_options, (struct sockaddr *)&peer, ack->token, &link, error);
    source->link_options.lane_rail = NULL;
    if (r)
        return r;
    for (uint32_t i = 0; i < source->vm->n_regions && !r; i++)
        r = source->provider->source_add(link, i, source->vm->regions[i].base, source->vm->regions[i].length_bytes,
                                         error);
    if (!r)
        r = source->provider->source_add(link, source->vm->n_regions, source->state_buffer,
                                         source->state_capacity_bytes, error);
    if (r) {
        source->provider->source_close(link);
        return r;
    }
    pthread_mutex_lock(&source->lock);
    source->link = link;
    pthread_mutex_unlock(&source->lock);
    return control_lost(source->control) ? -ECONNRESET : 0;
}

static int register_local(void *opaque, uint32_t region, uint64_t chunk, struct tern_error *error)
{
    struct source *source = opaque;
    uint64_t bytes =
        region < source->vm->n_regions ? source->vm->regions[region].length_bytes : source->state_capacity_bytes;
    uint64_t left = bytes - chunk * source->chunk_bytes, begin_ns;
    struct tern_error why = {0};
    int r;

    if (source->locality && region < source->vm->n_regions)
        locality_enter_node(source->locality,
                            source->guest.regions[region].first_unit + chunk * source->chunk_bytes / WIRE_UNIT_BYTES);
    begin_ns = clock_now_ns();
    r = source->provider->source_register_chunk(source->link, region, chunk, &why);

    atomic_fetch_add(&source->register_ns, clock_now_ns() - begin_ns);
    if (r < 0) {
        *error = why;
        error_side(error, TERN_SIDE_SOURCE);
        return r;
    }
    bytes = left < source->chunk_bytes ? left : source->chunk_bytes;
    if (!r)
        atomic_fetch_add(&source->registered_bytes, bytes);
    else if (!atomic_fetch_add(&source->ring_bytes, bytes))
        events_warn_of_ring(&source->events, &why);
    chunks_mark(source->chunks, region, chunk, CHUNK_LOCAL);
    return 0;
}

static void register_failed(void *opaque, const struct tern_error *error)
{
    source_fail_async(opaque, error);
    source_unblock(opaque);
}

/* A page that is read when it is sent may be discarded: only pinned ones would be lost sight of. */
static int inhibit_discards(struct source *source, struct tern_error *error)
{
    const struct tern_vm *vm = source->vm;
    int r;

    if (!vm->inhibit_discards)
        return 0;
    r = VM_ASK(vm->inhibit_discards(vm->opaque, true, error), "inhibit_discards", TERN_SIDE_SOURCE, error);
    source->inhibited = !r;
    return r;
}

static int start_registration(struct source *source, struct tern_error *error)
{
    uint64_t bytes[WIRE_REGIONS_MAX + 1];
    uint32_t n = source->vm->n_regions;
    struct registrar_config config = {.n_regions = n + 1,
                                      .region_bytes = bytes,
                                      .chunk_bytes = source->chunk_bytes,
                                      .n_threads = REGISTRAR_COUNT,
                                      .do_chunk = register_local,
                                      .failed = register_failed,
                                      .opaque = source};
    struct chunks *chunks = NULL;
    int r;

    for (uint32_t i = 0; i < n; i++)
        bytes[i] = source->vm->regions[i].length_bytes;
    bytes[n] = source->state_capacity_bytes;
    r = chunks_create(n + 1, bytes, source->chunk_bytes, &chunks, error);
    if (r)
        return r;
    pthread_mutex_lock(&source->lock);
    source->chunks = chunks;
    pthread_mutex_unlock(&source->lock);
    return registrar_create(&config, &source->registrar, error);
}

int source_want(void *opaque, uint32_t region, uint64_t chunk, struct tern_error *error)
{
    struct source *source = opaque;
    struct wire_chunk want = {region, chunk};
    uint8_t message[32];
    int r = registrar_want(source->registrar, region, chunk);

    if (r <= 0)
        return r;
    return control_send(source->control, WIRE_WANT, message, wire_put_want(message, &want, 1), error);
}

/* Ask in the order in which the workers will come to them: device state's first, then each chunk with dirty pages. */
int source_want_touched(struct source *source, struct tern_error *error)
{
    uint64_t chunk_pages = source->chunk_bytes / TERN_PAGE_BYTES;
    int r = 0;

    if (!source->chunks)
        return 0;
    for (uint64_t at = 0; at < source->state_capacity_bytes && !r; at += source->chunk_bytes)
        r = source_want(source, source->vm->n_regions, at / source->chunk_bytes, error);
    for (uint32_t i = 0; i < source->guest.n_regions; i++) {
        const struct guest_region *g = &source->guest.regions[i];

        for (uint64_t page = 0; page < g->n_pages && !r; page += chunk_pages) {
            uint64_t end = page + chunk_pages < g->n_pages ? page + chunk_pages : g->n_pages;
            uint64_t first, n;

            if (bitmap_next_run(g->dirty, page, end, &first, &n))
                r = source_want(source, i, page / chunk_pages, error);
        }
    }
    return r;
}

int source_register_all(struct source *source, struct tern_error *error)
{
    int r = 0;

    if (!source->chunks)
        return 0;
    for (uint32_t i = 0; i < source->guest.n_regions; i++) /* ask for all, then wait for all */
        for (uint64_t at = 0; at < source->vm->regions[i].length_bytes && r >= 0; at += source->chunk_bytes)
            r = source_want(source, i, at / source->chunk_bytes, error);
    for (uint32_t i = 0; i < source->guest.n_regions; i++)
        for (uint64_t at = 0; at < source->vm->regions[i].length_bytes; at += source->chunk_bytes)
            while ((!r || r == -ETIMEDOUT) && !chunks_ready(source->chunks, i, at / source->chunk_bytes))
                r = source_pump(source, 100, error);
    return r == -ETIMEDOUT ? 0 : r;
}

/* ---- all of it ---- */

/* Where memory is on several nodes, each has a lane of its own; who asked for fewer gets them. */
static int locate(struct source *source, struct tern_error *error)
{
    int r = locality_create(&source->guest, &source->locality, error);

    if (r || !source->locality)
        return r;
    locality_report(&source->locality->found, &source->result);
    if (!source->options.lanes)
        source->link_options.n_lanes = locality_lanes(source->locality, source->link_options.n_lanes);
    return 0;
}

static uint32_t names_in(const char *devices)
{
    uint32_t n = devices ? 1 : 0;

    for (const char *at = devices; at && *at; at++)
        n += *at == ',';
    return n < LINK_RAILS_MAX ? n : LINK_RAILS_MAX;
}

/* Lanes by a rule; transport/verbs/tune.c says why they are not probed. */
static void choose(struct source *source)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t lanes = source->options.lanes;

    if (!lanes)
        lanes = cores < 1 ? 1 : cores > LANES_AUTO_MAX ? LANES_AUTO_MAX : (uint32_t)cores;
    if (!source->options.lanes && lanes < names_in(source->options.device))
        lanes = names_in(source->options.device); /* a lane for each rail at least */
    source->pacer.bandwidth_bps = source->options.bandwidth_bps;
    source->state_capacity_bytes = vm_state_capacity(source->vm);
    source->link_options = (struct link_options){.device = source->options.device,
                                                 .gid_index = source->options.gid_index,
                                                 .n_lanes = lanes,
                                                 .queue_depth = source->options.queue_depth,
                                                 .registration = (enum link_register)source->options.registration,
                                                 .peer_timeout_ms = source->options.peer_timeout_ms,
                                                 .connect_timeout_ms = CONNECT_MS};
}

static int reserve(struct source *source, struct tern_error *error)
{
    void *buffer = mmap(NULL, source->state_capacity_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (buffer == MAP_FAILED)
        return error_set(error, -ENOMEM, NULL, "out of memory for the device state");
    source->state_buffer = buffer;
    return guest_init(&source->guest, source->vm->regions, source->vm->n_regions, source->options.verify, error);
}

static void note_agreement(struct source *source)
{
    struct tern_result *result = &source->result;

    snprintf(result->transport, sizeof(result->transport), "%s", source->provider->name);
    snprintf(result->transport_reason, sizeof(result->transport_reason), "%s", source->inbox.ack.reason);
    snprintf(result->device, sizeof(result->device), "%s", source->provider->source_device(source->link));
    snprintf(result->tracker, sizeof(result->tracker), "%s", source->vm->tracker.ops->name);
    address_text((const struct sockaddr *)control_peer(source->control), result->peer);
    result->lanes = source->link_options.n_lanes;
    source->events.transport = result->transport;
    if (names_in(result->device) < source->inbox.ack.n_rails + 1)
        events_warning(&source->events,
                       "the destination has %u rails, the lanes ride %s only: nothing here reaches the rest",
                       source->inbox.ack.n_rails + 1, result->device);
    source->events.device = result->device;
}

int source_initiate(struct source *source, struct tern_error *error)
{
    int r;

    events_phase(&source->events, TERN_PHASE_INITIATE);
    choose(source);
    r = reserve(source, error);
    if (!r)
        r = locate(source, error);
    if (!r)
        r = source_connect(source, CONNECT_MS, error);
    if (!r)
        r = say_hello(source, error);
    if (!r)
        r = await_ack(source, error);
    if (!r)
        r = open_lanes(source, error);
    if (r)
        return r;
    note_agreement(source);
    if (!source->provider->needs_registration)
        return 0;
    if (source->options.registration <= TERN_REGISTER_PIN)
        r = inhibit_discards(source, error);
    return r ? r : start_registration(source, error);
}
