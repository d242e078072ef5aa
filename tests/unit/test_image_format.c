/* SPDX-License-Identifier: BSD-2-Clause */
/* The head of an image: there and back, every bit flipped, every field garbage with digests that agree, cut off,
 * foreign, of another version, of another VM. */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "migrate/digest.h"
#include "migrate/image_format.h"

#define MIB           (1ull << 20)
#define TABLE         4096u
#define SECTION_BYTES 128u
#define MEMORY_LOW    (TABLE + 1 * SECTION_BYTES) /* after the profile */
#define MEMORY_HIGH   (TABLE + 2 * SECTION_BYTES)
#define DIGESTS       (TABLE + 3 * SECTION_BYTES)
#define STATE         (TABLE + 4 * SECTION_BYTES)

static struct tern_region regions[] = {
    {.guest_address = 0, .length_bytes = 5 * MIB, .page_bytes = 4096, .name = "low"},
    {.guest_address = 1ull << 32, .length_bytes = 2 * MIB, .page_bytes = 2 * MIB, .name = "high"},
};
static const struct tern_vm vm = {.kind = "test 1", .regions = regions, .n_regions = 2};
static uint8_t bytes[IMAGE_HEAD_BYTES], again[IMAGE_HEAD_BYTES];

static struct image_head make(void)
{
    struct image_head head;

    image_describe(&head, &vm, 100, 5000);
    head.created_s = 1234567;
    for (uint32_t i = 0; i < head.n_sections; i++)
        head.sections[i].digest = 1000 + i;
    image_put_head(&head, bytes);
    return head;
}

static int get(uint64_t file_bytes, struct tern_error *error)
{
    struct image_head head;

    return image_get_head(bytes, file_bytes, &head, error);
}

/* As whoever made the garbage would have. */
static void sign(void)
{
    uint64_t digest = htole64(digest_bytes(bytes + 96, IMAGE_HEAD_BYTES - 96));

    memcpy(bytes + 72, &digest, 8);
    digest = htole64(digest_bytes(bytes, 88));
    memcpy(bytes + 88, &digest, 8);
}

static void put(uint32_t at, uint64_t value, uint32_t n)
{
    value = htole64(value);
    memcpy(bytes + at, &value, n);
}

Test(image_format, there_and_back)
{
    struct image_head head = make(), back;
    struct tern_error error = {0};

    cr_assert_eq(image_get_head(bytes, head.file_bytes, &back, &error), 0, "%s", error.message);
    image_put_head(&back, again);
    cr_assert_eq(memcmp(bytes, again, sizeof(bytes)), 0);
    cr_assert_eq(back.n_sections, 5);
    cr_assert_eq(image_regions(&back), 2);
    cr_assert_eq(image_section(&back, IMAGE_MEMORY, 0)->offset_bytes, 2 * MIB);
    cr_assert_eq(image_section(&back, IMAGE_MEMORY, 1)->offset_bytes, 8 * MIB);
    cr_assert_eq(image_section(&back, IMAGE_DIGESTS, 0)->length_bytes, 4 * 8);
    cr_assert_eq(image_section(&back, IMAGE_MEMORY, 2), NULL);
    cr_assert_eq(image_fits(&back, &vm, &error), 0, "%s", error.message);
}

Test(image_format, without_a_profile)
{
    struct image_head head, back;

    image_describe(&head, &vm, 0, 0);
    image_put_head(&head, bytes);
    cr_assert_eq(image_get_head(bytes, head.file_bytes, &back, NULL), 0);
    cr_assert_eq(image_section(&back, IMAGE_PROFILE, 0), NULL);
}

