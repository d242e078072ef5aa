/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/qemu_vm.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/qemu/discard_watch.h"
#include "tools/qemu/doubt.h"
#include "tools/qemu/finish_load.h"
#include "tools/qemu/lending.h"
#include "tools/qemu/lent_ram.h"
#include "tools/qemu/migration_status.h"
#include "tools/qemu/refuse.h"
#include "tools/qemu/switchover.h"
#include "transport/error.h"

#define STATE_BYTES   (32u << 20) /* 0.2 MB without video memory; that is in it, mostly as zeros */
#define MACHINE_BYTES 128u
#define CONNECT_MS    10000
#define QUIT_MS       5000

struct qemu_vm {
    enum tern_side side;
    struct guardian *guardian;
    struct qmp *qmp;
    struct guest_ram *ram;
    struct tern_tracker tracker;
    struct tern_tracker_ops tracked;      /* the tracker's, with a look at the watch */
    struct discard_watch *watch;          /* while libtern pins pages */
    struct qemu_source *source;           /* from prepare to resume or leave */
    struct qemu_destination *destination; /* from prepare on */
    struct announce announce;             /* as the destination's QEMU is set */
    bool loads;                           /* it may have a guest in it */
    enum qemu_vm_fate fate;
    void (*before_run)(void *opaque); /* may be NULL */
    void *before_run_opaque;
    struct lending *lending; /* while its memory is read (destination) */
    atomic_bool runs;
    char machine[MACHINE_BYTES]; /* its type, like pc-q35-7.2-machine */
    struct tern_vm description;
};

/* ---- discards ---- */

static int check_discards(struct qemu_vm *vm, struct tern_error *error)
{
    const char *seen = vm->watch ? discard_watch_seen(vm->watch) : NULL;

    if (!seen)
        return 0;
    return error_set(
        error, -EBUSY, "keep the balloon still meanwhile; a migration may use --register ring or --transport tcp",
        "QEMU gave back memory of '%s' during the migration or suspend (a balloon?): pages of it are lost sight of",
        seen);
}

static int check_balloon(struct qemu_vm *vm, const char *unseen, struct tern_error *error)
{
    struct qemu_facts *facts = calloc(1, sizeof(*facts));
    int r;

    if (!facts)
        return error_set(error, -ENOMEM, NULL, "out of memory for the QEMU adaptor");
    r = qemu_facts_read(vm->qmp, facts, error);
    if (!r)
        r = qemu_refuse_discards(facts, unseen, error);
    free(facts);
    return r;
}

/* QEMU cannot be told to discard nothing. So: no pages are given away now, and none is unseen from now on. */
static int watch_discards(struct qemu_vm *vm, struct tern_error *error)
{
    const char *unseen = NULL;
    int r = discard_watch_create(&vm->watch, error);

    for (uint32_t i = 0; i < vm->ram->n_regions && !r; i++) {
        const struct guest_ram_place *place = &vm->ram->places[i];

        r = discard_watch_add(vm->watch, place->fd, place->backend, error);
        if (r == -EOPNOTSUPP) {
            unseen = place->backend;
            r = 0;
        }
    }
    return r ? r : check_balloon(vm, unseen, error);
}

static int on_inhibit_discards(void *opaque, bool on, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r = on ? watch_discards(vm, error) : 0;

    if (r || !on) {
        discard_watch_destroy(vm->watch);
        vm->watch = NULL;
    }
    return r;
}

/* ---- the tracker ---- */

static int track_start(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;

    return vm->tracker.ops->start(vm->tracker.self, error);
}

static int track_fetch(void *opaque, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r = check_discards(vm, error);

    return r ? r : vm->tracker.ops->fetch(vm->tracker.self, region, bitmap, error);
}

static void track_stop(void *opaque)
{
    struct qemu_vm *vm = opaque;

    vm->tracker.ops->stop(vm->tracker.self);
}

/* ---- what libtern calls ---- */

/* QEMU's settings are changed while the guest still runs; close puts them back, whatever comes of it. */
static int on_prepare(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r;

    if (vm->side == TERN_SIDE_DESTINATION)
        return vm->destination ? 0 : qemu_destination_create(vm->qmp, vm->guardian, &vm->destination, error);
    r = guest_ram_check(vm->ram, vm->qmp, error);
    return r || vm->source ? r : qemu_source_create(vm->qmp, vm->guardian, STATE_BYTES, &vm->source, error);
}

static int on_pause(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r = qemu_source_pause(vm->source, error);

    if (!r)
        atomic_store(&vm->runs, false);
    remote_tracker_rest(&vm->tracker, !r);
    return r; /* where it failed half-way, resume is called */
}

