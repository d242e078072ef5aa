/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/qemu_vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/qemu/migration_status.h"
#include "tools/qemu/refuse.h"
#include "tools/qemu/remote_uffd.h"
#include "tools/qemu/switchover.h"
#include "transport/error.h"

#define KIND          "qemu 1"
#define STATE_BYTES   (32u << 20) /* 0.2 MB without video memory; that is in it, mostly as zeros */
#define MACHINE_BYTES 128u
#define CONNECT_MS    10000

struct qemu_vm {
    enum tern_side side;
    struct qmp *qmp;
    struct guest_ram *ram;
    struct tern_tracker tracker;
    struct qemu_source *source;           /* from pause to resume or leave */
    struct qemu_destination *destination; /* from load on */
    char machine[MACHINE_BYTES];          /* its type, like pc-q35-7.2-machine */
    struct tern_vm description;
};

/* ---- what libtern calls ---- */

static int on_pause(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r = guest_ram_check(vm->ram, vm->qmp, error);

    if (!r)
        r = qemu_source_create(vm->qmp, STATE_BYTES, &vm->source, error);
    if (r)
        return r;
    r = qemu_source_pause(vm->source, error);
    if (r) {
        qemu_source_destroy(vm->source);
        vm->source = NULL;
    }
    return r;
}

static int on_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;

    return qemu_source_save(vm->source, buffer, capacity_bytes, length_bytes, error);
}

static int on_resume_source(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r;

    if (!vm->source)
        return 0;
    r = qemu_source_resume(vm->source, error);
    qemu_source_destroy(vm->source);
    vm->source = NULL;
    return r;
}

static int on_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r = qemu_destination_create(vm->qmp, &vm->destination, error);

    return r ? r : qemu_destination_load(vm->destination, buffer, length_bytes, error);
}

static int on_resume_destination(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;

    return qemu_destination_resume(vm->destination, error);
}

/* The profile is the machine's type: QEMU itself compares all else of it, but only when the guest has stopped. */
static int on_save_profile(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                           struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    size_t length = strlen(vm->machine);

    (void)error;
    if (length > capacity_bytes)
        return -ENOSPC;
    memcpy(buffer, vm->machine, length);
    *length_bytes = length;
    return 0;
}

static int on_check_profile(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;

    if (length_bytes == strlen(vm->machine) && !memcmp(buffer, vm->machine, length_bytes))
        return 0;
    return error_set(error, -EINVAL, "start the destination's QEMU with the same -machine",
                     "the source's QEMU is a '%.*s', the destination's a '%s'",
                     (int)(length_bytes < MACHINE_BYTES ? length_bytes : MACHINE_BYTES), (const char *)buffer,
                     vm->machine);
}

/* ---- life ---- */

static int read_machine(struct qemu_vm *vm, struct tern_error *error)
{
    struct json_object *arguments = json_object_new_object(), *reply;
    int r;

    json_object_object_add(arguments, "path", json_object_new_string("/machine"));
    json_object_object_add(arguments, "property", json_object_new_string("type"));
    r = qmp_command(vm->qmp, "qom-get", arguments, QMP_TIMEOUT_MS, &reply, error);
    if (r)
        return r;
    if (json_object_is_type(reply, json_type_string))
        snprintf(vm->machine, sizeof(vm->machine), "%s", json_object_get_string(reply));
    else
        r = error_set(error, -EPROTO, NULL, "QEMU does not say what machine it is");
    json_object_put(reply);
    return r;
}

static int check_destination(struct qemu_vm *vm, struct tern_error *error)
{
    char state[32];
    int r = qemu_run_state(vm->qmp, state, error);

    if (!r && strcmp(state, "inmigrate"))
        r = error_set(error, -EBUSY, "start it with -incoming defer",
                      "this QEMU does not wait for a migration: its guest is '%s'", state);
    return r;
}

static int check_source(struct qemu_vm *vm, bool pinned, struct tern_error *error)
{
    struct qemu_facts *facts = calloc(1, sizeof(*facts));
    int r;

    if (!facts)
        return error_set(error, -ENOMEM, NULL, "out of memory for the QEMU adaptor");
    r = qemu_facts_read(vm->qmp, facts, error);
    if (!r)
        r = qemu_refuse(facts, &vm->ram->layout, pinned, error);
    if (!r)
        r = remote_uffd_create(vm->ram, &vm->tracker, error);
    free(facts);
    return r;
}

int qemu_vm_open(const char *qmp_path, enum tern_side side, bool pinned, struct qemu_vm **out, struct tern_error *error)
{
    struct qemu_vm *vm = calloc(1, sizeof(*vm));
    int r;

    if (!vm)
        return error_set(error, -ENOMEM, NULL, "out of memory for the QEMU adaptor");
    vm->side = side;
    r = qmp_connect(qmp_path, CONNECT_MS, &vm->qmp, error);
    if (!r && side == TERN_SIDE_DESTINATION)
        r = check_destination(vm, error);
    if (!r)
        r = read_machine(vm, error);
    if (!r)
        r = guest_ram_open(vm->qmp, &vm->ram, error);
    if (!r && side == TERN_SIDE_SOURCE)
        r = check_source(vm, pinned, error);
    if (r)
        qemu_vm_close(vm);
    else
        *out = vm;
    return r;
}

void qemu_vm_close(struct qemu_vm *vm)
{
    if (!vm)
        return;
    qemu_source_destroy(vm->source);
    qemu_destination_destroy(vm->destination);
    tern_tracker_destroy(&vm->tracker);
    guest_ram_close(vm->ram);
    qmp_close(vm->qmp);
    free(vm);
}

const struct guest_ram *qemu_vm_ram(const struct qemu_vm *vm)
{
    return vm->ram;
}

const struct tern_vm *qemu_vm_describe(struct qemu_vm *vm)
{
    vm->description = (struct tern_vm){
        .struct_bytes = sizeof(vm->description),
        .opaque = vm,
        .kind = KIND,
        .regions = vm->ram->regions,
        .n_regions = vm->ram->n_regions,
        .tracker = vm->tracker,
        .pause = on_pause,
        .resume = vm->side == TERN_SIDE_SOURCE ? on_resume_source : on_resume_destination,
        .save_state = on_save,
        .load_state = on_load,
        .save_profile = on_save_profile,
        .check_profile = on_check_profile,
        .state_capacity_bytes = STATE_BYTES,
    };
    return &vm->description;
}

int qemu_vm_leave(struct qemu_vm *vm, bool keep, struct tern_error *error)
{
    qemu_source_destroy(vm->source);
    vm->source = NULL;
    return keep ? 0 : qmp_command(vm->qmp, "quit", NULL, QMP_TIMEOUT_MS, NULL, error);
}
