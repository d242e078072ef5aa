/* SPDX-License-Identifier: BSD-2-Clause */
/* A line of 'info mtree -f' reads
 *     0000000000100000-000000007fffffff (prio 0, ram): m0 @0000000000100000 KVM
 * first and last guest address, the kind, the memory's name, its offset therein (none: 0), and which accelerator has
 * it. Old machine types name a backend's memory by its path, /objects/m0. */
#include "tools/qemu/ram_layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/qemu/qmp.h"
#include "transport/error.h"

#define RANGES_MAX 512u

/* What the guest sees of a backend at consecutive addresses. */
struct range {
    uint32_t backend;
    uint64_t guest_address, length_bytes, offset_bytes;
};

struct ranges {
    uint32_t n;
    struct range list[RANGES_MAX];
};

static bool same_name(const char *name, size_t length, const char *id)
{
    static const char path[] = "/objects/";
    const size_t n = sizeof(path) - 1;

    if (length > n && !strncmp(name, path, n)) {
        name += n;
        length -= n;
    }
    return strlen(id) == length && !strncmp(name, id, length);
}

/* ---- reading ---- */

static int read_backends(struct json_object *memdevs, struct ram_layout *out, struct tern_error *error)
{
    size_t n = json_object_is_type(memdevs, json_type_array) ? json_object_array_length(memdevs) : 0;

    if (n > RAM_BACKENDS_MAX)
        return error_set(error, -E2BIG, NULL, "%zu memory backends: at most %u are supported", n, RAM_BACKENDS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct json_object *memdev = json_object_array_get_idx(memdevs, i);
        struct ram_backend *backend = &out->backends[out->n_backends];
        const char *id = qmp_text(memdev, "id");

        if (!id)
            continue; /* one without id belongs to no device */
        if (strlen(id) >= sizeof(backend->id))
            return error_set(error, -E2BIG, "take a shorter id", "the id of memory backend '%s' is too long", id);
        snprintf(backend->id, sizeof(backend->id), "%s", id);
        backend->length_bytes = qmp_number(memdev, "size", 0);
        /* QEMU before 6.1 does not say: its mappings will. */
        backend->shared = qmp_truth(memdev, "share", true);
        out->n_backends++;
    }
    return 0;
}

/* false: not a line about guest RAM in a backend. */
static bool read_range(const char *line, const struct ram_layout *layout, struct range *out)
{
    uint64_t first, last, offset = 0;
    const char *name, *at;
    char kind[16];
    size_t length;
    int n = 0;

    if (sscanf(line, " %" SCNx64 "-%" SCNx64 " (prio %*d, %15[^)]): %n", &first, &last, kind, &n) < 3 || !n)
        return false;
    if ((strcmp(kind, "ram") && strcmp(kind, "nv-ram")) || last < first)
        return false;
    name = line + n;
    length = strcspn(name, " \r\n"); /* an id has no blanks */
    at = name + length;
    if (!strncmp(at, " @", 2))
        offset = strtoull(at + 2, NULL, 16);
    for (uint32_t i = 0; i < layout->n_backends; i++) {
        if (!same_name(name, length, layout->backends[i].id))
            continue;
        *out = (struct range){i, first, last - first + 1, offset};
        return true;
    }
    return false;
}

/* The view that has the address space "memory"; other views (of devices, of system management mode) repeat it. */
static int read_view(const char *mtree, const struct ram_layout *layout, struct ranges *out, struct tern_error *error)
{
    bool ours = false, found = false;

    for (const char *line = mtree; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        if (!strncmp(line, "FlatView #", 10)) {
            ours = false;
        } else if (!strncmp(line, " AS \"memory\",", 13)) {
            ours = found = true;
        } else if (ours && out->n == RANGES_MAX) {
            return error_set(error, -E2BIG, NULL, "the guest's memory is in more than %u pieces", RANGES_MAX);
        } else if (ours && read_range(line, layout, &out->list[out->n])) {
            out->n++;
        }
    }
    return found ? 0 : error_set(error, -EPROTO, NULL, "QEMU's 'info mtree -f' does not show the guest's memory");
}

/* ---- deciding ---- */

static int by_offset(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    if (x->backend != y->backend)
        return x->backend < y->backend ? -1 : 1;
    return x->offset_bytes < y->offset_bytes ? -1 : x->offset_bytes > y->offset_bytes;
}

static int by_guest_address(const void *a, const void *b)
{
    const struct ram_part *x = a, *y = b;

    return x->guest_address < y->guest_address ? -1 : x->guest_address > y->guest_address;
}

static bool continues(const struct ram_part *part, const struct range *range)
{
    return part->backend == range->backend &&
           range->guest_address - range->offset_bytes == part->guest_address - part->offset_bytes;
}

/* Ranges of one backend at the same distance from their offsets are one part. A part reaches from where the part
 * before it in the backend ends, so that nothing of the backend is left out. */
