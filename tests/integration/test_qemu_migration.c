/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU that nobody patched moves: real QEMUs under TCG, a guest that writes all the time, over tcp. Memory is
 * compared byte for byte before the guest runs at the destination. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/common/qemu.h"
#include "tools/qemu/migration_status.h"
#include "tools/qemu/qemu_vm.h"
#include "tools/qemu/remote_uffd.h"
#include "transport/clock.h"

#define HEARTBEAT  0x180000u
#define FIRST_PAGE (0x200000u / 4096)
#define END_PAGE   (0x2200000u / 4096)
#define MIB        (1ull << 20)

struct side {
    struct qemu qemu;
    struct qemu_vm *vm;
    struct tern_vm description;
    struct tern_options options;
    struct tern_result result;
    struct tern_error error;
    int code;
};

struct move {
    struct side source, destination;
    struct tern_destination *session;
    struct tern_source *source_session;
    pthread_t thread;
    int (*resume)(void *opaque, struct tern_error *error);
    bool compared, equal;
};

static void start(struct side *side, bool incoming, const char *machine, const char *memory)
{
    char words[1024];

    snprintf(words, sizeof(words),
             "-machine %s,memory-backend=ram -m %s -object memory-backend-file,id=ram,size=%s,share=on,mem-path=@/ram "
             "-qmp unix:@/tern,server=on,wait=off %s",
             machine, memory, memory, incoming ? "-incoming defer" : "-kernel " QEMU_WRITER);
    qemu_start(&side->qemu, words);
}

static void open_side(struct side *side, enum tern_side which)
{
    char path[96];

    snprintf(path, sizeof(path), "%s/tern", side->qemu.folder);
    cr_assert_eq(qemu_vm_open(path, which, false, &side->vm, &side->error), 0, "%s", side->error.message);
    side->description = *qemu_vm_describe(side->vm);
    side->result.struct_bytes = sizeof(side->result);
    tern_options_init(&side->options);
    side->options.host = "127.0.0.1";
    side->options.transport = TERN_TRANSPORT_TCP;
}

static uint32_t counter(const struct side *side)
{
    const volatile uint32_t *at =
        (const volatile uint32_t *)((uint8_t *)qemu_vm_ram(side->vm)->regions[0].base + HEARTBEAT);

    return *at;
}

