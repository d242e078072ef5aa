/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes the inputs from which fuzzing begins, one good one of each kind: seeds FOLDER makes FOLDER/fuzz_NAME/0, 1 ...
 */
#include <string.h>
#include <sys/stat.h>

#include "migrate/image_format.h"
#include "migrate/wire.h"
#include "tests/fuzz/fuzz.h"
#include "transport/preamble.h"
#include "transport/tcp/frame.h"
#include "transport/verbs/verbs.h"

static uint8_t bytes[WIRE_BUFFER_BYTES + 8];
static const char *folder;

static void save(const char *target, uint32_t number, size_t length)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, target);
    mkdir(path, 0777);
    snprintf(path, sizeof(path), "%s/%s/%u", folder, target, number);
    f = fopen(path, "w");
    MUST(f && fwrite(bytes, 1, length, f) == length && !fclose(f));
}

/* In the order of the decoders in fuzz_wire.c. */
static void save_wire(size_t length)
{
    static uint8_t number;

    bytes[0] = number;
    save("fuzz_wire", number++, length + 1);
}

static void save_messages(uint8_t *at)
{
    static struct wire_hello hello = {.kind = "vmm 1",
                                      .program = "tern",
                                      .transports = WIRE_CAN_TCP,
                                      .no_verbs = "no device",
                                      .n_lanes = 3,
                                      .chunk_bytes = 16 << 20,
                                      .n_regions = 2,
                                      .regions = {{0, 3 << 20, 4096, "low"}, {4ull << 30, 1 << 20, 4096, "high"}},
                                      .profile_bytes = 5,
                                      .n_residence = 2,
                                      .residence = {{0, 0, 2, 1}, {1, 0, 1, 0}}};
    struct wire_hello_ack ack = {.transport = "verbs",
                                 .token = {1, 2, 3},
                                 .port = 7471,
                                 .chunk_bytes = 16 << 20,
                                 .n_rails = 1,
                                 .rails = {{.ss_family = AF_INET}}};
    struct tern_error error = {.code = -1, .message = "no", .hint = "try"};
    struct wire_ask asked = {1, true, 512, 2};
    uint64_t entries[2] = {21, 22};

    save_wire(wire_put_hello(at, &hello));
    save_wire(wire_put_hello_ack(at, &ack));
    save_wire(wire_put_refuse(at, &error));
    save_wire(wire_put_want(at, (struct wire_chunk[]){{1, 7}, {0, 2}}, 2));
    save_wire(wire_put_keys(at, (struct wire_key[]){{1, 2, {4096, {99}}}}, 1));
    save_wire(wire_put_list(at, 9, 1, WIRE_LIST_CLEAR, (struct wire_run[]){{0, 5}, {77, 1}}, 2));
    save_wire(wire_put_round_end(at, &(struct wire_round_end){3, true, 2, {11, 12}}));
    save_wire(wire_put_round_ack(at, &(struct wire_round_ack){4, 5, 6}));
    save_wire(wire_put_ask(at, &asked));
    save_wire(wire_put_digests(at, &asked, entries));
    save_wire(wire_put_prepare(at, &(struct wire_prepare){5, 100, 200}));
    save_wire(wire_put_query(at, hello.session));
    save_wire(wire_put_standing(at, WIRE_STANDING_READY));
    preamble_encode(&(struct preamble){.kind = PREAMBLE_LANE, .lane = 1, .n_lanes = 2}, at);
    save_wire(PREAMBLE_BYTES);
    frame_encode(&(struct frame){FRAME_WRITE, 0, 4096, 8192}, at);
    save_wire(FRAME_BYTES);
    verbs_hello_encode(&(struct verbs_hello){1, 2, {3}}, at);
    save_wire(VERBS_HELLO_BYTES);
    verbs_refusal_encode(&(struct verbs_refusal){VERBS_REASON_LANE, 12}, at);
    save_wire(VERBS_REFUSAL_BYTES);
    verbs_welcome_encode(&(struct verbs_welcome){VERBS_SLOT_BYTES, 12}, at);
    save_wire(VERBS_WELCOME_BYTES);
    memcpy(at, &(struct verbs_header){1, 3, 4096}, sizeof(struct verbs_header));
    save_wire(sizeof(struct verbs_header) + 3);
    save_wire(wire_put_lane(at, 3));
}

static void save_control(void)
{
    static const uint8_t frames[] = {3, 0, 0, 0, 17, 0, 0, 0, 'a', 'b', 'c', 0, 0, 0,
                                     0, 1, 0, 0, 0,  1, 0, 0, 0,   18,  0,   0, 0, 'd'};

    memcpy(bytes, frames, sizeof(frames));
    save("fuzz_control", 0, sizeof(frames));
    save("fuzz_control", 1, sizeof(frames) - 1);
}

static void save_lane(void)
{
    memset(bytes, 'x', 200);
    frame_encode(&(struct frame){FRAME_WRITE, 3, 100, 16}, bytes);
    frame_encode(&(struct frame){FRAME_FENCE, 1, 0, 0}, bytes + FRAME_BYTES + 16);
    frame_encode(&(struct frame){FRAME_WRITE, 0, 299, 1}, bytes + 2 * FRAME_BYTES + 16);
    save("fuzz_tcp_lane", 0, 3 * FRAME_BYTES + 17);
    save("fuzz_tcp_lane", 1, 2 * FRAME_BYTES + 16);
    frame_encode(&(struct frame){FRAME_READ, 3, 100, 16}, bytes);
    save("fuzz_tcp_lane", 2, FRAME_BYTES);
}

static void save_reads(void)
{
    frame_encode(&(struct frame){FRAME_READ, 3, 100, 16}, bytes);
    frame_encode(&(struct frame){FRAME_FENCE, 1, 0, 0}, bytes + FRAME_BYTES);
    frame_encode(&(struct frame){FRAME_READ, 0, 0, 300}, bytes + 2 * FRAME_BYTES);
    frame_encode(&(struct frame){FRAME_READ, 0, 299, 2}, bytes + 3 * FRAME_BYTES);
    save("fuzz_tcp_read", 0, 4 * FRAME_BYTES);
    frame_encode(&(struct frame){FRAME_WRITE, 3, 100, 16}, bytes + 2 * FRAME_BYTES);
    save("fuzz_tcp_read", 1, 3 * FRAME_BYTES + 16);
}

static void save_image_head(void)
{
    struct tern_region regions[2] = {
        {.length_bytes = 3 << 20, .page_bytes = 4096, .name = "low"},
        {.guest_address = 4ull << 30, .length_bytes = 2 << 20, .page_bytes = 4096, .name = "high"}};
    const struct tern_vm vm = {.kind = "vmm 1", .regions = regions, .n_regions = 2};
    static uint8_t whole[IMAGE_HEAD_BYTES];
    struct image_head head;

    image_describe(&head, &vm, 100, 5000);
    image_put_head(&head, whole);
    memcpy(bytes, whole, 96);
    memcpy(bytes + 96, whole + IMAGE_ALIGN, 5 * 128);
    save("fuzz_image_format", 0, 96 + 5 * 128);
}

int main(int argc, char **argv)
{
    MUST(argc == 2);
    folder = argv[1];
    save_messages(bytes + 1);
    save_control();
    save_lane();
    save_reads();
    save_image_head();
    return 0;
}
