/* SPDX-License-Identifier: BSD-2-Clause */
/* What can go wrong with the making of an image: a disk that is full, callbacks that fail, a cancel, a kernel without
 * io_uring and userfaultfd. The guest runs on unless the image is whole; nothing is left behind. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/image_reader.h"
#include "tests/common/suspended.h"
#include "transport/error.h"

static void expect_nothing(struct suspended *s, const char *name)
{
    suspended_expect_stayed(s, name);
    cr_assert_not(suspended_has(s, ""), "%s: an image is there", name);
    cr_assert_not(suspended_has(s, ".partial"), "%s: a part of one is there", name);
}

static void expect_whole(struct suspended *s, const char *name)
{
    struct tern_error error = {0};

    cr_assert_eq(tern_image_check(s->path, &error), 0, "%s: %s", name, error.message);
}

/* ---- a full disk ---- */

/* This test's own, gone with it. */
static void mount_small(const char *options)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        cr_skip_test("no mount namespace of its own: %s", strerror(errno));
    cr_assert_eq(mount("tern-test", "/mnt", "tmpfs", 0, options), 0, "%s", strerror(errno));
}

Test(suspend_faults, a_disk_that_is_full_in_pre_copy, .timeout = 60)
{
    struct suspended s;

    mount_small("size=8M");
    suspended_init(&s, &suspended_busy, "/mnt");
    cr_assert_eq(suspended_suspend(&s), -ENOSPC, "%d", s.error.code);
    cr_assert(strstr(s.error.message, s.path), "%s", s.error.message);
    cr_assert(strstr(s.error.hint, "free space"), "%s", s.error.hint);
    expect_nothing(&s, "full");
    suspended_free(&s);
}

static void fill_disk(struct suspended *s, const struct tern_event *event)
{
    static uint8_t bytes[65536];
    int fd;

    if (event->kind != TERN_EVENT_PHASE || event->phase != TERN_PHASE_STOP_AND_COPY)
        return;
    memset(bytes, 1, sizeof(bytes));
    fd = open("/mnt/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (size_t n = sizeof(bytes); n >= 4096; n /= 2)
        while (write(fd, bytes, n) > 0)
            ;
    close(fd);
    (void)s;
}

Test(suspend_faults, a_disk_that_is_full_when_the_guest_has_stopped, .timeout = 60)
{
    struct suspended s;

    mount_small("size=40M");
    suspended_init(&s, &suspended_busy, "/mnt");
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message); /* there is room for one */
    cr_assert_eq(suspended_resume(&s, true), 0, "%s", s.error.message);
    suspended_swap(&s);
    unlink(s.path);
    s.on_event = fill_disk;
    cr_assert_eq(suspended_suspend(&s), -ENOSPC, "%d", s.error.code);
    expect_nothing(&s, "full");
    s.on_event = NULL;
    unlink("/mnt/filler");
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    expect_whole(&s, "with room again");
    suspended_free(&s);
}

/* ---- callbacks, a cancel ---- */

static int fail(void *opaque, struct tern_error *error)
{
    (void)opaque;
    return error_set(error, -EPROTO, NULL, "told to fail");
}

static int fail_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    (void)buffer;
    (void)capacity_bytes;
    (void)length_bytes;
    return fail(opaque, error);
}

/* Half a pause, as it were. */
static int pause_and_fail(void *opaque, struct tern_error *error)
{
    struct tern_vm vm;

    process_guest_describe(opaque, &vm);
    vm.pause(opaque, NULL);
    return fail(opaque, error);
}

Test(suspend_faults, callbacks_that_fail, .timeout = 60)
{
    struct suspended s;
    struct tern_vm vm;

    suspended_init(&s, &suspended_busy, NULL);
    vm = s.vm;
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"prepare", "pause", "save_state", "commit"};

        s.vm = vm;
        s.vm.prepare = i == 0 ? fail : NULL;
        s.vm.pause = i == 1 ? pause_and_fail : vm.pause;
        s.vm.save_state = i == 2 ? fail_save : vm.save_state;
        s.vm.commit = i == 3 ? fail : NULL;
        cr_assert_eq(suspended_suspend(&s), -EPROTO, "%s: %s", names[i], s.error.message);
        cr_assert_str_eq(s.error.message, "told to fail");
        expect_nothing(&s, names[i]);
    }
    s.vm = vm;
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    expect_whole(&s, "after all");
    suspended_free(&s);
}

static struct suspended *watched;
static off_t bytes_at_commit, blocks_at_commit;

