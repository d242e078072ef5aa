/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "transport/error.h"

#define SAME_COMMAND "start the destination with the same memory options as the source"

static const char *size_text(uint64_t bytes, char text[24])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    unsigned int unit = 0;

    while (unit < 4 && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, 24, "%" PRIu64 " %s", bytes, units[unit]);
    return text;
}

static int region_differs(const struct wire_region *source, const struct tern_region *here, struct tern_error *error)
{
    char a[24], b[24];

    if (strcmp(source->name, here->name))
        return error_set(error, -EINVAL, SAME_COMMAND, "memory region '%s' of the source is '%s' at the destination",
                         source->name, here->name);
    if (source->length_bytes != here->length_bytes)
        return error_set(error, -EINVAL, SAME_COMMAND, "memory region '%s': %s at the source, %s at the destination",
                         source->name, size_text(source->length_bytes, a), size_text(here->length_bytes, b));
    if (source->guest_address != here->guest_address)
        return error_set(error, -EINVAL, SAME_COMMAND,
                         "memory region '%s': at 0x%" PRIx64 " at the source, at 0x%" PRIx64 " at the destination",
                         source->name, source->guest_address, here->guest_address);
    if (source->page_bytes != here->page_bytes)
        return error_set(error, -EINVAL, SAME_COMMAND,
                         "memory region '%s': pages of %s at the source, of %s at the destination", source->name,
                         size_text(source->page_bytes, a), size_text(here->page_bytes, b));
    return 0;
}

int layout_check(const struct wire_hello *hello, const struct tern_vm *vm, struct tern_error *error)
{
    uint64_t source_bytes = 0, here_bytes = 0;
    char a[24], b[24];
    int r = 0;

    if (strcmp(hello->kind, vm->kind))
        return error_set(error, -EINVAL, "use the same VMM in the same version on both sides",
                         "the source's VMM is '%s', the destination's is '%s'", hello->kind, vm->kind);
    for (uint32_t i = 0; i < hello->n_regions; i++)
        source_bytes += hello->regions[i].length_bytes;
    for (uint32_t i = 0; i < vm->n_regions; i++)
        here_bytes += vm->regions[i].length_bytes;
    if (source_bytes != here_bytes)
        return error_set(error, -EINVAL, SAME_COMMAND,
                         "the guest has %s of memory at the source, %s at the destination", size_text(source_bytes, a),
                         size_text(here_bytes, b));
    if (hello->n_regions != vm->n_regions)
        return error_set(error, -EINVAL, SAME_COMMAND,
                         "the guest has %u memory regions at the source, %u at the destination", hello->n_regions,
                         vm->n_regions);
    for (uint32_t i = 0; i < vm->n_regions && !r; i++)
        r = region_differs(&hello->regions[i], &vm->regions[i], error);
    return r;
}

int transport_choose(const struct wire_hello *hello, const struct transport_choice *here, char reason[128],
                     struct tern_error *error)
{
    bool source_verbs = hello->transports & WIRE_CAN_VERBS, source_tcp = hello->transports & WIRE_CAN_TCP;

    if (source_verbs && here->verbs_usable && here->wanted != TERN_TRANSPORT_TCP) {
        snprintf(reason, 128, source_tcp ? "both ends have an RDMA device" : "asked for");
        return TERN_TRANSPORT_VERBS;
    }
    if (source_tcp && here->wanted != TERN_TRANSPORT_VERBS) {
        if (here->wanted == TERN_TRANSPORT_TCP && source_verbs)
            snprintf(reason, 128, "asked for at the destination");
        else if (!source_verbs)
            snprintf(reason, 128, "%s%.100s", strcmp(hello->no_verbs, "asked for") ? "source: " : "", hello->no_verbs);
        else
            snprintf(reason, 128, "destination: %.100s", here->no_verbs);
        return TERN_TRANSPORT_TCP;
    }
    if (!source_verbs)
        return error_set(error, -EOPNOTSUPP, "give both sides the same --transport",
                         "the destination wants verbs, the source cannot: %s", hello->no_verbs);
    if (here->wanted == TERN_TRANSPORT_TCP)
        return error_set(error, -EOPNOTSUPP, "give both sides the same --transport",
                         "the source wants verbs, the destination wants tcp");
    return error_set(error, -EOPNOTSUPP, "mend the destination's device, or use --transport tcp",
                     here->wanted == TERN_TRANSPORT_VERBS ? "the destination wants verbs, and cannot: %s"
                                                          : "the source wants verbs, the destination cannot: %s",
                     here->no_verbs);
}
