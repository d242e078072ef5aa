/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that lies in a file: what a lane writes goes through the file, to the byte, and nowhere else. Here the mapping
 * that was exposed is other memory than the file, which tells the two ways apart. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/tcp_far.h"

#define FILE_OFFSET (3 * 4096u)
#define FILE_BYTES  (FILE_OFFSET + LENGTH + MIB)

static uint8_t near[2 * LENGTH], expected[FILE_BYTES], found[FILE_BYTES];

static int file_of_pattern(void)
{
    int fd = memfd_create("tcp_file", MFD_CLOEXEC);

    memset(expected, PATTERN, sizeof(expected));
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, expected, sizeof(expected), 0), (ssize_t)sizeof(expected));
    return fd;
}

static void fill_near(void)
{
    srandom(11);
    for (size_t i = 0; i < sizeof(near); i++)
        near[i] = (uint8_t)random();
}

static void write_run(struct link_source *source, uint32_t lane, uint64_t offset, uint64_t length)
{
    post_whole(source, lane, (struct link_run){0, offset, length});
    memcpy(expected + FILE_OFFSET + offset, near + offset, length);
}

Test(tcp_file, every_byte_comes_into_its_place_in_the_file, .timeout = 60)
{
    int fd = file_of_pattern();
    struct link_source *source;
    struct far far;

    fill_near();
    far_open(&far);
    cr_assert_eq(link_tcp.destination_file(far.link, 0, fd, FILE_OFFSET, NULL), 0);
    source = open_source(&far, &options, near);
    write_run(source, 0, 0, 4096);
    write_run(source, 1, 8192, 300000); /* longer than a buffer, and not in whole pages */
    write_run(source, 0, MIB, 600 * 1024);
    write_run(source, 1, LENGTH - 1, 1);
    fence_and_wait(source, &far, 1);
    cr_assert_eq(pread(fd, found, sizeof(found), 0), (ssize_t)sizeof(found));
    cr_assert_eq(memcmp(found, expected, sizeof(found)), 0);
    untouched(&far);                                       /* it went through the file alone */
    post_whole(source, 0, (struct link_run){3, 5, 70000}); /* a region without a file, on the same lane */
    fence_and_wait(source, &far, 2);
    cr_assert_eq(memcmp(far.regions[3] + 5, near + LENGTH + 5, 70000), 0);
    link_tcp.source_close(source);
    far_close(&far);
    close(fd);
}

Test(tcp_file, outside_of_the_region_is_outside_of_the_file, .timeout = 60)
{
    int fd = file_of_pattern(), lane;
    struct far far;

    far_open(&far);
    cr_assert_eq(link_tcp.destination_file(far.link, 0, fd, FILE_OFFSET, NULL), 0);
    lane = open_one_lane(&far, 0);
    put_frame(lane, (struct frame){FRAME_WRITE, 0, LENGTH - 8, 16}, near, 16);
    closed(lane);
    cr_assert_eq(pread(fd, found, sizeof(found), 0), (ssize_t)sizeof(found));
    cr_assert_eq(memcmp(found, expected, sizeof(found)), 0);
    far_close(&far);
    close(fd);
}

/* As on a full file system: the lane ends, and says why. */
Test(tcp_file, a_file_that_takes_no_more, .timeout = 60)
{
    int fd = file_of_pattern(), lane;
    struct tern_error error = {0};
    char path[64];
    struct far far;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    far_open(&far);
    cr_assert_eq(link_tcp.destination_file(far.link, 0, open(path, O_RDONLY | O_CLOEXEC), 0, NULL), 0);
    lane = open_one_lane(&far, 0);
    put_frame(lane, (struct frame){FRAME_WRITE, 0, 0, 16}, near, 16);
    put_frame(lane, (struct frame){FRAME_FENCE, 1, 0, 0}, NULL, 0);
    cr_assert_eq(link_tcp.wait_fence(far.link, 1, PATIENT_MS, &error), -EBADF);
    cr_assert_not_null(strstr(error.message, "cannot write guest memory to its file"), "%s", error.message);
    closed(lane);
    untouched(&far);
    far_close(&far);
    close(fd);
}

Test(tcp_file, of_what_is_not_exposed, .timeout = 60)
{
    struct far far;

    far_open(&far);
    cr_assert_eq(link_tcp.destination_file(far.link, 1, 5, 0, NULL), -EINVAL);
    cr_assert_eq(link_tcp.destination_file(far.link, LINK_REGIONS_MAX, 5, 0, NULL), -EINVAL);
    cr_assert_eq(link_tcp.destination_file(far.link, 0, 0, 0, NULL), -EINVAL);
    far_close(&far);
}