static uint64_t on_paused_since(void *opaque)
{
    struct qemu_vm *vm = opaque;

    return qemu_source_stopped_ns(vm->source);
}

static int on_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;

    int r = qemu_source_save(vm->source, buffer, capacity_bytes, length_bytes, error);

    /* A guest that stands still asks for no more, and what it asked for was done before its state was saved: by the
     * thread that saves, or under the lock that saving takes. So this look is the last word. */
    return r ? r : check_discards(vm, error);
}

static int on_commit(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;

    return qemu_source_commit(vm->source, error);
}

static int on_resume_source(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r;

    if (!vm->source)
        return 0;
    r = qemu_source_resume(vm->source, error);
    atomic_store(&vm->runs, !r);
    remote_tracker_rest(&vm->tracker, false);
    qemu_source_destroy(vm->source);
    vm->source = NULL;
    return r;
}

/* The source will be told that this guest can never run: so it must not, whatever QEMU has yet to read of our commands.
 */
static void kill_qemu(struct qemu_vm *vm)
{
    if (qemu_stop_for_good(NULL, &vm->ram->process) == QEMU_KILLED)
        vm->fate = QEMU_VM_KILLED;
}

/* At a destination: one that hangs, as it waits for memory that cannot come, would keep its disks locked for ever. */
static int end_qemu(struct qemu_vm *vm, bool hangs, struct tern_error *error)
{
    int r = hangs ? -ETIMEDOUT : qmp_quit(vm->qmp, error);

    if (r == -ETIMEDOUT || (!r && vm->lending && !process_has_ended(&vm->ram->process, QUIT_MS)))
        kill_qemu(vm);
    return r == -ETIMEDOUT && vm->fate == QEMU_VM_KILLED ? 0 : r;
}

/* While its memory is lent, what keeps it from ending is still being read: the last moment to end it. */
static int on_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r;

    vm->loads = true;
    r = qemu_destination_load(vm->destination, buffer, length_bytes, error);
    if (!r || !vm->lending)
        return r;
    qmp_set_patience(vm->qmp, NULL, NULL);
    end_qemu(vm, r == -ETIMEDOUT, NULL);
    vm->loads = false; /* nothing is left to be ended */
    return r;
}

static int on_resume_destination(void *opaque, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r;

    if (vm->before_run)
        vm->before_run(vm->before_run_opaque);
    r = qemu_destination_resume(vm->destination, &vm->announce, error);
    if (r)
        kill_qemu(vm);
    atomic_store(&vm->runs, !r);
    return r;
}

static int on_pause_destination(void *opaque, struct tern_error *error)
{
    static const enum qemu_vm_fate fates[] = {[QEMU_PAUSED] = QEMU_VM_LOST_PAUSED,
                                              [QEMU_KILLED] = QEMU_VM_LOST_KILLED,
                                              [QEMU_HAD_ENDED] = QEMU_VM_LOST_ENDED};
    struct qemu_vm *vm = opaque;

    (void)error;
    qmp_set_patience(vm->qmp, NULL, NULL);
    vm->fate = fates[qemu_stop_for_good(vm->qmp, &vm->ram->process)];
    atomic_store(&vm->runs, false);
    return 0;
}

static int on_lend(void *opaque, bool on, struct tern_lent_memory *memory, struct tern_error *error)
{
    struct qemu_vm *vm = opaque;
    int r;

    if (on) {
        r = lending_begin(vm->qmp, vm->ram, vm->guardian, memory, &vm->lending, error);
        if (!r)
            qmp_set_patience(vm->qmp, lending_goes_on, vm->lending);
        return r;
    }
    qmp_set_patience(vm->qmp, NULL, NULL);
    r = lending_end(vm->lending, error);
    vm->lending = NULL;
    return r;
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
    struct json_object *parameters;
    char state[32];
    int r = qemu_run_state(vm->qmp, state, error);

    if (!r && strcmp(state, "inmigrate"))
        r = error_set(error, -EBUSY, "start it with -incoming defer",
                      "this QEMU does not wait for a migration: its guest is '%s'", state);
    if (!r)
        r = qmp_command(vm->qmp, "query-migrate-parameters", NULL, QMP_TIMEOUT_MS, &parameters, error);
    if (r)
        return r;
    announce_read(&vm->announce, parameters);
    json_object_put(parameters);
    return 0;
}

