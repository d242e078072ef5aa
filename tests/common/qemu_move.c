/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/common/qemu_move.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tools/qemu/migration_status.h"

void qemu_move_open(struct qemu_move_side *side, enum tern_side which)
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

/* How many pages differ; the first of them. */
static uint64_t differing_pages(const struct qemu_move *move, uint64_t *first_address)
{
    const struct guest_ram *a = qemu_vm_ram(move->source.vm), *b = qemu_vm_ram(move->destination.vm);
    uint64_t n = 0;

    for (uint32_t i = 0; i < a->n_regions; i++)
        for (uint64_t at = 0; at < a->regions[i].length_bytes; at += TERN_PAGE_BYTES)
            if (memcmp((char *)a->regions[i].base + at, (char *)b->regions[i].base + at, TERN_PAGE_BYTES) && !n++)
                *first_address = a->regions[i].guest_address + at;
    return n;
}

static int resume_of_move(void *opaque, struct tern_error *error)
{
    struct qemu_move *move = opaque;

    return move->resume(move->destination.vm, error);
}

static int prepare_of_move(void *opaque, struct tern_error *error)
{
    struct qemu_move *move = opaque;
    const struct tern_vm *vm = qemu_vm_describe(move->destination.vm);

    return vm->prepare(vm->opaque, error);
}

static int load_of_move(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct qemu_move *move = opaque;
    const struct tern_vm *vm = qemu_vm_describe(move->destination.vm);

    move->compared = true; /* before QEMU itself may write into it: KVM's clocks are there */
    move->differing_pages = differing_pages(move, &move->first_address);
    return vm->load_state(vm->opaque, buffer, length_bytes, error);
}

static int check_of_move(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct qemu_move *move = opaque;
    const struct tern_vm *vm = qemu_vm_describe(move->destination.vm);

    return vm->check_profile(vm->opaque, buffer, length_bytes, error);
}

static void *run_destination(void *argument)
{
    struct qemu_move *move = argument;

    move->destination.code = tern_destination_run(move->session, &move->destination.result, &move->destination.error);
    return NULL;
}

void qemu_move_begin(struct qemu_move *move)
{
    struct qemu_move_side *source = &move->source, *destination = &move->destination;

    move->resume = destination->description.resume;
    destination->description.opaque = move;
    destination->description.resume = resume_of_move;
    destination->description.prepare = prepare_of_move;
    destination->description.load_state = load_of_move;
    destination->description.check_profile = check_of_move;
    destination->options.port = UINT16_MAX;
    source->options.verify = true;
    source->options.downtime_limit_ns = 200000000;
    cr_assert_eq(
        tern_destination_create(&destination->description, &destination->options, &move->session, &destination->error),
        0, "%s", destination->error.message);
    source->options.port = tern_destination_port(move->session);
    cr_assert_eq(pthread_create(&move->thread, NULL, run_destination, move), 0);
    cr_assert_eq(tern_source_create(&source->description, &source->options, &move->source_session, &source->error), 0,
                 "%s", source->error.message);
}

void qemu_move_run(struct qemu_move *move)
{
    move->source.code = tern_source_run(move->source_session, &move->source.result, &move->source.error);
    if (move->source.code)
        tern_destination_cancel(move->session);
    pthread_join(move->thread, NULL);
    tern_source_destroy(move->source_session);
    tern_destination_destroy(move->session);
}

void qemu_move_finish(struct qemu_move *move)
{
    qemu_vm_close(move->source.vm);
    qemu_vm_close(move->destination.vm);
    qemu_end(&move->source.qemu);
    qemu_end(&move->destination.qemu);
}

void qemu_move_expect_state(struct qemu_move_side *side, const char *wanted)
{
    char state[32];

    cr_assert_eq(qemu_run_state(side->qemu.qmp, state, NULL), 0);
    cr_assert_str_eq(state, wanted);
}

void qemu_move_check(struct qemu_move *move)
{
    cr_assert_eq(move->source.code, 0, "%s", move->source.error.message);
    cr_assert_eq(move->destination.code, 0, "%s", move->destination.error.message);
    cr_assert(move->compared);
    cr_assert_eq(move->differing_pages, 0, "%lu pages differ at the switchover, first at 0x%lx", move->differing_pages,
                 move->first_address);
    cr_assert(move->source.result.verified);
    qemu_move_expect_state(&move->source, "postmigrate");
    qemu_move_expect_state(&move->destination, "running");
}
