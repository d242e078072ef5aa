/* SPDX-License-Identifier: BSD-2-Clause */
/* Discards of pages of real files in memory are seen, whoever makes them; writes through mappings are not. Where the
 * kernel does not tell (memfds from Linux 6.14 on) the watch says so. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/huge_pages.h"
#include "tools/qemu/discard_watch.h"

#define SMALL 4096u
#define HUGE  (2u << 20)
#define PAGES 8u

static struct tern_error error;

static uint8_t *map(int fd, size_t page_bytes)
{
    uint8_t *base;

    cr_assert_eq(ftruncate(fd, (off_t)(PAGES * page_bytes)), 0, "%s", strerror(errno));
    base = mmap(NULL, PAGES * page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(base, MAP_FAILED, "%s", strerror(errno));
    return base;
}

static void write_and_read(volatile uint8_t *base, size_t page_bytes)
{
    for (uint32_t i = 0; i < PAGES; i++)
        base[i * page_bytes] = i % 2 ? base[i * page_bytes + 8] : 1;
}

static struct discard_watch *watch_over(int fd, const char *name)
{
    struct discard_watch *watch;

    cr_assert_eq(discard_watch_create(&watch, &error), 0, "%s", error.message);
    cr_assert_eq(discard_watch_add(watch, fd, name, &error), 0, "%s", error.message);
    return watch;
}

static void expect_seen(int fd, uint8_t *base, size_t page_bytes, bool by_mapping)
{
    struct discard_watch *watch = watch_over(fd, "m0");

    write_and_read(base, page_bytes);
    cr_assert_null(discard_watch_seen(watch), "written, not discarded");
    if (by_mapping)
        cr_assert_eq(madvise(base + page_bytes, page_bytes, MADV_REMOVE), 0, "%s", strerror(errno));
    else
        cr_assert_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)page_bytes, (off_t)page_bytes), 0,
                     "%s", strerror(errno));
    cr_assert_str_eq(discard_watch_seen(watch), "m0");
    cr_assert_str_eq(discard_watch_seen(watch), "m0", "and it stays so");
    discard_watch_destroy(watch);
}

static void check_file(int fd, size_t page_bytes)
{
    uint8_t *base = map(fd, page_bytes);

    for (int turn = 0; turn < 4; turn++)
        expect_seen(fd, base, page_bytes, turn % 2);
    munmap(base, PAGES * page_bytes);
    close(fd);
}

Test(discard_watch, of_a_tmpfs_file, .timeout = 20)
{
    char path[] = "/dev/shm/tern_discard_XXXXXX";
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    check_file(dup(fd), SMALL);
    unlink(path);
    check_file(fd, SMALL);
}

/* No word of a hole: what the watch said of this kernel is so. */
static void check_silent(int fd, size_t page_bytes)
{
    int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    char path[64], event[256];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    cr_assert_eq(ftruncate(fd, (off_t)page_bytes), 0);
    cr_assert_geq(inotify_add_watch(inotify, path, IN_ALL_EVENTS), 0);
    cr_assert_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page_bytes), 0);
    cr_assert_eq(read(inotify, event, sizeof(event)), -1, "the kernel does tell of it");
    close(inotify);
    close(fd);
}

static void check_memfd(int fd, size_t page_bytes)
{
    struct discard_watch *watch;
    int r;

    cr_assert_eq(discard_watch_create(&watch, &error), 0, "%s", error.message);
    r = discard_watch_add(watch, fd, "m0", &error);
    discard_watch_destroy(watch);
    if (!r) {
        check_file(fd, page_bytes);
        return;
    }
    cr_assert_eq(r, -EOPNOTSUPP, "%s", error.message);
    cr_assert(strstr(error.message, "'m0'"), "%s", error.message);
    check_silent(fd, page_bytes);
}

Test(discard_watch, of_a_memfd, .timeout = 20)
{
    check_memfd(memfd_create("tern_test", MFD_CLOEXEC), SMALL);
}

Test(discard_watch, of_a_memfd_of_huge_pages, .timeout = 20)
{
    int fd = memfd_create("tern_test", MFD_CLOEXEC | MFD_HUGETLB);

    if (fd < 0)
        cr_skip_test("no huge pages: %s", strerror(errno));
    cr_assert(huge_pages_reserve(HUGE, PAGES));
    check_memfd(fd, HUGE);
}

Test(discard_watch, of_a_file_of_huge_pages, .timeout = 20)
{
    char folder[] = "/tmp/tern_huge_XXXXXX", path[64];
    int fd;

    cr_assert_not_null(mkdtemp(folder));
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", folder, "hugetlbfs", 0, "pagesize=2M")) {
        int reason = errno;

        rmdir(folder);
        cr_skip_test("cannot mount hugetlbfs: %s", strerror(reason));
    }
    cr_assert(huge_pages_reserve(HUGE, PAGES));
    snprintf(path, sizeof(path), "%s/ram", folder);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    check_file(fd, HUGE);
    cr_assert_eq(umount2(folder, MNT_DETACH), 0);
    rmdir(folder);
}

/* QEMU opened the file itself, and discards in its own process. */
Test(discard_watch, of_another_process, .timeout = 20)
{
    char path[] = "/dev/shm/tern_discard_XXXXXX";
    int fd = mkstemp(path), status;
    uint8_t *base = map(fd, SMALL);
    struct discard_watch *watch = watch_over(fd, "m0");
    pid_t child;

    write_and_read(base, SMALL);
    child = fork();
    cr_assert_geq(child, 0);
    if (!child) {
        int own = open(path, O_RDWR | O_CLOEXEC);

        _exit(own < 0 || fallocate(own, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SMALL));
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    cr_assert_str_eq(discard_watch_seen(watch), "m0");
    discard_watch_destroy(watch);
    munmap(base, PAGES * SMALL);
    close(fd);
    unlink(path);
}

Test(discard_watch, names_the_file, .timeout = 20)
{
    int fds[3];
    struct discard_watch *watch;

    cr_assert_eq(discard_watch_create(&watch, &error), 0, "%s", error.message);
    for (int i = 0; i < 3; i++) {
        char path[] = "/dev/shm/tern_discard_XXXXXX", name[8];

        fds[i] = mkstemp(path);
        cr_assert_geq(fds[i], 0);
        unlink(path);
        cr_assert_eq(ftruncate(fds[i], PAGES * SMALL), 0);
        snprintf(name, sizeof(name), "m%d", i);
        cr_assert_eq(discard_watch_add(watch, fds[i], name, &error), 0, "%s", error.message);
    }
    cr_assert_eq(discard_watch_add(watch, fds[1], "again", &error), 0, "%s", error.message);
    cr_assert_null(discard_watch_seen(watch));
    cr_assert_eq(fallocate(fds[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SMALL), 0);
    cr_assert_str_eq(discard_watch_seen(watch), "m1");
    discard_watch_destroy(watch);
    discard_watch_destroy(NULL);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}
