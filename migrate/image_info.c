/* SPDX-License-Identifier: BSD-2-Clause */
/* tern_image_*: what is in an image, and whether all of it is as it was written. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "migrate/image_load.h"
#include "migrate/tern.h"
#include "transport/error.h"

_Static_assert(TERN_IMAGE_REGIONS_MAX == WIRE_REGIONS_MAX && TERN_IMAGE_SECTIONS_MAX == IMAGE_SECTIONS_MAX,
               "tern.h differs from the format");

static void describe(const struct image *image, struct tern_image *out)
{
    const struct image_head *head = &image->head;

    *out = (struct tern_image){.struct_bytes = sizeof(*out),
                               .version = IMAGE_VERSION,
                               .created_s = head->created_s,
                               .file_bytes = head->file_bytes,
                               .n_sections = head->n_sections};
    memcpy(out->kind, head->kind, sizeof(out->kind));
    for (uint32_t i = 0; i < head->n_sections; i++) {
        const struct image_section *from = &head->sections[i];
        struct tern_image_section *to = &out->sections[i];

        *to = (struct tern_image_section){.offset_bytes = from->offset_bytes,
                                          .length_bytes = from->length_bytes,
                                          .digest = from->digest,
                                          .guest_address = from->guest_address,
                                          .page_bytes = from->page_bytes};
        memcpy(to->name, from->name, sizeof(to->name));
        if (from->type != IMAGE_MEMORY)
            continue;
        out->regions[out->n_regions] = (struct tern_region){
            .guest_address = from->guest_address, .length_bytes = from->length_bytes, .page_bytes = from->page_bytes};
        memcpy(out->regions[out->n_regions++].name, from->name, sizeof(from->name));
        out->memory_bytes += from->length_bytes;
    }
}

int tern_image_read(const char *path, struct tern_image *out, struct tern_error *error)
{
    struct image image;
    struct stat stat;
    int r;

    if (out->struct_bytes != sizeof(*out))
        return error_set(error, -EINVAL, "see migrate/tern.h", "tern_image.struct_bytes is not of this version");
    r = image_open(path, &image, error);
    if (r)
        return r;
    describe(&image, out);
    if (!fstat(image.fd, &stat))
        out->disk_bytes = (uint64_t)stat.st_blocks * 512;
    image_close(&image);
    return 0;
}

/* ---- all of it ---- */

static uint8_t *place(void *opaque, uint64_t group, uint32_t slot)
{
    (void)group;
    return (uint8_t *)opaque + slot * IMAGE_GROUP_BYTES;
}

static int check_memory(const struct image *image, struct tern_error *error)
{
    static const struct image_load_ops ops = {.place = place};
    uint64_t length = IMAGE_LOAD_SLOTS * IMAGE_GROUP_BYTES;
    void *buffers = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int r;

    if (buffers == MAP_FAILED)
        return error_set(error, -ENOMEM, NULL, "out of memory for reading the image");
    r = image_load(image, &ops, buffers, NULL, error);
    munmap(buffers, length);
    return r;
}

static int check_small(const struct image *image, enum image_type type, struct tern_error *error)
{
    const struct image_section *section = image_find(&image->head, type, 0);
    void *buffer;
    int r;

    if (!section)
        return 0;
    buffer = malloc(section->length_bytes + 1);
    if (!buffer)
        return error_set(error, -ENOMEM, NULL, "out of memory for reading the image");
    r = image_get(image, section, buffer, error);
    free(buffer);
    return r;
}

int tern_image_check(const char *path, struct tern_error *error)
{
    struct image image;
    int r = image_open(path, &image, error);

    if (r)
        return r;
    r = check_small(&image, IMAGE_PROFILE, error);
    if (!r)
        r = check_memory(&image, error);
    if (!r)
        r = check_small(&image, IMAGE_STATE, error);
    image_close(&image);
    return r;
}