/* The destination runs what it has received: a guest that stands still would be started by being moved. */
static int check_runs(struct qemu_vm *vm, struct tern_error *error)
{
    bool doubt = false;
    char state[32];
    int r = qemu_run_state(vm->qmp, state, error);

    if (!r)
        r = doubt_stands(vm->qmp, state, &doubt, error);
    if (!r && doubt)
        r = error_set(error, -EBUSY, "ask 'tern status' at both ends, then name the owner with 'tern resolve'",
                      "the guest is paused and its handover is in doubt");
    if (!r && strcmp(state, "running"))
        r = error_set(error, -EBUSY, "'tern cont' it first, or wait for the end of what stopped it",
                      "the guest does not run, QEMU says it is '%s'", state);
    atomic_store(&vm->runs, !r);
    return r;
}

static const char *free_page_reporter(const struct qemu_facts *facts)
{
    for (uint32_t i = 0; i < facts->n_devices; i++)
        if (facts->devices[i].reports_free_pages)
            return facts->devices[i].id;
    return NULL;
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
        r = remote_tracker_create(vm->ram, free_page_reporter(facts), *facts->direct_disk.name, vm->qmp, vm->guardian,
                                  &vm->tracker, error);
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
    r = guardian_create(qmp_path, &vm->guardian, error);
    if (!r)
        r = qmp_connect(qmp_path, CONNECT_MS, &vm->qmp, error);
    if (!r)
        r = side == TERN_SIDE_DESTINATION ? check_destination(vm, error) : check_runs(vm, error);
    if (!r)
        r = read_machine(vm, error);
    if (!r)
        r = guest_ram_open(vm->qmp, &vm->ram, error);
    if (!r)
        guardian_watch(vm->guardian, vm->ram->process.pid);
    if (!r)
        r = lent_ram_refuse(&vm->ram->process, error);
    if (!r)
        r = side == TERN_SIDE_DESTINATION ? guest_ram_clear(vm->ram, error) : check_source(vm, pinned, error);
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
    if (vm->qmp)
        qmp_set_patience(vm->qmp, NULL, NULL);
    qemu_source_destroy(vm->source);
    qemu_destination_destroy(vm->destination);
    tern_tracker_destroy(&vm->tracker);
    discard_watch_destroy(vm->watch);
    lending_abandon(vm->lending);
    guest_ram_close(vm->ram);
    qmp_close(vm->qmp);
    guardian_destroy(vm->guardian);
    free(vm);
}

const struct guest_ram *qemu_vm_ram(const struct qemu_vm *vm)
{
    return vm->ram;
}

const struct tern_tracker *qemu_vm_tracker(const struct qemu_vm *vm)
{
    return &vm->tracker;
}

const struct tern_vm *qemu_vm_describe(struct qemu_vm *vm)
{
    bool source = vm->side == TERN_SIDE_SOURCE;

    if (source)
        vm->tracked = (struct tern_tracker_ops){vm->tracker.ops->name, track_start, track_fetch, NULL, track_stop};
    vm->description = (struct tern_vm){
        .struct_bytes = sizeof(vm->description),
        .opaque = vm,
        .kind = QEMU_VM_KIND,
        .regions = vm->ram->regions,
        .n_regions = vm->ram->n_regions,
        .tracker = {source ? &vm->tracked : NULL, vm},
        .prepare = on_prepare,
        .pause = source ? on_pause : on_pause_destination,
        .paused_since = on_paused_since,
        .resume = source ? on_resume_source : on_resume_destination,
        .save_state = on_save,
        .load_state = on_load,
        .save_profile = on_save_profile,
        .check_profile = on_check_profile,
        .inhibit_discards = source ? on_inhibit_discards : NULL, /* a guest that waits discards nothing */
        .state_capacity_bytes = STATE_BYTES,
        .commit = on_commit,
        .lend_memory = source ? NULL : on_lend,
    };
    return &vm->description;
}

bool qemu_vm_runs(const struct qemu_vm *vm)
{
    return atomic_load(&vm->runs);
}

struct remote_tracker_cost qemu_vm_tracking_cost(const struct qemu_vm *vm)
{
    return remote_tracker_cost(&vm->tracker);
}

enum qemu_vm_fate qemu_vm_fate(const struct qemu_vm *vm)
{
    return vm->fate;
}

void qemu_vm_before_run(struct qemu_vm *vm, void (*call)(void *opaque), void *opaque)
{
    vm->before_run = call;
    vm->before_run_opaque = opaque;
}

int qemu_vm_leave(struct qemu_vm *vm, bool keep, struct tern_error *error)
{
    int r;

    if (vm->side == TERN_SIDE_DESTINATION)
        return vm->loads && vm->fate == QEMU_VM_NONE ? end_qemu(vm, false, error) : 0;
    qemu_source_destroy(vm->source);
    vm->source = NULL;
    r = keep ? doubt_clear(vm->qmp, error) : qmp_quit(vm->qmp, error);
    return r == -ECONNRESET ? 0 : r; /* it has ended already */
}