static void wait_counter(const struct side *side, uint32_t at_least)
{
    uint64_t deadline_ns = clock_after_ms(20000);

    while (counter(side) < at_least) {
        cr_assert(clock_left_ms(deadline_ns), "the guest is at %u, not %u", counter(side), at_least);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static bool same_memory(const struct move *move)
{
    const struct guest_ram *a = qemu_vm_ram(move->source.vm), *b = qemu_vm_ram(move->destination.vm);

    for (uint32_t i = 0; i < a->n_regions; i++)
        if (memcmp(a->regions[i].base, b->regions[i].base, a->regions[i].length_bytes))
            return false;
    return true;
}

static int compare_and_resume(void *opaque, struct tern_error *error)
{
    struct move *move = opaque;

    move->compared = true;
    move->equal = same_memory(move);
    return move->resume(move->destination.vm, error);
}

static int load_of_move(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct move *move = opaque;
    const struct tern_vm *vm = qemu_vm_describe(move->destination.vm);

    return vm->load_state(vm->opaque, buffer, length_bytes, error);
}

static int check_of_move(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct move *move = opaque;
    const struct tern_vm *vm = qemu_vm_describe(move->destination.vm);

    return vm->check_profile(vm->opaque, buffer, length_bytes, error);
}

static void *run_destination(void *argument)
{
    struct move *move = argument;

    move->destination.code = tern_destination_run(move->session, &move->destination.result, &move->destination.error);
    return NULL;
}

static void begin(struct move *move, const char *machine, const char *memory)
{
    struct side *source = &move->source, *destination = &move->destination;

    start(source, false, "q35", "64M");
    start(destination, true, machine, memory);
    open_side(source, TERN_SIDE_SOURCE);
    open_side(destination, TERN_SIDE_DESTINATION);
    move->resume = destination->description.resume;
    destination->description.opaque = move;
    destination->description.resume = compare_and_resume;
    destination->description.load_state = load_of_move;
    destination->description.check_profile = check_of_move;
    destination->options.port = UINT16_MAX;
    source->options.verify = true;
    source->options.downtime_limit_ns = 200000000;
    wait_counter(source, 100);
    cr_assert_eq(
        tern_destination_create(&destination->description, &destination->options, &move->session, &destination->error),
        0, "%s", destination->error.message);
    source->options.port = tern_destination_port(move->session);
    cr_assert_eq(pthread_create(&move->thread, NULL, run_destination, move), 0);
    cr_assert_eq(tern_source_create(&source->description, &source->options, &move->source_session, &source->error), 0,
                 "%s", source->error.message);
}

static void run(struct move *move)
{
    move->source.code = tern_source_run(move->source_session, &move->source.result, &move->source.error);
    if (move->source.code)
        tern_destination_cancel(move->session);
    pthread_join(move->thread, NULL);
    tern_source_destroy(move->source_session);
    tern_destination_destroy(move->session);
}

static void finish(struct move *move)
{
    qemu_vm_close(move->source.vm);
    qemu_vm_close(move->destination.vm);
    qemu_end(&move->source.qemu);
    qemu_end(&move->destination.qemu);
}

static void expect_state(struct side *side, const char *wanted)
{
    char state[32];

    cr_assert_eq(qemu_run_state(side->qemu.qmp, state, NULL), 0);
    cr_assert_str_eq(state, wanted);
}

Test(qemu_migration, a_busy_guest_moves, .timeout = 90)
{
    struct move move = {0};
    uint32_t at;

    begin(&move, "q35", "64M");
    run(&move);
    cr_assert_eq(move.source.code, 0, "%s", move.source.error.message);
    cr_assert_eq(move.destination.code, 0, "%s", move.destination.error.message);
    cr_assert(move.compared);
    cr_assert(move.equal, "memory differs at the switchover");
    cr_assert(move.source.result.verified);
    expect_state(&move.source, "postmigrate");
    expect_state(&move.destination, "running");
    at = counter(&move.source);
    wait_counter(&move.destination, at + 1000);
    cr_assert_eq(counter(&move.source), at, "the source's guest still runs");
    cr_assert_eq(qemu_vm_leave(move.source.vm, false, &move.source.error), 0, "%s", move.source.error.message);
    finish(&move);
}

static void refused(const char *machine, const char *memory, const char *text)
{
    struct move move = {0};

    begin(&move, machine, memory);
    run(&move);
    cr_assert_neq(move.source.code, 0);
    cr_assert(strstr(move.source.error.message, text), "%s", move.source.error.message);
    cr_assert_eq(move.source.result.pages_sent, 0);
    expect_state(&move.source, "running");
    expect_state(&move.destination, "inmigrate");
    wait_counter(&move.source, counter(&move.source) + 100);
    finish(&move);
}

Test(qemu_migration, another_machine_is_refused, .timeout = 90)
{
    refused("pc", "64M", "the destination's a 'pc-i440fx");
}

Test(qemu_migration, less_memory_is_refused, .timeout = 90)
{
    refused("q35", "48M", "48 MiB");
}

static void cancel_in_round(void *opaque, const struct tern_event *event)
{
    struct move *move = opaque;

    if (event->kind == TERN_EVENT_ROUND)
        tern_source_cancel(move->source_session);
}

Test(qemu_migration, a_cancelled_one_leaves_the_guest_as_it_was, .timeout = 90)
{
    struct move move = {0};

    begin(&move, "q35", "64M");
    tern_source_destroy(move.source_session);
    move.source.options.on_event = cancel_in_round;
    move.source.options.event_opaque = &move;
    cr_assert_eq(tern_source_create(&move.source.description, &move.source.options, &move.source_session, NULL), 0);
    run(&move);
    cr_assert_eq(move.source.code, -ECANCELED);
    cr_assert_neq(move.destination.code, 0);
    expect_state(&move.source, "running");
    wait_counter(&move.source, counter(&move.source) + 100);
    finish(&move);
}

/* ---- what the tracker sees ---- */

static void stop_or_cont(struct side *side, const char *command)
{
    json_object_put(qemu_do(&side->qemu, command, NULL));
}

Test(qemu_tracker, sees_exactly_what_the_guest_wrote, .timeout = 90)
{
    struct side side = {0};
    const struct tern_tracker *tracker;
    const uint8_t *base;
    uint64_t bitmap[64 * MIB / 4096 / 64];

    start(&side, false, "q35", "64M");
    open_side(&side, TERN_SIDE_SOURCE);
    wait_counter(&side, 100);
    tracker = &side.description.tracker;
    base = side.description.regions[0].base;
    stop_or_cont(&side, "stop");
    cr_assert_eq(tracker->ops->start(tracker->self, &side.error), 0, "%s", side.error.message);
    cr_assert_gt(remote_uffd_stopped_ns(tracker), 0);
    for (int turn = 0; turn < 5; turn++) {
        uint32_t from = counter(&side);

        stop_or_cont(&side, "cont");
        wait_counter(&side, from + 500);
        stop_or_cont(&side, "stop");
        memset(bitmap, 0, sizeof(bitmap));
        cr_assert_eq(tracker->ops->fetch(tracker->self, 0, bitmap, &side.error), 0, "%s", side.error.message);
        for (uint32_t page = FIRST_PAGE; page < END_PAGE; page++) {
            uint32_t value;

            memcpy(&value, base + page * 4096ull, sizeof(value));
            cr_assert_eq((bitmap[page / 64] >> page % 64) & 1, value > from, "page %u, written at %u, from %u", page,
                         value, from);
        }
        cr_assert(bitmap[HEARTBEAT / 4096 / 64] >> HEARTBEAT / 4096 % 64 & 1);
    }
    tracker->ops->stop(tracker->self);
    stop_or_cont(&side, "cont");
    wait_counter(&side, counter(&side) + 100);
    qemu_vm_close(side.vm);
    qemu_end(&side.qemu);
}
