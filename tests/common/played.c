/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/common/played.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/digest.h"
#include "migrate/digest_table.h"
#include "transport/address.h"
#include "transport/preamble.h"

#define PATIENT_MS 20000

void played_send(struct played *played, enum wire_type type, size_t length)
{
    struct tern_error error = {0};

    cr_assert_eq(control_send(played->control, type, played->message, length, &error), 0, "%s", error.message);
}

struct control_frame played_expect(struct played *played, enum wire_type type)
{
    struct tern_error error = {0};
    struct control_frame frame;
    char name[16], other[16];

    cr_assert_eq(control_receive(played->control, PATIENT_MS, &frame, &error), 0, "no %s: %s",
                 wire_type_name(type, name), error.message);
    cr_assert_eq(frame.type, type, "%s instead of %s", wire_type_name(frame.type, other), wire_type_name(type, name));
    return frame;
}

void played_expect_plain(struct played *played, enum wire_type type)
{
    struct control_frame frame = played_expect(played, type);

    control_frame_free(&frame);
}

void played_expect_refusal(struct played *played, const char *words)
{
    struct control_frame frame = played_expect(played, WIRE_REFUSE);
    struct wire_refuse refuse;

    cr_assert_eq(wire_get_refuse(frame.payload, frame.length_bytes, &refuse), 0);
    cr_assert_not_null(strstr(refuse.message, words), "%s", refuse.message);
    control_frame_free(&frame);
}

void played_close(struct played *played)
{
    listener_destroy(played->listener);
    control_destroy(played->control);
    link_tcp.source_close(played->source_lanes);
    link_tcp.destination_close(played->destination_lanes);
}

/* ---- the source is played ---- */

void played_hello(struct played *played, struct pair *pair)
{
    struct wire_hello *hello = &played->hello;

    *played = (struct played){.pair = pair};
    *hello = (struct wire_hello){.transports = WIRE_CAN_TCP,
                                 .n_lanes = 1,
                                 .chunk_bytes = 16 << 20,
                                 .state_capacity_bytes = PLAYED_STATE_BYTES,
                                 .peer_timeout_ms = 4000,
                                 .reconnect_ms = 500,
                                 .verify = true,
                                 .n_regions = pair->source_vm.n_regions};
    strcpy(hello->kind, pair->source_vm.kind);
    strcpy(hello->program, "a test");
    memset(hello->session, 0x51, sizeof(hello->session));
    for (uint32_t i = 0; i < hello->n_regions; i++) {
        const struct tern_region *region = &pair->source_vm.regions[i];

        hello->regions[i] = (struct wire_region){region->guest_address, region->length_bytes, region->page_bytes, ""};
        strcpy(hello->regions[i].name, region->name);
    }
}