static int look_at_commit(void *opaque, struct tern_error *error)
{
    char path[128];
    struct stat stat;

    (void)opaque;
    (void)error;
    snprintf(path, sizeof(path), "%s.partial", watched->path);
    cr_assert_eq(lstat(path, &stat), 0);
    bytes_at_commit = stat.st_size;
    blocks_at_commit = stat.st_blocks;
    return 0;
}

/* Whoever else would have run the guest is told off when nothing is left that a full disk could refuse. */
Test(suspend_faults, at_the_commit_only_the_head_is_missing, .timeout = 60)
{
    struct tern_image image = {.struct_bytes = sizeof(image)};
    struct suspended s;

    suspended_init(&s, &suspended_busy, NULL);
    watched = &s;
    s.vm.commit = look_at_commit;
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert_eq(tern_image_read(s.path, &image, &s.error), 0, "%s", s.error.message);
    cr_assert_eq((uint64_t)bytes_at_commit, image.file_bytes);
    cr_assert_geq((uint64_t)blocks_at_commit * 512, image.disk_bytes);
    suspended_free(&s);
}

static struct {
    int calls, code;
    bool on;
} discards;

static int inhibit(void *opaque, bool on, struct tern_error *error)
{
    (void)opaque;
    discards.calls++;
    discards.on = on && !discards.code;
    return discards.code ? error_set(error, discards.code, NULL, "it gives back memory") : 0;
}

static void expect_inhibited(struct suspended *s, const struct tern_event *event)
{
    (void)s;
    if (event->kind == TERN_EVENT_ROUND)
        cr_assert(discards.on);
}

/* A page that is given back between its digest and its write would make an image that is damaged. */
Test(suspend_faults, discards_are_inhibited, .timeout = 60)
{
    struct suspended s;

    suspended_init(&s, &suspended_busy, NULL);
    s.vm.inhibit_discards = inhibit;
    discards.code = -EBUSY;
    cr_assert_eq(suspended_suspend(&s), -EBUSY, "%s", s.error.message);
    cr_assert_eq(discards.calls, 1);
    expect_nothing(&s, "it cannot promise that");
    discards.code = 0;
    s.on_event = expect_inhibited;
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert_eq(discards.calls, 3);
    cr_assert_not(discards.on);
    suspended_free(&s);
}

static struct tern_suspend *to_cancel;

static void cancel(struct suspended *s, const struct tern_event *event)
{
    (void)s;
    if (event->kind == TERN_EVENT_PROGRESS)
        tern_suspend_cancel(to_cancel);
}

Test(suspend_faults, a_cancel, .timeout = 60)
{
    struct suspended s;

    suspended_init(&s, &suspended_busy, NULL);
    s.options.bandwidth_bps = 20000000; /* it would take ten seconds */
    s.on_event = cancel;
    cr_assert_eq(tern_suspend_create(&s.vm, s.path, &s.options, &to_cancel, &s.error), 0);
    s.result.struct_bytes = sizeof(s.result);
    cr_assert_eq(tern_suspend_run(to_cancel, &s.result, &s.error), -ECANCELED, "%s", s.error.message);
    tern_suspend_destroy(to_cancel);
    expect_nothing(&s, "cancelled");
    suspended_free(&s);
}

/* ---- the name ---- */