Test(image_format, every_flipped_bit_is_seen)
{
    struct image_head head = make();

    for (uint32_t bit = 0; bit < IMAGE_HEAD_BYTES * 8; bit++) {
        struct tern_error error = {0};

        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_neq(get(head.file_bytes, &error), 0, "bit %u", bit);
        cr_assert(strstr(error.message, "section '"), "%s", error.message);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cr_assert_eq(get(head.file_bytes, NULL), 0);
}

Test(image_format, foreign_newer_and_older)
{
    struct image_head head = make();
    struct tern_error error = {0};

    put(8, IMAGE_VERSION + 1, 4);
    cr_assert_eq(get(head.file_bytes, &error), -EPROTONOSUPPORT);
    cr_assert(strstr(error.message, "version 2"), "%s", error.message);
    cr_assert(strstr(error.hint, "newer tern"), "%s", error.hint);
    put(8, 0, 4);
    cr_assert_eq(get(head.file_bytes, &error), -EPROTONOSUPPORT);
    memset(bytes, 0, sizeof(bytes)); /* not finished */
    cr_assert_eq(get(head.file_bytes, &error), -EINVAL);
    cr_assert(strstr(error.message, "no image"), "%s", error.message);
    memcpy(bytes,
           "\x7f"
           "ELF",
           4);
    cr_assert_eq(get(head.file_bytes, &error), -EINVAL);
}

Test(image_format, a_file_that_is_cut_off_names_the_first_section_that_is)
{
    struct image_head head = make();
    struct tern_error error = {0};

    for (uint32_t i = 0; i < head.n_sections; i++) {
        const struct image_section *section = &head.sections[i];
        char name[64];

        snprintf(name, sizeof(name), "section '%s'", section->name);
        cr_assert_eq(get(section->offset_bytes + section->length_bytes - 1, &error), -ENODATA);
        cr_assert(strstr(error.message, name), "%s, not %s", error.message, name);
    }
    cr_assert_eq(get(head.file_bytes + 4096, NULL), 0, "what follows is nobody's");
}

struct garbage {
    uint32_t at, n;
    uint64_t value;
    const char *says;
};

Test(image_format, fields_that_cannot_be)
{
    static const struct garbage list[] = {
        {12, 4, 8192, "'header'"},                   /* unit of pages */
        {16, 8, 0, "'profile'"},                     /* length: no section fits */
        {16, 8, 9 * MIB, "'high'"},                  /* shorter than the sections need */
        {24, 4, IMAGE_SECTIONS_MAX + 1, "'header'"}, /* number of sections */
        {24, 4, UINT32_MAX, "'header'"},             /* likewise */
        {24, 4, 0, "'table'"},                       /* none */
        {24, 4, 4, "'table'"},                       /* no state */
        {24, 4, 6, "'table'"},                       /* one that is not there */
        {32, 1, 0, "'header'"},                      /* no kind */
        {32, 1, '\n', "'header'"},                   /* one that cannot be printed */
        {TABLE, 4, 0, "'table'"},                    /* type */
        {TABLE, 4, 9, "'table'"},                    /* likewise */
        {TABLE, 4, IMAGE_STATE, "'table'"},          /* twice */
        {TABLE + 8, 1, 0, "'table'"},                /* name */
        {TABLE + 8, 1, 0x7f, "'table'"},             /* likewise */
        {TABLE + 40, 8, 0, "'profile'"},             /* in the head */
        {TABLE + 40, 8, 5000, "'profile'"},          /* not aligned */
        {TABLE + 48, 8, 3 * MIB, "'profile'"},       /* into the next */
        {TABLE + 48, 8, TERN_PROFILE_BYTES + 1, "'profile'"},
        {TABLE + 64, 8, 4096, "'profile'"},                  /* a guest address */
        {MEMORY_LOW + 40, 8, UINT64_MAX - 4095, "'low'"},    /* offset */
        {MEMORY_LOW + 40, 8, 2 * MIB + 4096, "'low'"},       /* not of groups */
        {MEMORY_LOW + 48, 8, 0, "'low'"},                    /* length */
        {MEMORY_LOW + 48, 8, UINT64_MAX, "'low'"},           /* likewise */
        {MEMORY_LOW + 48, 8, 5 * MIB + 1, "'low'"},          /* likewise */
        {MEMORY_LOW + 48, 8, 7 * MIB, "'high'"},             /* into the next */
        {MEMORY_LOW + 48, 8, MIB, "'digests'"},              /* fewer groups than digests */
        {MEMORY_LOW + 64, 8, 1ull << 63, "'low'"},           /* guest address */
        {MEMORY_LOW + 64, 8, (1ull << 32) - 4096, "'high'"}, /* into the next */
        {MEMORY_LOW + 72, 8, 8192, "'low'"},                 /* size of pages */
        {MEMORY_LOW + 72, 8, 2 * MIB, "'low'"},              /* does not divide it */
        {MEMORY_HIGH + 64, 8, 4096, "'high'"},               /* into the one before */
        {DIGESTS + 48, 8, 4 * 8 + 8, "'digests'"},           /* length */
        {DIGESTS + 72, 8, 4096, "'digests'"},                /* size of pages */
        {STATE + 48, 8, 1ull << 62, "'state'"},              /* length */
        {STATE + 40, 8, 4096, "'state'"},                    /* before the others */
    };

    for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
        struct image_head head = make();
        struct tern_error error = {0};
        int r;

        put(list[i].at, list[i].value, list[i].n);
        sign();
        r = get(head.file_bytes, &error);
        cr_assert(r == -EILSEQ || r == -ENODATA, "%zu: %d", i, r);
        cr_assert(strstr(error.message, list[i].says), "%zu: %s", i, error.message);
    }
}

