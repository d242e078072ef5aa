/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/image_format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "migrate/digest.h"
#include "migrate/vm.h"
#include "migrate/wire_bytes.h"
#include "transport/error.h"

#define MAGIC          "TERNIMG\n"
#define HEADER_BYTES   96u
#define DIGESTED_BYTES 88u /* of the header */
#define SECTION_BYTES  128u
#define OFFSET_MAX     (1ull << 56)

_Static_assert(IMAGE_ALIGN + IMAGE_SECTIONS_MAX * SECTION_BYTES <= IMAGE_HEAD_BYTES, "the table does not fit the head");

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

uint64_t image_groups(uint64_t length_bytes)
{
    return (length_bytes + IMAGE_GROUP_BYTES - 1) / IMAGE_GROUP_BYTES;
}

/* ---- the sections ---- */

static struct image_section *add(struct image_head *head, enum image_type type, const char *name, uint64_t length_bytes)
{
    const struct image_section *last = head->n_sections ? &head->sections[head->n_sections - 1] : NULL;
    struct image_section *section = &head->sections[head->n_sections++];
    uint64_t end = last ? last->offset_bytes + last->length_bytes : IMAGE_HEAD_BYTES;

    *section = (struct image_section){.type = type, .length_bytes = length_bytes};
    section->offset_bytes = round_up(end, type == IMAGE_MEMORY ? IMAGE_GROUP_BYTES : IMAGE_ALIGN);
    snprintf(section->name, sizeof(section->name), "%s", name);
    head->file_bytes = round_up(section->offset_bytes + length_bytes, IMAGE_ALIGN);
    return section;
}

void image_describe(struct image_head *head, const struct tern_vm *vm, uint64_t profile_bytes, uint64_t state_bytes)
{
    uint64_t n_groups = 0;

    *head = (struct image_head){0};
    memcpy(head->kind, vm->kind, sizeof(head->kind));
    if (profile_bytes)
        add(head, IMAGE_PROFILE, "profile", profile_bytes);
    for (uint32_t i = 0; i < vm->n_regions; i++) {
        const struct tern_region *region = &vm->regions[i];
        struct image_section *section = add(head, IMAGE_MEMORY, region->name, region->length_bytes);

        section->guest_address = region->guest_address;
        section->page_bytes = region->page_bytes;
        n_groups += image_groups(region->length_bytes);
    }
    add(head, IMAGE_DIGESTS, "digests", n_groups * sizeof(uint64_t));
    add(head, IMAGE_STATE, "state", state_bytes);
}

const struct image_section *image_find(const struct image_head *head, enum image_type type, uint32_t region)
{
    for (uint32_t i = 0; i < head->n_sections; i++)
        if (head->sections[i].type == type && (type != IMAGE_MEMORY || !region--))
            return &head->sections[i];
    return NULL;
}

struct image_section *image_section(struct image_head *head, enum image_type type, uint32_t region)
{
    const struct image_section *found = image_find(head, type, region);

    return found ? &head->sections[found - head->sections] : NULL;
}

uint32_t image_regions(const struct image_head *head)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < head->n_sections; i++)
        n += head->sections[i].type == IMAGE_MEMORY;
    return n;
}

/* ---- writing ---- */

static void put_section(struct wire_writer *w, const struct image_section *section)
{
    static const uint8_t zeros[SECTION_BYTES - 80];

    put_u32(w, section->type);
    put_u32(w, 0);
    put_bytes(w, section->name, sizeof(section->name));
    put_u64(w, section->offset_bytes);
    put_u64(w, section->length_bytes);
    put_u64(w, section->digest);
    put_u64(w, section->guest_address);
    put_u64(w, section->page_bytes);
    put_bytes(w, zeros, sizeof(zeros));
}

void image_put_head(const struct image_head *head, uint8_t out[IMAGE_HEAD_BYTES])
{
    struct wire_writer header = writer_on(out), table = writer_on(out + IMAGE_ALIGN);

    memset(out, 0, IMAGE_HEAD_BYTES);
    for (uint32_t i = 0; i < head->n_sections; i++)
        put_section(&table, &head->sections[i]);
    put_bytes(&header, MAGIC, 8);
    put_u32(&header, IMAGE_VERSION);
    put_u32(&header, TERN_PAGE_BYTES);
    put_u64(&header, head->file_bytes);
    put_u32(&header, head->n_sections);
    put_u32(&header, 0);
    put_bytes(&header, head->kind, sizeof(head->kind));
    put_u64(&header, head->created_s);
    put_u64(&header, digest_bytes(out + HEADER_BYTES, IMAGE_HEAD_BYTES - HEADER_BYTES));
    put_u64(&header, 0);
    put_u64(&header, digest_bytes(out, DIGESTED_BYTES));
}