static int join_ranges(const struct ranges *ranges, struct ram_layout *layout, struct tern_error *error)
{
    struct ram_part *part = NULL;

    for (uint32_t i = 0; i < ranges->n; i++) {
        const struct range *range = &ranges->list[i];
        struct ram_backend *backend = &layout->backends[range->backend];
        uint64_t hidden = part && part->backend == range->backend ? 0 : range->offset_bytes;

        if (!range->length_bytes || range->length_bytes > backend->length_bytes ||
            range->offset_bytes > backend->length_bytes - range->length_bytes || hidden > range->guest_address)
            return error_set(error, -EPROTO, NULL, "QEMU shows more of memory backend '%s' than there is", backend->id);
        backend->seen = true;
        if (part && continues(part, range))
            continue;
        if (layout->n_parts == RAM_PARTS_MAX)
            return error_set(error, -E2BIG, NULL, "the guest's RAM is in more than %u parts", RAM_PARTS_MAX);
        part = &layout->parts[layout->n_parts++];
        part->backend = range->backend;
        part->guest_address = range->guest_address - hidden;
        part->offset_bytes = range->offset_bytes - hidden;
        part->visible_address = range->guest_address;
    }
    return 0;
}

/* number -1: the only part. */
static void name_part(struct ram_part *part, const char *id, int number)
{
    char suffix[8] = "";
    size_t n;

    if (number >= 0)
        snprintf(suffix, sizeof(suffix), ":%u", (unsigned)number % 1000);
    n = strnlen(id, sizeof(part->name) - sizeof(suffix));
    memcpy(part->name, id, n);
    memcpy(part->name + n, suffix, sizeof(suffix));
}

static void measure_parts(struct ram_layout *layout)
{
    int number = -1;

    for (uint32_t i = 0; i < layout->n_parts; i++) {
        struct ram_part *part = &layout->parts[i];
        const struct ram_backend *backend = &layout->backends[part->backend];
        bool follows = i && part[-1].backend == part->backend,
             followed = i + 1 < layout->n_parts && part[1].backend == part->backend;

        part->length_bytes = (followed ? part[1].offset_bytes : backend->length_bytes) - part->offset_bytes;
        number = follows || followed ? (follows ? number + 1 : 0) : -1;
        name_part(part, backend->id, number);
    }
}

static int refuse(const struct ram_layout *layout, struct json_object *summary, struct tern_error *error)
{
    uint64_t all = qmp_number(summary, "base-memory", 0) + qmp_number(summary, "plugged-memory", 0), seen = 0;

    for (uint32_t i = 0; i < layout->n_backends; i++) {
        const struct ram_backend *backend = &layout->backends[i];

        if (backend->seen && !backend->shared)
            return error_set(
                error, -ENOTSUP,
                "start QEMU with -object memory-backend-file,share=on,mem-path=/dev/shm/NAME,id=ID,size=SIZE",
                "the guest's RAM '%s' is not shared memory", backend->id);
        seen += backend->seen ? backend->length_bytes : 0;
    }
    if (!seen || seen < all)
        return error_set(error, -ENOTSUP, "give the machine a memory backend with share=on",
                         "%" PRIu64 " MiB of the guest's RAM are in no memory backend that the guest sees",
                         (all - seen) >> 20);
    for (uint32_t i = 1; i < layout->n_parts; i++)
        if (layout->parts[i].guest_address - layout->parts[i - 1].guest_address < layout->parts[i - 1].length_bytes)
            return error_set(error, -ENOTSUP, NULL, "the guest sees '%s' and '%s' at the same addresses",
                             layout->parts[i - 1].name, layout->parts[i].name);
    return 0;
}

int ram_layout_decide(struct json_object *memdevs, struct json_object *summary, const char *mtree,
                      struct ram_layout *out, struct tern_error *error)
{
    struct ranges *ranges = calloc(1, sizeof(*ranges));
    int r;

    memset(out, 0, sizeof(*out));
    if (!ranges)
        return error_set(error, -ENOMEM, NULL, "out of memory for the guest's layout");
    r = read_backends(memdevs, out, error);
    if (!r)
        r = read_view(mtree, out, ranges, error);
    if (!r) {
        qsort(ranges->list, ranges->n, sizeof(*ranges->list), by_offset);
        r = join_ranges(ranges, out, error);
    }
    free(ranges);
    if (r)
        return r;
    measure_parts(out);
    qsort(out->parts, out->n_parts, sizeof(*out->parts), by_guest_address);
    return refuse(out, summary, error);
}

bool ram_layout_equal(const struct ram_layout *a, const struct ram_layout *b, struct tern_error *error)
{
    uint32_t n = a->n_parts < b->n_parts ? a->n_parts : b->n_parts, i;

    for (i = 0; i < n; i++) {
        const struct ram_part *x = &a->parts[i], *y = &b->parts[i];

        if (strcmp(x->name, y->name) || x->guest_address != y->guest_address || x->length_bytes != y->length_bytes ||
            x->offset_bytes != y->offset_bytes)
            break;
    }
    if (i == a->n_parts && i == b->n_parts)
        return true;
    error_set(error, -ESTALE, NULL, "the guest's RAM has changed: '%s' at 0x%" PRIx64 " is %s",
              i < b->n_parts ? b->parts[i].name : a->parts[i].name,
              i < b->n_parts ? b->parts[i].guest_address : a->parts[i].guest_address, i < b->n_parts ? "new" : "gone");
    return false;
}

bool ram_host_address(const char *answer, const char *backend_id, uint64_t *address_out)
{
    const char *name = strchr(answer, '('), *end = name ? strchr(name, ')') : NULL;

    return end && !strncmp(answer, "Host virtual address for ", 25) &&
           same_name(name + 1, (size_t)(end - name - 1), backend_id) &&
           sscanf(end, ") is 0x%" SCNx64, address_out) == 1;
}