Test(suspend_faults, a_file_that_is_no_image_stays, .timeout = 60)
{
    struct suspended s;
    char text[16] = "";
    int fd;

    suspended_init(&s, &suspended_busy, NULL);
    fd = open(s.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(write(fd, "my only disk", 12), 12);
    cr_assert_eq(suspended_suspend(&s), -EEXIST, "%s", s.error.message);
    suspended_expect_stayed(&s, "another file");
    cr_assert_eq(pread(fd, text, 12, 0), 12);
    cr_assert_str_eq(text, "my only disk");
    close(fd);
    suspended_free(&s);
}

Test(suspend_faults, two_at_once_are_refused_and_a_left_over_is_not, .timeout = 60)
{
    struct suspended s;
    char path[128];
    int fd;

    suspended_init(&s, &suspended_busy, NULL);
    snprintf(path, sizeof(path), "%s.partial", s.path);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(ftruncate(fd, 9 << 20), 0); /* the head comes last */
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    cr_assert_eq(suspended_suspend(&s), -EBUSY, "%s", s.error.message);
    suspended_expect_stayed(&s, "written by another");
    close(fd); /* as whoever was killed has done */
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert_not(suspended_has(&s, ".partial"));
    expect_whole(&s, "over a left-over");
    suspended_free(&s);
}

Test(suspend_faults, a_partial_file_that_is_none_of_ours_stays, .timeout = 60)
{
    struct suspended s;
    char path[128], text[16] = "";
    int fd;

    suspended_init(&s, &suspended_busy, NULL);
    snprintf(path, sizeof(path), "%s.partial", s.path);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(write(fd, "my download", 11), 11);
    cr_assert_eq(suspended_suspend(&s), -EEXIST, "%s", s.error.message);
    cr_assert(strstr(s.error.message, path), "%s", s.error.message);
    suspended_expect_stayed(&s, "a foreign .partial");
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(pread(fd, text, 11, 0), 11);
    cr_assert_str_eq(text, "my download");
    close(fd);
    suspended_free(&s);
}

Test(suspend_faults, no_such_folder, .timeout = 60)
{
    struct suspended s;

    suspended_init(&s, &suspended_busy, NULL);
    strcpy(s.path + strlen(s.folder), "/no/image");
    cr_assert_eq(suspended_suspend(&s), -ENOENT, "%s", s.error.message);
    suspended_expect_stayed(&s, "no folder");
    strcpy(s.path + strlen(s.folder), "/image");
    suspended_free(&s);
}

/* ---- an older or stricter kernel ---- */

static void install(struct sock_filter *filter, size_t n)
{
    struct sock_fprog program = {.len = (unsigned short)n, .filter = filter};

    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0, "%s", strerror(errno));
}

static void forbid(int call)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    install(filter, sizeof(filter) / sizeof(*filter));
}

Test(suspend_faults, without_io_uring, .timeout = 60)
{
    struct suspended s;

    suspended_init(&s, &suspended_busy, NULL);
    forbid(SYS_io_uring_setup);
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert(strstr(s.warnings, "no io_uring"), "%s", s.warnings);
    cr_assert(strstr(s.result.device, "pwrite"), "%s", s.result.device);
    expect_whole(&s, "by pwrite");
    cr_assert_eq(suspended_resume(&s, true), 0, "%s", s.error.message);
    suspended_expect_back(&s);
    cr_assert_eq(suspended_resume(&s, false), 0, "%s", s.error.message);
    suspended_expect_back(&s);
    suspended_free(&s);
}

/* As of a disk whose blocks are larger than a page: it takes the flag and fails each read. */
Test(suspend_faults, o_direct_that_reads_no_page, .timeout = 60)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4096, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct suspended s;
    struct image image;

    suspended_init(&s, &suspended_busy, NULL);
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    install(filter, sizeof(filter) / sizeof(*filter));
    cr_assert_eq(image_open(s.path, &image, &s.error), 0, "%s", s.error.message);
    cr_assert_eq(image.bulk_fd, image.fd, "it would be read with O_DIRECT");
    image_close(&image);
    suspended_free(&s);
}

/* Rings are made, and take nothing: what was queued is not waited for. */
static void forbid_submitting(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])), /* how many to submit */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    install(filter, sizeof(filter) / sizeof(*filter));
}

Test(suspend_faults, io_uring_that_takes_nothing, .timeout = 60)
{
    struct suspended s;

    suspended_init(&s, &suspended_busy, NULL);
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    s.blind = true; /* a look would read all of it, by faults */
    forbid_submitting();
    for (int eager = 0; eager < 2; eager++) {
        cr_assert_eq(suspended_resume(&s, eager), -EPERM, "%d: %s", eager, s.error.message);
        cr_assert_not(process_guest_runs(s.back));
    }
    cr_assert_eq(tern_image_check(s.path, &s.error), -EPERM, "%s", s.error.message);
    unlink(s.path);
    s.vm.resume(s.vm.opaque, NULL);
    cr_assert_eq(suspended_suspend(&s), -EPERM, "%s", s.error.message);
    expect_nothing(&s, "not submitted");
    suspended_free(&s);
}

Test(suspend_faults, without_userfaultfd_it_is_read_first, .timeout = 60)
{
    struct suspended s;

    suspended_init(&s, &suspended_busy, NULL);
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    forbid(SYS_userfaultfd);
    cr_assert_eq(suspended_resume(&s, false), 0, "%s", s.error.message);
    suspended_expect_back(&s);
    cr_assert(strstr(s.warnings, "all memory is read before the guest runs: no userfaultfd"), "%s", s.warnings);
    cr_assert_str_eq(s.result.device, "eager");
    suspended_free(&s);
}