/* ---- reading ---- */

static int damaged(const char *section, const char *what, struct tern_error *error)
{
    return error_set(error, -EILSEQ, "take another copy of the image", "section '%s' of the image is damaged: %s",
                     section, what);
}

static bool is_name(const char name[TERN_NAME_BYTES])
{
    size_t n = strnlen(name, TERN_NAME_BYTES);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < ' ' || (unsigned char)name[i] == 0x7f)
            return false;
    return n && n < TERN_NAME_BYTES;
}

static void get_section(struct wire_reader *r, struct image_section *section)
{
    section->type = (enum image_type)get_u32(r);
    get_u32(r);
    get_bytes(r, section->name, sizeof(section->name));
    section->offset_bytes = get_u64(r);
    section->length_bytes = get_u64(r);
    section->digest = get_u64(r);
    section->guest_address = get_u64(r);
    section->page_bytes = get_u64(r);
    r->at += SECTION_BYTES - 80;
    r->left -= SECTION_BYTES - 80;
}

static int check_memory(const struct image_section *section, uint64_t *after, struct tern_error *error)
{
    uint64_t page = section->page_bytes;

    if (page != TERN_PAGE_BYTES && page != (2ull << 20) && page != (1ull << 30))
        return damaged(section->name, "its pages have no known size", error);
    if (!section->length_bytes || section->length_bytes % page || section->offset_bytes % IMAGE_GROUP_BYTES)
        return damaged(section->name, "it is not in whole pages", error);
    if (section->guest_address % TERN_PAGE_BYTES || section->guest_address < *after ||
        section->guest_address > OFFSET_MAX)
        return damaged(section->name, "its guest address overlaps another's", error);
    *after = section->guest_address + section->length_bytes;
    return 0;
}

/* Sections stand in the file as in the table, each within it, none in another. */
static int check_place(const struct image_section *section, const struct image_head *head, uint64_t *end,
                       struct tern_error *error)
{
    if (!is_name(section->name))
        return damaged("table", "a section has no proper name", error);
    if (section->offset_bytes % IMAGE_ALIGN || section->offset_bytes < *end || section->offset_bytes > OFFSET_MAX ||
        section->length_bytes > OFFSET_MAX || section->offset_bytes + section->length_bytes > head->file_bytes)
        return damaged(section->name, "it lies outside of its place", error);
    *end = section->offset_bytes + section->length_bytes;
    return 0;
}

/* Readers allocate it, and go through it by what the memory sections say, wherever they stand. */
static int check_digests(const struct image_section *section, uint64_t n_groups, struct tern_error *error)
{
    if (section->length_bytes != n_groups * sizeof(uint64_t))
        return damaged(section->name, "it is not of all memory", error);
    return n_groups > IMAGE_MEMORY_MAX / IMAGE_GROUP_BYTES
               ? damaged(section->name, "it is of more memory than any guest can have", error)
               : 0;
}

static int check_sections(const struct image_head *head, struct tern_error *error)
{
    uint64_t end = IMAGE_HEAD_BYTES, after = 0, n_groups = 0;
    uint32_t n[IMAGE_STATE + 1] = {0};
    int r = 0;

    for (uint32_t i = 0; i < head->n_sections && !r; i++) {
        const struct image_section *section = &head->sections[i];

        if (section->type < IMAGE_MEMORY || section->type > IMAGE_STATE)
            return damaged("table", "a section is of an unknown type", error);
        n[section->type]++;
        r = check_place(section, head, &end, error);
        if (!r && section->type == IMAGE_MEMORY) {
            r = check_memory(section, &after, error);
            n_groups += image_groups(section->length_bytes);
        } else if (!r && (section->guest_address || section->page_bytes)) {
            r = damaged(section->name, "it has a guest address", error);
        }
        if (!r && ((section->type == IMAGE_STATE && section->length_bytes > STATE_CAPACITY_MAX) ||
                   (section->type == IMAGE_PROFILE && section->length_bytes > TERN_PROFILE_BYTES)))
            r = damaged(section->name, "it is larger than any can be", error);
    }
    if (!r && (!n[IMAGE_MEMORY] || n[IMAGE_MEMORY] > WIRE_REGIONS_MAX || n[IMAGE_PROFILE] > 1 ||
               n[IMAGE_DIGESTS] != 1 || n[IMAGE_STATE] != 1))
        r = damaged("table", "sections are missing, or there twice", error);
    return r ? r : check_digests(image_find(head, IMAGE_DIGESTS, 0), n_groups, error);
}

bool image_is_one(const uint8_t bytes[8])
{
    return !memcmp(bytes, MAGIC, 8);
}