/* Their length is checked against the memory that stands before them, and would not be against what follows. */
Test(image_format, digests_before_the_last_memory)
{
    struct image_head head = make();
    struct image_section *memory = image_section(&head, IMAGE_MEMORY, 1);
    struct image_section *digests = image_section(&head, IMAGE_DIGESTS, 0);
    struct tern_error error = {0};
    struct image_section second = *memory;

    *memory = *digests;
    memory->offset_bytes = head.sections[1].offset_bytes + head.sections[1].length_bytes;
    memory->length_bytes = 3 * sizeof(uint64_t); /* of the first one */
    *digests = second;
    image_put_head(&head, bytes);
    cr_assert_eq(get(head.file_bytes, &error), -EILSEQ);
    cr_assert(strstr(error.message, "section 'digests'"), "%s", error.message);
}

/* A file of holes may say so, and its digests would be allocated. */
Test(image_format, more_memory_than_any_guest_has)
{
    struct tern_region vast = {.length_bytes = IMAGE_MEMORY_MAX, .page_bytes = 4096, .name = "vast"};
    struct tern_vm other = {.kind = "test 1", .regions = &vast, .n_regions = 1};
    struct tern_error error = {0};
    struct image_head head;

    image_describe(&head, &other, 0, 0);
    image_put_head(&head, bytes);
    cr_assert_eq(get(head.file_bytes, &error), 0, "%s", error.message);
    vast.length_bytes += 2 * MIB;
    image_describe(&head, &other, 0, 0);
    image_put_head(&head, bytes);
    cr_assert_eq(get(head.file_bytes, &error), -EILSEQ);
    cr_assert(strstr(error.message, "section 'digests'"), "%s", error.message);
}

/* Whatever a field says: it is refused, or what comes out holds together. */
Test(image_format, every_byte_garbage, .timeout = 60)
{
    static const uint8_t values[] = {0, 1, 2, 3, 4, 5, 0x10, 0x20, 0x7f, 0x80, 0xff};
    struct image_head head = make();

    for (uint32_t at = 0; at < TABLE + 5 * SECTION_BYTES; at = at == 96 ? TABLE : at + 1)
        for (size_t v = 0; v < sizeof(values); v++) {
            struct image_head out;
            uint64_t end = IMAGE_HEAD_BYTES;

            make();
            bytes[at] = values[v];
            sign();
            if (image_get_head(bytes, head.file_bytes, &out, NULL))
                continue;
            cr_assert_leq(out.file_bytes, head.file_bytes);
            for (uint32_t i = 0; i < out.n_sections; i++) {
                const struct image_section *section = &out.sections[i];

                cr_assert_geq(section->offset_bytes, end, "byte %u is %u", at, values[v]);
                end = section->offset_bytes + section->length_bytes;
                cr_assert_leq(end, out.file_bytes, "byte %u is %u", at, values[v]);
                cr_assert_lt(strnlen(section->name, TERN_NAME_BYTES), TERN_NAME_BYTES);
            }
        }
}

Test(image_format, another_vm_is_told_with_both_values)
{
    struct image_head head = make();
    struct tern_region others[2] = {regions[0], regions[1]};
    struct tern_vm other = vm;
    struct tern_error error = {0};

    other.regions = others;
    cr_assert_eq(image_fits(&head, &other, NULL), 0);
    others[1].length_bytes = 4 * MIB;
    cr_assert_eq(image_fits(&head, &other, &error), -EINVAL);
    cr_assert(strstr(error.message, "section 'high'") && strstr(error.message, "2 MiB") &&
                  strstr(error.message, "4 MiB"),
              "%s", error.message);
    others[1] = regions[1];
    strcpy(others[0].name, "ram");
    cr_assert_eq(image_fits(&head, &other, &error), -EINVAL);
    others[0] = regions[0];
    others[1].page_bytes = 4096; /* what is behind it is this side's own matter */
    cr_assert_eq(image_fits(&head, &other, NULL), 0);
    other.n_regions = 1;
    cr_assert_eq(image_fits(&head, &other, &error), -EINVAL);
    cr_assert(strstr(error.message, "2 memory regions, this VM 1"), "%s", error.message);
    other.n_regions = 2;
    strcpy(other.kind, "test 2");
    cr_assert_eq(image_fits(&head, &other, &error), -EINVAL);
    cr_assert(strstr(error.message, "'test 1'") && strstr(error.message, "'test 2'"), "%s", error.message);
}