void played_dial(struct played *played)
{
    const struct tern_options *options = &played->pair->source_options;
    struct preamble preamble = {.kind = PREAMBLE_CONTROL};
    uint8_t bytes[PREAMBLE_BYTES];
    struct control *control;
    int fd;

    memcpy(preamble.token, played->hello.session, sizeof(preamble.token));
    preamble_encode(&preamble, bytes);
    cr_assert_eq(address_connect(options->host, options->port, PATIENT_MS, NULL, NULL, &fd, NULL), 0);
    cr_assert_eq(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
    cr_assert_eq(control_create(fd, 4000, NULL, NULL, &control, NULL), 0);
    played->control = control;
    played_send(played, WIRE_HELLO, wire_put_hello(played->message, &played->hello));
}

void played_connect(struct played *played)
{
    struct link_options options = {.gid_index = -1, .n_lanes = 1, .chunk_bytes = 16 << 20, .connect_timeout_ms = 5000};
    struct control_frame frame = played_expect(played, WIRE_HELLO_ACK);
    const struct tern_vm *vm = &played->pair->source_vm;
    struct tern_error error = {0};

    cr_assert_eq(wire_get_hello_ack(frame.payload, frame.length_bytes, &played->ack), 0);
    control_frame_free(&frame);
    cr_assert_eq(link_tcp.source_open(&options, (const struct sockaddr *)control_peer(played->control),
                                      played->ack.token, &played->source_lanes, &error),
                 0, "%s", error.message);
    for (uint32_t i = 0; i < vm->n_regions; i++)
        link_tcp.source_add(played->source_lanes, i, vm->regions[i].base, vm->regions[i].length_bytes, NULL);
    link_tcp.source_add(played->source_lanes, vm->n_regions, played->state, sizeof(played->state), NULL);
}

static void fence(struct played *played, uint32_t round)
{
    cr_assert_eq(link_tcp.fence(played->source_lanes, 0, round, NULL), 0);
    cr_assert_eq(link_tcp.wait(played->source_lanes, 0, LINK_WAIT_DRAINED, PATIENT_MS, NULL), 0);
}

void played_round(struct played *played, uint32_t round, bool last, const uint64_t *digests)
{
    struct wire_round_end end = {.round = round, .last = last};

    if (digests) {
        end.n_digests = played->hello.n_regions;
        memcpy(end.digests, digests, end.n_digests * sizeof(*digests));
    }
    fence(played, round);
    played_send(played, WIRE_ROUND_END, wire_put_round_end(played->message, &end));
}

void played_prepare(struct played *played, uint32_t round)
{
    const struct tern_vm *vm = &played->pair->source_vm;
    struct link_run run = {.region = vm->n_regions};
    struct wire_prepare prepare = {.round = round};
    size_t length;

    cr_assert_eq(vm->save_state(vm->opaque, played->state, sizeof(played->state), &length, NULL), 0);
    prepare.state_bytes = run.length_bytes = length;
    prepare.state_digest = digest_bytes(played->state, length);
    cr_assert_eq(link_tcp.post(played->source_lanes, 0, &run, 1, NULL), 1);
    fence(played, round);
    played_send(played, WIRE_PREPARE, wire_put_prepare(played->message, &prepare));
}

uint64_t played_zero_digest(const struct tern_region *region)
{
    struct digest_table table;
    uint64_t root;

    cr_assert_eq(digest_table_init(&table, region->length_bytes / TERN_PAGE_BYTES, NULL), 0);
    root = digest_table_root(&table);
    digest_table_free(&table);
    return root;
}

/* ---- the destination is played ---- */

static void on_connection(void *opaque, int fd, const struct preamble *preamble)
{
    struct played *played = opaque;
    struct control *control;

    if (preamble->kind == PREAMBLE_LANE)
        link_tcp.destination_adopt(played->destination_lanes, preamble->lane, fd, NULL);
    else if (played->control || control_create(fd, 4000, NULL, NULL, &control, NULL))
        close(fd);
    else
        played->control = control;
}

static void on_stranger(void *opaque, int fd, const struct tern_error *error)
{
    (void)opaque, (void)fd, (void)error;
}

static void *source_main(void *argument)
{
    struct pair *pair = argument;

    pair->source_code = tern_source_run(pair->source_session, &pair->source_result, &pair->source_error);
    return NULL;
}

void played_start_source(struct played *played, struct pair *pair, uint16_t port)
{
    played->pair = pair;
    pair->source_options.port = port;
    process_guest_start(pair->source);
    pair->source_result.struct_bytes = sizeof(pair->source_result);
    cr_assert_eq(tern_source_create(&pair->source_vm, &pair->source_options, &pair->source_session, NULL), 0);
    cr_assert_eq(pthread_create(&played->source_thread, NULL, source_main, pair), 0);
}

void played_listen(struct played *played, struct pair *pair)
{
    struct listener_handler handler = {on_connection, on_stranger, played};
    struct link_options options = {.gid_index = -1, .connect_timeout_ms = PATIENT_MS};
    struct wire_hello_ack ack = {.transport = "tcp", .reason = "a test", .device = "tcp"};
    const struct tern_vm *vm = &pair->destination_vm;
    struct link_destination *lanes;
    struct control_frame frame;
    uint16_t none;

    *played = (struct played){.pair = pair};
    cr_assert_eq(listener_create(pair->source_options.host, 0, &handler, &played->listener, NULL), 0);
    played_start_source(played, pair, listener_port(played->listener));
    for (int ms = 0; ms < PATIENT_MS && !played->control; ms++)
        usleep(1000);
    cr_assert_not_null(played->control);
    frame = played_expect(played, WIRE_HELLO);
    cr_assert_eq(wire_get_hello(frame.payload, frame.length_bytes, &played->hello), 0);
    control_frame_free(&frame);
    options.n_lanes = played->hello.n_lanes;
    options.chunk_bytes = ack.chunk_bytes = played->hello.chunk_bytes;
    cr_assert_eq(link_tcp.destination_open(&options, NULL, ack.token, &none, &lanes, NULL), 0);
    for (uint32_t i = 0; i < vm->n_regions; i++)
        link_tcp.destination_expose(lanes, i, vm->regions[i].base, vm->regions[i].length_bytes, NULL);
    link_tcp.destination_expose(lanes, vm->n_regions, played->state, sizeof(played->state), NULL);
    played->destination_lanes = lanes;
    played_send(played, WIRE_HELLO_ACK, wire_put_hello_ack(played->message, &ack));
    cr_assert_eq(link_tcp.wait_lanes(lanes, NULL), 0);
}

void played_until(struct played *played, enum wire_type type, bool acknowledge_last)
{
    for (;;) {
        struct wire_round_end end = {0};
        struct control_frame frame;
        uint16_t came;

        cr_assert_eq(control_receive(played->control, PATIENT_MS, &frame, NULL), 0);
        came = frame.type;
        if (came == WIRE_ROUND_END)
            cr_assert_eq(wire_get_round_end(frame.payload, frame.length_bytes, &end), 0);
        control_frame_free(&frame);
        if (came == type || (end.last && !acknowledge_last))
            return;
        if (came == WIRE_ROUND_END) {
            struct wire_round_ack ack = {.round = end.round};

            if (played->destination_lanes)
                cr_assert_eq(link_tcp.wait_fence(played->destination_lanes, end.round, PATIENT_MS, NULL), 0);
            played_send(played, WIRE_ROUND_ACK, wire_put_round_ack(played->message, &ack));
        }
    }
}

void played_join_source(struct played *played)
{
    pthread_join(played->source_thread, NULL);
    tern_source_destroy(played->pair->source_session);
}
