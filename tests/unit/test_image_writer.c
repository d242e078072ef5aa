/* SPDX-License-Identifier: BSD-2-Clause */
/* The file of an image where its name changes hands: what is there before, and what is left when the last step fails.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/image_writer.h"

static struct tern_region region = {.length_bytes = 2 << 20, .page_bytes = 4096, .name = "low"};
static const struct tern_vm vm = {.kind = "test 1", .regions = &region, .n_regions = 1};
static char folder[64], path[96], partial[128];

static void make_folder(void)
{
    strcpy(folder, "/tmp/tern-test.XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/image", folder);
    snprintf(partial, sizeof(partial), "%s.partial", path);
}

static void remove_folder(void)
{
    unlink(path);
    unlink(partial);
    cr_assert_eq(rmdir(folder), 0);
}

static struct image_head head_of(uint64_t created_s)
{
    struct image_head head;

    image_describe(&head, &vm, 0, 0);
    head.created_s = created_s;
    return head;
}

/* An image, but for its memory. */
static int write_image(uint64_t created_s, bool fail_folder, struct tern_error *error)
{
    struct image_head head = head_of(created_s);
    struct image_writer writer;
    int r = image_writer_open(path, &writer, error);

    if (!r && fail_folder) { /* one that cannot be synced */
        int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

        cr_assert_geq(dup2(fd, writer.folder_fd), 0);
        close(fd);
    }
    if (!r)
        r = image_writer_settle(&writer, head.file_bytes, error);
    if (!r)
        r = image_writer_finish(&writer, &head, error);
    image_writer_close(&writer);
    return r;
}

static uint64_t created(void)
{
    uint8_t bytes[IMAGE_HEAD_BYTES];
    struct image_head head = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    cr_assert_eq(read(fd, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    close(fd);
    cr_assert_eq(image_get_head(bytes, UINT64_MAX, &head, NULL), 0);
    return head.created_s;
}

Test(image_writer, a_folder_that_cannot_be_synced_leaves_the_older_image)
{
    struct tern_error error = {0};

    make_folder();
    cr_assert_eq(write_image(1, true, &error), -EBADF, "%s", error.message);
    cr_assert_eq(access(path, F_OK), -1, "an image, although it failed");
    cr_assert_eq(access(partial, F_OK), -1);
    cr_assert_eq(write_image(1, false, &error), 0, "%s", error.message);
    cr_assert_eq(write_image(2, true, &error), -EBADF, "%s", error.message);
    cr_assert_eq(created(), 1);
    cr_assert_eq(access(partial, F_OK), -1);
    cr_assert_eq(write_image(3, false, &error), 0, "%s", error.message);
    cr_assert_eq(created(), 3);
    cr_assert_eq(access(partial, F_OK), -1);
    remove_folder();
}

/* Where much may lie in the page cache, whoever cancels does not wait for all of it. */
Test(image_writer, a_cancelled_sync_ends_before_the_disk_has_all)
{
    _Atomic bool cancelled = false;
    struct tern_error error = {0};
    struct image_writer writer;

    make_folder();
    cr_assert_eq(image_writer_open(path, &writer, &error), 0, "%s", error.message);
    writer.is_direct = false;
    cr_assert_eq(image_writer_reserve(&writer, 3 * IMAGE_SYNC_BYTES + 4096, &error), 0);
    cr_assert_eq(image_writer_sync(&writer, 3 * IMAGE_SYNC_BYTES + 4096, &cancelled, &error), 0, "%s", error.message);
    cancelled = true;
    cr_assert_eq(image_writer_sync(&writer, 3 * IMAGE_SYNC_BYTES + 4096, &cancelled, &error), -ECANCELED);
    image_writer_close(&writer);
    remove_folder();
}
