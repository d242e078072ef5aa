/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/vm.h"

#include <errno.h>
#include <string.h>

#include "migrate/wire.h"
#include "transport/clock.h"
#include "transport/control.h"
#include "transport/error.h"

#define CHUNK_BYTES_MIN  (2ull << 20) /* a unit of the rounds */
#define CHUNK_BYTES_SOME (16ull << 20)
#define CHUNKS_SOME      64u
#define CHUNKS_MAX       4096u
#define WRITE_BYTES_MAX  (1u << 30) /* a message of RC has 2 GiB at most. source: IBTA vol. 1, 9.7 */

static int invalid(struct tern_error *error, const char *what)
{
    return error_set(error, -EINVAL, "see migrate/tern.h", "%s", what);
}

static int region_check(const struct tern_region *region, uint64_t after, struct tern_error *error)
{
    uint64_t page = region->page_bytes;

    if (strnlen(region->name, sizeof(region->name)) == sizeof(region->name))
        return invalid(error, "tern_region: a name is not ended by NUL");
    if (page != 4096 && page != (2ull << 20) && page != (1ull << 30))
        return error_set(error, -EINVAL, NULL, "region '%s': page_bytes is %llu, not 4 KiB, 2 MiB or 1 GiB",
                         region->name, (unsigned long long)page);
    if (!region->length_bytes || region->length_bytes % page || (uintptr_t)region->base % page || !region->base)
        return error_set(error, -EINVAL, NULL, "region '%s': base or length is not a multiple of its %llu-byte pages",
                         region->name, (unsigned long long)page);
    if (region->guest_address < after || region->guest_address % TERN_PAGE_BYTES)
        return error_set(error, -EINVAL, NULL, "region '%s' is not sorted by guest_address, overlaps or is not aligned",
                         region->name);
    return 0;
}

int vm_check(const struct tern_vm *vm, enum tern_side side, struct tern_error *error)
{
    uint64_t after = 0;

    if (vm->struct_bytes != sizeof(*vm))
        return invalid(error, "tern_vm.struct_bytes is not of this version");
    if (!vm->kind[0] || strnlen(vm->kind, sizeof(vm->kind)) == sizeof(vm->kind))
        return invalid(error, "tern_vm.kind is empty or not ended by NUL");
    if (!vm->n_regions || vm->n_regions > WIRE_REGIONS_MAX || !vm->regions)
        return error_set(error, -EINVAL, NULL, "tern_vm has %u regions, not 1 to %u", vm->n_regions, WIRE_REGIONS_MAX);
    if (!vm->resume || (side == TERN_SIDE_SOURCE && (!vm->pause || !vm->save_state)) ||
        (side == TERN_SIDE_DESTINATION && !vm->load_state))
        return invalid(error, "tern_vm lacks a callback that this side needs");
    if (vm->lend_memory && !vm->pause)
        return invalid(error, "tern_vm.lend_memory is set and pause is not");
    if (side == TERN_SIDE_SOURCE && (!vm->tracker.ops || !vm->tracker.ops->fetch || !vm->tracker.ops->start))
        return invalid(error, "tern_vm.tracker is not set");
    if (vm->state_capacity_bytes > STATE_CAPACITY_MAX)
        return invalid(error, "tern_vm.state_capacity_bytes is over 1 GiB");
    for (uint32_t i = 0; i < vm->n_regions; i++) {
        int r = region_check(&vm->regions[i], after, error);

        if (r)
            return r;
        after = vm->regions[i].guest_address + vm->regions[i].length_bytes;
    }
    return 0;
}

uint64_t vm_memory_bytes(const struct tern_vm *vm)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < vm->n_regions; i++)
        sum += vm->regions[i].length_bytes;
    return sum;
}

uint64_t vm_state_capacity(const struct tern_vm *vm)
{
    uint64_t capacity = vm->state_capacity_bytes ? vm->state_capacity_bytes : STATE_CAPACITY_DEFAULT;

    return (capacity + TERN_PAGE_BYTES - 1) & ~(uint64_t)(TERN_PAGE_BYTES - 1);
}

void vm_ask(struct tern_error *error)
{
    if (error)
        *error = (struct tern_error){0};
}

int vm_answered(int r, const char *name, enum tern_side side, struct tern_error *error)
{
    if (!r)
        return 0;
    if (r > 0 || r < -4095)
        r = -EIO;
    if (error && !error->message[0])
        error_set(error, r, "look at the VMM's messages", "the VMM's %s failed: %s", name, strerror(-r));
    if (error)
        error->code = r;
    error_side(error, side);
    return r;
}

void tern_options_init(struct tern_options *options)
{
    *options = (struct tern_options){.struct_bytes = sizeof(*options), .gid_index = -1};
}

int options_take(const struct tern_options *given, enum tern_side side, struct tern_options *out,
                 struct tern_error *error)
{
    if (given->struct_bytes != sizeof(*given))
        return invalid(error, "tern_options.struct_bytes is not of this version");
    if (side == TERN_SIDE_SOURCE && !given->host)
        return invalid(error, "tern_options.host is not set");
    if (given->lanes > LINK_LANES_MAX)
        return error_set(error, -EINVAL, NULL, "%u lanes asked for, the most is %d", given->lanes, LINK_LANES_MAX);
    if ((unsigned int)given->registration > TERN_REGISTER_RING)
        return invalid(error, "tern_options.registration is none of its values");
    if ((given->write_bytes && given->write_bytes < TERN_PAGE_BYTES) || given->write_bytes > WRITE_BYTES_MAX ||
        (given->queue_depth && given->queue_depth < 4))
        return invalid(error, "tern_options.write_bytes is not 4 KiB to 1 GiB, or queue_depth is less than 4");
    *out = *given;
    if (!out->port)
        out->port = TERN_DEFAULT_PORT;
    if (!out->downtime_limit_ns)
        out->downtime_limit_ns = 50 * NS_PER_MS;
    if (!out->peer_timeout_ms)
        out->peer_timeout_ms = CONTROL_PEER_TIMEOUT_MS_DEFAULT;
    if (!out->reconnect_ms)
        out->reconnect_ms = 15000;
    return 0;
}

uint64_t chunk_bytes_for(uint64_t memory_bytes, const struct link_limits *limits)
{
    uint64_t chunk = CHUNK_BYTES_MIN, most = CHUNKS_MAX;

    if (limits->chunks_max && limits->chunks_max < most)
        most = limits->chunks_max;
    while (chunk < CHUNK_BYTES_SOME && memory_bytes / chunk > CHUNKS_SOME)
        chunk *= 2;
    while (memory_bytes / chunk > most)
        chunk *= 2;
    while (limits->chunk_bytes_max && chunk > limits->chunk_bytes_max && chunk > CHUNK_BYTES_MIN)
        chunk /= 2;
    return chunk;
}

uint64_t chunk_bytes_agreed(uint64_t proposed_bytes, uint64_t memory_bytes, const struct link_limits *limits)
{
    bool too_large = limits->chunk_bytes_max && proposed_bytes > limits->chunk_bytes_max;
    bool too_many = limits->chunks_max && memory_bytes / proposed_bytes > limits->chunks_max;

    return too_large || too_many ? chunk_bytes_for(memory_bytes, limits) : proposed_bytes;
}
