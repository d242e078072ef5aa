/* SPDX-License-Identifier: BSD-2-Clause */
/* Which parts of which memory backends are the guest's RAM, and at which guest addresses? Decided from QMP replies.
 * Pure. A backend is cut where its guest addresses jump (below and above 4 GiB). What the guest does not see of it at
 * the moment (the holes under ROMs and video memory) belongs to it all the same: the guest can uncover it. */
#ifndef TOOLS_QEMU_RAM_LAYOUT_H
#define TOOLS_QEMU_RAM_LAYOUT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "migrate/tern.h"
#include "migrate/wire.h"

#define RAM_BACKENDS_MAX 64u
#define RAM_PARTS_MAX    WIRE_REGIONS_MAX
#define RAM_ID_BYTES     64

struct ram_backend {
    char id[RAM_ID_BYTES];
    uint64_t length_bytes;
    bool shared;
    bool seen; /* by the guest */
};

struct ram_part {
    char name[TERN_NAME_BYTES]; /* the backend's id; with :0, :1 where it is in several parts */
    uint32_t backend;
    uint64_t guest_address;
    uint64_t length_bytes;
    uint64_t offset_bytes;    /* in the backend */
    uint64_t visible_address; /* a guest address of this part where the guest does see it */
};

struct ram_layout {
    uint32_t n_backends, n_parts;
    struct ram_backend backends[RAM_BACKENDS_MAX];
    struct ram_part parts[RAM_PARTS_MAX]; /* by guest address */
};

/* ram_layout_decide:
 * memdevs  reply to query-memdev
 * summary  reply to query-memory-size-summary
 * mtree    text of 'info mtree -f'
 * errors   -ENOTSUP RAM that is not shared, or in no backend; -E2BIG more than fits; -EPROTO replies that make no sense
 */
int ram_layout_decide(struct json_object *memdevs, struct json_object *summary, const char *mtree,
                      struct ram_layout *out, struct tern_error *error);

/* Same backends, same parts? Names the first difference. */
bool ram_layout_equal(const struct ram_layout *a, const struct ram_layout *b, struct tern_error *error);

/* ram_host_address: the answer to 'gpa2hva'. false: it names no address, or another memory than this backend's. */
bool ram_host_address(const char *answer, const char *backend_id, uint64_t *address_out);

#endif
