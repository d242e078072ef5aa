/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/image_reader.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/digest.h"
#include "transport/error.h"

int image_cannot_read(const struct image *image, int code, struct tern_error *error)
{
    return error_set(error, code, NULL, "cannot read the image %s: %s", image->path, strerror(-code));
}

/* returns  bytes read, less than asked for at the end of the file; -errno */
static ssize_t read_all(int fd, void *buffer, uint64_t length_bytes, uint64_t offset_bytes)
{
    uint64_t done = 0;

    while (done < length_bytes) {
        ssize_t n = pread(fd, (uint8_t *)buffer + done, length_bytes - done, (off_t)(offset_bytes + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (!n)
            break;
        done += (uint64_t)n;
    }
    return (ssize_t)done;
}

static int damaged(const struct image_section *section, struct tern_error *error)
{
    return error_set(error, -EILSEQ, "take another copy of the image",
                     "section '%s' of the image is damaged: its digest differs", section->name);
}

int image_get(const struct image *image, const struct image_section *section, void *buffer, struct tern_error *error)
{
    ssize_t n = read_all(image->fd, buffer, section->length_bytes, section->offset_bytes);

    if (n < 0)
        return image_cannot_read(image, (int)n, error);
    if ((uint64_t)n != section->length_bytes || digest_bytes(buffer, section->length_bytes) != section->digest)
        return damaged(section, error);
    return 0;
}

/* ---- opening ---- */

static int get_head(struct image *image, struct tern_error *error)
{
    uint8_t bytes[IMAGE_HEAD_BYTES] = {0};
    struct stat stat;
    ssize_t n;

    if (fstat(image->fd, &stat))
        return image_cannot_read(image, -errno, error);
    if (!S_ISREG(stat.st_mode))
        return error_set(error, -EINVAL, NULL, "%s is no file", image->path);
    n = read_all(image->fd, bytes, sizeof(bytes), 0);
    return n < 0 ? image_cannot_read(image, (int)n, error)
                 : image_get_head(bytes, (uint64_t)stat.st_size, &image->head, error);
}

static int get_digests(struct image *image, struct tern_error *error)
{
    const struct image_section *section = image_find(&image->head, IMAGE_DIGESTS, 0);
    uint64_t first = 0;
    int r;

    image->n_groups = section->length_bytes / sizeof(uint64_t);
    image->groups = malloc(section->length_bytes);
    if (!image->groups)
        return error_set(error, -ENOMEM, NULL, "out of memory for the image's digests");
    r = image_get(image, section, image->groups, error);
    for (uint32_t i = 0; i < image_regions(&image->head) && !r; i++) {
        const struct image_section *memory = image_find(&image->head, IMAGE_MEMORY, i);
        uint64_t n = image_groups(memory->length_bytes);

        image->first_group[i] = first;
        if (digest_bytes(image->groups + first, n * sizeof(uint64_t)) != memory->digest)
            r = damaged(memory, error);
        first += n;
    }
    for (uint64_t i = 0; i < image->n_groups; i++)
        image->groups[i] = le64toh(image->groups[i]);
    return r;
}

/* The same file, whatever has its name by now. Some disks take the flag and no reads of pages: so one is made. */
static int open_bulk(int plain_fd)
{
    void *page = aligned_alloc(IMAGE_ALIGN, IMAGE_ALIGN);
    char name[64];
    int fd;

    snprintf(name, sizeof(name), "/proc/self/fd/%d", plain_fd);
    fd = page ? open(name, O_RDONLY | O_DIRECT | O_CLOEXEC) : -1;
    if (fd >= 0 && pread(fd, page, IMAGE_ALIGN, IMAGE_ALIGN) != IMAGE_ALIGN) {
        close(fd);
        fd = -1;
    }
    free(page);
    return fd >= 0 ? fd : plain_fd;
}

int image_open(const char *path, struct image *image, struct tern_error *error)
{
    int r;

    *image = (struct image){.path = path, .bulk_fd = -1};
    image->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (image->fd < 0)
        return image_cannot_read(image, -errno, error);
    r = get_head(image, error);
    image->bulk_fd = r ? image->fd : open_bulk(image->fd);
    if (!r)
        r = get_digests(image, error);
    if (r)
        image_close(image);
    return r;
}

void image_close(struct image *image)
{
    if (image->bulk_fd >= 0 && image->bulk_fd != image->fd)
        close(image->bulk_fd);
    if (image->fd >= 0)
        close(image->fd);
    free(image->groups);
    image->groups = NULL;
    image->fd = image->bulk_fd = -1;
}

/* ---- memory ---- */

struct image_group image_group(const struct image *image, uint64_t group)
{
    struct image_group place = {0};
    const struct image_section *section;
    uint64_t left;

    while (place.region + 1 < image_regions(&image->head) && group >= image->first_group[place.region + 1])
        place.region++;
    section = image_find(&image->head, IMAGE_MEMORY, place.region);
    place.index = group - image->first_group[place.region];
    place.offset_bytes = place.index * IMAGE_GROUP_BYTES;
    place.file_offset = section->offset_bytes + place.offset_bytes;
    left = section->length_bytes - place.offset_bytes;
    place.n_pages = (uint32_t)((left < IMAGE_GROUP_BYTES ? left : IMAGE_GROUP_BYTES) / TERN_PAGE_BYTES);
    return place;
}

bool image_group_is_zero(const struct image *image, uint64_t group)
{
    static const uint64_t zeros[DIGEST_GROUP_PAGES];

    return image->groups[group] == digest_chunk(zeros, image_group(image, group).n_pages);
}

struct image_extents image_find_extents(const struct image *image, const struct image_group *place)
{
    uint64_t length = (uint64_t)place->n_pages * TERN_PAGE_BYTES, at = 0;
    struct image_extents extents = {0};

    while (at < length && extents.n < IMAGE_EXTENTS_MAX) {
        off_t data = lseek(image->fd, (off_t)(place->file_offset + at), SEEK_DATA), hole;
        uint64_t from, to;

        if (data < 0 && errno == ENXIO)
            break; /* nothing up to the end of the file */
        hole = data < 0 ? -1 : lseek(image->fd, data, SEEK_HOLE);
        from = data < 0 ? at : ((uint64_t)data - place->file_offset) & ~(uint64_t)(TERN_PAGE_BYTES - 1);
        to = hole < 0 || (uint64_t)hole >= place->file_offset + length
                 ? length
                 : ((uint64_t)hole - place->file_offset + TERN_PAGE_BYTES - 1) & ~(uint64_t)(TERN_PAGE_BYTES - 1);
        if (from >= length)
            break;
        if (extents.n + 1 == IMAGE_EXTENTS_MAX)
            to = length;
        extents.at[extents.n].offset_bytes = (uint32_t)from;
        extents.at[extents.n++].length_bytes = (uint32_t)(to - from);
        at = to;
    }
    return extents;
}

int image_check_group(const struct image *image, uint64_t group, const struct image_extents *extents,
                      const uint8_t *bytes, uint64_t digests[DIGEST_GROUP_PAGES], struct tern_error *error)
{
    struct image_group place = image_group(image, group);
    const struct image_section *section;

    memset(digests, 0, DIGEST_GROUP_PAGES * sizeof(*digests));
    for (uint32_t i = 0; i < extents->n; i++) {
        uint32_t first = extents->at[i].offset_bytes / TERN_PAGE_BYTES,
                 n = extents->at[i].length_bytes / TERN_PAGE_BYTES;

        for (uint32_t page = first; page < first + n; page++)
            digests[page] = digest_page(bytes + (uint64_t)page * TERN_PAGE_BYTES);
    }
    if (digest_chunk(digests, place.n_pages) == image->groups[group])
        return 0;
    section = image_find(&image->head, IMAGE_MEMORY, place.region);
    return error_set(error, -EILSEQ, "take another copy of the image",
                     "section '%s' of the image is damaged: its digest differs in the %u KiB of guest memory at %#llx",
                     section->name, place.n_pages * (TERN_PAGE_BYTES >> 10),
                     (unsigned long long)(section->guest_address + place.offset_bytes));
}

int image_read_group(const struct image *image, uint64_t group, uint8_t *bytes, uint64_t digests[DIGEST_GROUP_PAGES],
                     struct tern_error *error)
{
    struct image_group place = image_group(image, group);
    struct image_extents extents = image_find_extents(image, &place);

    for (uint32_t i = 0; i < extents.n; i++) {
        ssize_t n = read_all(image->bulk_fd, bytes + extents.at[i].offset_bytes, extents.at[i].length_bytes,
                             place.file_offset + extents.at[i].offset_bytes);

        if (n >= 0 && (uint64_t)n < extents.at[i].length_bytes)
            n = -EIO;
        if (n < 0)
            return image_cannot_read(image, (int)n, error);
    }
    return image_check_group(image, group, &extents, bytes, digests, error);
}
