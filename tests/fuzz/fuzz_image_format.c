/* SPDX-License-Identifier: BSD-2-Clause */
/* The head of an image, its digests made to agree: what is accepted holds together, and is the same after a way out and
 * in. An input is the header, then the section table. */
#include <endian.h>
#include <string.h>

#include "migrate/digest.h"
#include "migrate/image_format.h"
#include "tests/fuzz/fuzz.h"

#define HEADER_BYTES 96u

static uint8_t bytes[IMAGE_HEAD_BYTES], twice[IMAGE_HEAD_BYTES];

static void put_u64(uint32_t at, uint64_t value)
{
    value = htole64(value);
    memcpy(bytes + at, &value, sizeof(value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct image_head head, again;
    size_t n = size < HEADER_BYTES ? size : HEADER_BYTES, rest = size - n;
    uint64_t end = IMAGE_HEAD_BYTES, n_groups = 0;

    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, data, n);
    if (rest > IMAGE_HEAD_BYTES - IMAGE_ALIGN)
        rest = IMAGE_HEAD_BYTES - IMAGE_ALIGN;
    memcpy(bytes + IMAGE_ALIGN, data + n, rest);
    put_u64(72, digest_bytes(bytes + HEADER_BYTES, IMAGE_HEAD_BYTES - HEADER_BYTES));
    put_u64(88, digest_bytes(bytes, 88));
    if (image_get_head(bytes, UINT64_MAX, &head, NULL))
        return 0;
    for (uint32_t i = 0; i < head.n_sections; i++) {
        MUST(head.sections[i].offset_bytes >= end);
        end = head.sections[i].offset_bytes + head.sections[i].length_bytes;
        MUST(end >= head.sections[i].offset_bytes && end <= head.file_bytes);
        if (head.sections[i].type == IMAGE_MEMORY)
            n_groups += image_groups(head.sections[i].length_bytes);
    }
    MUST(image_regions(&head) >= 1 && image_section(&head, IMAGE_STATE, 0) && image_section(&head, IMAGE_DIGESTS, 0));
    MUST(image_section(&head, IMAGE_DIGESTS, 0)->length_bytes == n_groups * sizeof(uint64_t));
    image_put_head(&head, bytes);
    MUST(!image_get_head(bytes, UINT64_MAX, &again, NULL));
    image_put_head(&again, twice);
    MUST(!memcmp(bytes, twice, sizeof(bytes)));
    return 0;
}
