/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/vmm/state.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <xxhash.h>

#include "tools/vmm/state_blocks.h"
#include "transport/error.h"

#define STATE_MAGIC 0x6d6d766e72657431ull /* "1ternvmm" */
#define ALIGN8(n)   (((n) + 7) & ~(size_t)7)

struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t n_blocks;
    uint64_t length_bytes;
    uint64_t digest;
};

struct block_head {
    uint32_t kind;
    uint32_t length_bytes;
};

static const struct block_ops *ops_of(enum state_block kind)
{
    switch (kind) {
    case BLOCK_CPUID:
        return &state_cpuid;
    case BLOCK_MSRS:
        return &state_msrs;
    case BLOCK_TSC_KHZ:
        return &state_tsc_khz;
    case BLOCK_UART:
        return &state_uart;
    default:
        return &state_plain;
    }
}

int state_save(const struct state_machine *machine, void *buffer, size_t capacity_bytes, size_t *length_bytes,
               struct tern_error *error)
{
    struct header *header = buffer;
    size_t at = sizeof(*header);

    for (uint32_t kind = 0; kind < STATE_BLOCKS; kind++) {
        struct block_head head = {.kind = kind};
        long length = -ENOSPC;

        if (at + sizeof(head) < capacity_bytes)
            length = ops_of(kind)->save(machine, kind, (uint8_t *)buffer + at + sizeof(head),
                                        capacity_bytes - at - sizeof(head), error);
        if (length >= 0 && at + sizeof(head) + ALIGN8((size_t)length) > capacity_bytes)
            length = -ENOSPC;
        if (length < 0)
            return (int)length;
        head.length_bytes = (uint32_t)length;
        memcpy((uint8_t *)buffer + at, &head, sizeof(head));
        memset((uint8_t *)buffer + at + sizeof(head) + length, 0, ALIGN8((size_t)length) - (size_t)length);
        at += sizeof(head) + ALIGN8((size_t)length);
    }
    *header = (struct header){STATE_MAGIC, STATE_VERSION, STATE_BLOCKS, at,
                              XXH3_64bits((uint8_t *)buffer + sizeof(*header), at - sizeof(*header))};
    *length_bytes = at;
    /* Tells a guest with kvmclock that it stood still, so that its watchdogs keep calm; others know nothing of it. */
    ioctl(machine->vcpu_fd, KVM_KVMCLOCK_CTRL, 0);
    return 0;
}

int state_profile(const struct state_machine *machine, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                  struct tern_error *error)
{
    long length = state_cpuid.save(machine, BLOCK_CPUID, buffer, capacity_bytes, error);

    if (length < 0)
        return (int)length;
    *length_bytes = (size_t)length;
    return 0;
}

int state_check(const struct state_machine *machine, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    return state_cpuid.fits(machine, BLOCK_CPUID, buffer, length_bytes, error);
}

struct found_block {
    const uint8_t *bytes;
    uint32_t length_bytes;
};

static int damaged(struct tern_error *error, const char *how)
{
    return error_set(error, -EINVAL, NULL, "the device state is damaged: %s", how);
}

static int find_blocks(const uint8_t *buffer, size_t length_bytes, struct found_block found[STATE_BLOCKS],
                       struct tern_error *error)
{
    size_t at = sizeof(struct header);

    for (uint32_t i = 0; i < STATE_BLOCKS; i++) {
        struct block_head head;

        if (length_bytes - at < sizeof(head))
            return damaged(error, "a block is missing");
        memcpy(&head, buffer + at, sizeof(head));
        at += sizeof(head);
        if (head.kind >= STATE_BLOCKS || found[head.kind].bytes)
            return damaged(error, "a block is unknown, or there twice");
        if (head.length_bytes > length_bytes - at || ALIGN8((size_t)head.length_bytes) > length_bytes - at)
            return damaged(error, "a block is cut short");
        found[head.kind] = (struct found_block){buffer + at, head.length_bytes};
        at += ALIGN8((size_t)head.length_bytes);
    }
    return at == length_bytes ? 0 : damaged(error, "there is more of it than there should be");
}

static int check_header(const uint8_t *buffer, size_t length_bytes, struct tern_error *error)
{
    struct header header;

    if (length_bytes < sizeof(header))
        return damaged(error, "it is too short");
    memcpy(&header, buffer, sizeof(header));
    if (header.magic != STATE_MAGIC)
        return damaged(error, "it is not this VMM's");
    if (header.version != STATE_VERSION || header.n_blocks != STATE_BLOCKS)
        return error_set(error, -EINVAL, "run the same version of tern on both sides",
                         "the device state has version %u with %u blocks, this side takes %u with %u", header.version,
                         header.n_blocks, STATE_VERSION, STATE_BLOCKS);
    if (header.length_bytes != length_bytes)
        return damaged(error, "its length is not what it says");
    if (header.digest != XXH3_64bits(buffer + sizeof(header), length_bytes - sizeof(header)))
        return damaged(error, "its digest differs");
    return 0;
}

int state_load(const struct state_machine *machine, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct found_block found[STATE_BLOCKS] = {0};
    int r = check_header(buffer, length_bytes, error);

    if (!r)
        r = find_blocks(buffer, length_bytes, found, error);
    for (uint32_t kind = 0; !r && kind < STATE_BLOCKS; kind++)
        r = ops_of(kind)->fits(machine, kind, found[kind].bytes, found[kind].length_bytes, error);
    for (uint32_t kind = 0; !r && kind < STATE_BLOCKS; kind++)
        r = ops_of(kind)->load(machine, kind, found[kind].bytes, found[kind].length_bytes, error);
    return r;
}
