/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU that nobody patched moves: real QEMUs under TCG, a guest that writes all the time, over tcp. Memory is
 * compared byte for byte before the guest runs at the destination. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/common/qemu_move.h"
#include "tools/qemu/remote_tracker.h"
#include "transport/clock.h"

#define HEARTBEAT  0x180000u
#define FIRST_PAGE (0x200000u / 4096)
#define END_PAGE   (0x2200000u / 4096)
#define MIB        (1ull << 20)

static void start(struct qemu_move_side *side, bool incoming, const char *machine, const char *memory)
{
    char words[1024];

    snprintf(words, sizeof(words),
             "-machine %s,memory-backend=ram -m %s -object memory-backend-file,id=ram,size=%s,share=on,mem-path=@/ram "
             "-qmp unix:@/tern,server=on,wait=off %s",
             machine, memory, memory, incoming ? "-incoming defer" : "-kernel " QEMU_WRITER);
    qemu_start(&side->qemu, words);
}

static uint32_t counter(const struct qemu_move_side *side)
{
    const volatile uint32_t *at =
        (const volatile uint32_t *)((uint8_t *)qemu_vm_ram(side->vm)->regions[0].base + HEARTBEAT);

    return *at;
}

static void wait_counter(const struct qemu_move_side *side, uint32_t at_least)
{
    uint64_t deadline_ns = clock_after_ms(20000);

    while (counter(side) < at_least) {
        cr_assert(clock_left_ms(deadline_ns), "the guest is at %u, not %u", counter(side), at_least);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

/* What an earlier attempt, or an earlier guest, has left in the file: over one page that is zero at the source. */
static void leave_traces(const struct qemu_move_side *side)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "%s/ram", side->qemu.folder);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, "traces", 6, END_PAGE * 4096 + MIB), 6);
    close(fd);
}

static void begin(struct qemu_move *move, const char *machine, const char *memory)
{
    start(&move->source, false, "q35", "64M");
    start(&move->destination, true, machine, memory);
    leave_traces(&move->destination);
    qemu_move_open(&move->source, TERN_SIDE_SOURCE);
    qemu_move_open(&move->destination, TERN_SIDE_DESTINATION);
    wait_counter(&move->source, 100);
    qemu_move_begin(move);
}

Test(qemu_migration, a_busy_guest_moves, .timeout = 90)
{
    struct qemu_move move = {0};
    uint32_t at;

    begin(&move, "q35", "64M");
    qemu_move_run(&move);
    qemu_move_check(&move);
    at = counter(&move.source);
    wait_counter(&move.destination, at + 1000);
    cr_assert_eq(counter(&move.source), at, "the source's guest still runs");
    cr_assert_eq(qemu_vm_leave(move.source.vm, false, &move.source.error), 0, "%s", move.source.error.message);
    qemu_move_finish(&move);
}

static void refused(const char *machine, const char *memory, const char *text)
{
    struct qemu_move move = {0};

    begin(&move, machine, memory);
    qemu_move_run(&move);
    cr_assert_neq(move.source.code, 0);
    cr_assert(strstr(move.source.error.message, text), "%s", move.source.error.message);
    cr_assert_eq(move.source.result.pages_sent, 0);
    qemu_move_expect_state(&move.source, "running");
    qemu_move_expect_state(&move.destination, "inmigrate");
    wait_counter(&move.source, counter(&move.source) + 100);
    qemu_move_finish(&move);
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
    struct qemu_move *move = opaque;

    if (event->kind == TERN_EVENT_ROUND)
        tern_source_cancel(move->source_session);
}

Test(qemu_migration, a_cancelled_one_leaves_the_guest_as_it_was, .timeout = 90)
{
    struct qemu_move move = {0};

    begin(&move, "q35", "64M");
    tern_source_destroy(move.source_session);
    move.source.options.on_event = cancel_in_round;
    move.source.options.event_opaque = &move;
    cr_assert_eq(tern_source_create(&move.source.description, &move.source.options, &move.source_session, NULL), 0);
    qemu_move_run(&move);
    cr_assert_eq(move.source.code, -ECANCELED);
    cr_assert_neq(move.destination.code, 0);
    qemu_move_expect_state(&move.source, "running");
    wait_counter(&move.source, counter(&move.source) + 100);
    qemu_move_finish(&move);
}

/* ---- what the tracker sees ---- */

static void stop_or_cont(struct qemu_move_side *side, const char *command)
{
    json_object_put(qemu_do(&side->qemu, command, NULL));
}

Test(qemu_tracker, sees_exactly_what_the_guest_wrote, .timeout = 90)
{
    struct qemu_move_side side = {0};
    const struct tern_tracker *tracker;
    const uint8_t *base;
    uint64_t bitmap[64 * MIB / 4096 / 64];

    start(&side, false, "q35", "64M");
    qemu_move_open(&side, TERN_SIDE_SOURCE);
    wait_counter(&side, 100);
    tracker = &side.description.tracker;
    base = side.description.regions[0].base;
    stop_or_cont(&side, "stop");
    cr_assert_eq(tracker->ops->start(tracker->self, &side.error), 0, "%s", side.error.message);
    cr_assert_gt(remote_tracker_cost(qemu_vm_tracker(side.vm)).stopped_ns, 0);
    for (int turn = 0; turn < 5; turn++) {
        uint32_t from = counter(&side);

        stop_or_cont(&side, "cont");
        wait_counter(&side, from + 500);
        stop_or_cont(&side, "stop");
        memset(bitmap, 0, sizeof(bitmap));
        cr_assert_eq(tracker->ops->fetch(tracker->self, 0, bitmap, &side.error), 0, "%s", side.error.message);
        for (uint32_t page = FIRST_PAGE; page < END_PAGE; page++) {
            bool named = bitmap[page / 64] >> page % 64 & 1;
            uint32_t value;

            memcpy(&value, base + page * 4096ull, sizeof(value)); /* this brings a page that was never written */
            cr_assert(named == (value > from) || !value, "page %u, written at %u, from %u", page, value, from);
        }
        cr_assert(bitmap[HEARTBEAT / 4096 / 64] >> HEARTBEAT / 4096 % 64 & 1);
    }
    tracker->ops->stop(tracker->self);
    stop_or_cont(&side, "cont");
    wait_counter(&side, counter(&side) + 100);
    qemu_vm_close(side.vm);
    qemu_end(&side.qemu);
}