/* Before anything else is believed of it. */
static int check_header(const uint8_t *in, struct tern_error *error)
{
    struct wire_reader r = reader_on(in, HEADER_BYTES);
    char magic[8];
    uint32_t version;

    get_bytes(&r, magic, sizeof(magic));
    version = get_u32(&r);
    if (memcmp(magic, MAGIC, sizeof(magic)))
        return error_set(error, -EINVAL, "a suspend that was cut short leaves such a file, named .partial",
                         "section 'header': this is no image of tern's, or one that was never finished");
    if (version != IMAGE_VERSION)
        return error_set(error, -EPROTONOSUPPORT, version > IMAGE_VERSION ? "resume it with a newer tern" : NULL,
                         "section 'header': the image is of version %u, this tern reads version %u only", version,
                         IMAGE_VERSION);
    r.at = in + DIGESTED_BYTES;
    r.left = HEADER_BYTES - DIGESTED_BYTES;
    return get_u64(&r) == digest_bytes(in, DIGESTED_BYTES) ? 0 : damaged("header", "its digest differs", error);
}

static int get_header(const uint8_t *in, struct image_head *head, struct tern_error *error)
{
    struct wire_reader r = reader_on(in + 12, HEADER_BYTES - 12);
    uint32_t unit = get_u32(&r);
    uint64_t table_digest;

    head->file_bytes = get_u64(&r);
    head->n_sections = get_u32(&r);
    get_u32(&r);
    get_bytes(&r, head->kind, sizeof(head->kind));
    head->created_s = get_u64(&r);
    table_digest = get_u64(&r);
    if (unit != TERN_PAGE_BYTES || !is_name(head->kind) || head->n_sections > IMAGE_SECTIONS_MAX)
        return damaged("header", "a field has no possible value", error);
    if (table_digest != digest_bytes(in + HEADER_BYTES, IMAGE_HEAD_BYTES - HEADER_BYTES))
        return damaged("table", "its digest differs", error);
    return 0;
}

static int check_length(const struct image_head *head, uint64_t file_bytes, struct tern_error *error)
{
    const char *name = "header";

    if (file_bytes >= head->file_bytes)
        return 0;
    for (uint32_t i = 0; i < head->n_sections; i++)
        if (head->sections[i].offset_bytes + head->sections[i].length_bytes > file_bytes) {
            name = head->sections[i].name;
            break;
        }
    return error_set(error, -ENODATA, "take another copy of the image",
                     "section '%s' of the image is cut off: the file has %llu of %llu bytes", name,
                     (unsigned long long)file_bytes, (unsigned long long)head->file_bytes);
}

int image_get_head(const uint8_t in[IMAGE_HEAD_BYTES], uint64_t file_bytes, struct image_head *out,
                   struct tern_error *error)
{
    struct image_head head = {0};
    struct wire_reader table = reader_on(in + IMAGE_ALIGN, IMAGE_HEAD_BYTES - IMAGE_ALIGN);
    int r = check_header(in, error);

    if (!r)
        r = get_header(in, &head, error);
    for (uint32_t i = 0; i < head.n_sections && !r; i++)
        get_section(&table, &head.sections[i]);
    if (!r)
        r = check_sections(&head, error);
    if (!r)
        r = check_length(&head, file_bytes, error);
    if (!r)
        *out = head;
    return r;
}

/* ---- does it fit ---- */

int image_fits(const struct image_head *head, const struct tern_vm *vm, struct tern_error *error)
{
    uint32_t n = image_regions(head), region = 0;

    if (strcmp(head->kind, vm->kind))
        return error_set(error, -EINVAL, NULL, "section 'header': the image is of a '%s', this VM is a '%s'",
                         head->kind, vm->kind);
    if (n != vm->n_regions)
        return error_set(error, -EINVAL, "start the VM with the memory that the suspended one had",
                         "section 'table': the image has %u memory regions, this VM %u", n, vm->n_regions);
    for (uint32_t i = 0; i < head->n_sections; i++) {
        const struct image_section *a = &head->sections[i];
        const struct tern_region *b;

        if (a->type != IMAGE_MEMORY)
            continue;
        b = &vm->regions[region++];
        if (strcmp(a->name, b->name) || a->guest_address != b->guest_address || a->length_bytes != b->length_bytes)
            return error_set(error, -EINVAL, "start the VM with the memory that the suspended one had",
                             "section '%s' does not fit: %llu MiB at %#llx, this VM has '%s' of %llu MiB at %#llx",
                             a->name, (unsigned long long)a->length_bytes >> 20, (unsigned long long)a->guest_address,
                             b->name, (unsigned long long)b->length_bytes >> 20, (unsigned long long)b->guest_address);
    }
    return 0;
}
