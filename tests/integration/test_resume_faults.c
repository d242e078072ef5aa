/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest is not made of what is no whole image: flipped bits, missing ends and holes are refused by the section's name
 * or, where the guest runs already, never seen; and what was not read is not zeros. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/image_reader.h"
#include "tests/common/suspended.h"

#define MIB (1ull << 20)

static void flip(const char *path, uint64_t offset)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    cr_assert_eq(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 4;
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
    cr_assert_eq(fsync(fd), 0);
    close(fd);
}

/* Eagerly nothing has run; lazily a guest that ran has been stopped. */
static void expect_refused(struct suspended *s, int code, const char *says)
{
    for (int eager = 0; eager < 2; eager++) {
        s->error = (struct tern_error){0};
        cr_assert_eq(suspended_resume(s, eager), code, "%s: %s", says, s->error.message);
        cr_assert(strstr(s->error.message, says), "%s: %s", says, s->error.message);
        cr_assert_not(process_guest_runs(s->back), "%s", says);
    }
    s->error = (struct tern_error){0};
    cr_assert_eq(tern_image_check(s->path, &s->error), code, "%s", says);
    cr_assert(strstr(s->error.message, says), "%s: %s", says, s->error.message);
}

static int save_profile(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                        struct tern_error *error)
{
    (void)opaque;
    (void)capacity_bytes;
    (void)error;
    memcpy(buffer, "profile", *length_bytes = 7);
    return 0;
}

static void suspend_for_damage(struct suspended *s, struct tern_image *image)
{
    suspended_init(s, &suspended_busy, NULL);
    s->vm.save_profile = save_profile;
    s->blind = true; /* a process that looks at a damaged page ends */
    cr_assert_eq(suspended_suspend(s), 0, "%s", s->error.message);
    *image = (struct tern_image){.struct_bytes = sizeof(*image)};
    cr_assert_eq(tern_image_read(s->path, image, &s->error), 0, "%s", s->error.message);
    cr_assert_eq(image->n_sections, 5);
}

/* In memory behind what the guest's thread writes, which would end this process. */
static uint64_t place_in(const struct tern_image_section *section)
{
    return section->offset_bytes + (section->page_bytes ? 20 * MIB + 77 : section->length_bytes / 2);
}

Test(resume_faults, a_flipped_bit_in_each_section, .timeout = 90)
{
    static struct tern_image image;
    struct suspended s;

    suspend_for_damage(&s, &image);
    for (uint32_t i = 0; i < image.n_sections; i++) {
        const struct tern_image_section *section = &image.sections[i];
        char says[96];

        if (section->page_bytes && section->length_bytes < 24 * MIB)
            continue; /* all zeros: nothing there is read */
        snprintf(says, sizeof(says), "section '%s' of the image is damaged", section->name);
        flip(s.path, place_in(section));
        if (!strcmp(section->name, "profile")) { /* read by who asks for it */
            cr_assert_eq(tern_image_check(s.path, &s.error), -EILSEQ);
            cr_assert(strstr(s.error.message, says), "%s", s.error.message);
        } else {
            expect_refused(&s, -EILSEQ, says);
        }
        flip(s.path, place_in(section));
    }
    flip(s.path, 70);
    expect_refused(&s, -EILSEQ, "section 'header' of the image is damaged");
    flip(s.path, 70);
    flip(s.path, 4096 + 60);
    expect_refused(&s, -EILSEQ, "section 'table' of the image is damaged");
    flip(s.path, 4096 + 60);
    flip(s.path, 8);
    expect_refused(&s, -EPROTONOSUPPORT, "version 5");
    flip(s.path, 8);
    flip(s.path, 0);
    expect_refused(&s, -EINVAL, "section 'header': this is no image");
    flip(s.path, 0);
    s.blind = false;
    cr_assert_eq(suspended_resume(&s, false), 0, "%s", s.error.message);
    suspended_expect_back(&s);
    suspended_free(&s);
}

Test(resume_faults, a_truncated_image, .timeout = 90)
{
    static struct tern_image image;
    struct suspended s;

    suspend_for_damage(&s, &image);
    for (uint32_t i = image.n_sections; i--;) {
        const struct tern_image_section *section = &image.sections[i];
        char says[96];

        snprintf(says, sizeof(says), "section '%s' of the image is cut off", section->name);
        cr_assert_eq(truncate(s.path, (off_t)(section->offset_bytes + section->length_bytes - 1)), 0);
        expect_refused(&s, -ENODATA, says);
    }
    cr_assert_eq(truncate(s.path, 50), 0);
    expect_refused(&s, -EILSEQ, "section 'header'");
    cr_assert_eq(truncate(s.path, 0), 0);
    expect_refused(&s, -EINVAL, "section 'header'");
    suspended_free(&s);
}

/* Data that a careless copy has made a hole is damage like any other. */
Test(resume_faults, a_hole_where_data_was, .timeout = 60)
{
    static struct tern_image image;
    struct suspended s;
    int fd;

    suspend_for_damage(&s, &image);
    fd = open(s.path, O_RDWR | O_CLOEXEC);
    cr_assert_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)place_in(&image.sections[1]) - 77,
                           2 * (off_t)MIB),
                 0);
    close(fd);
    expect_refused(&s, -EILSEQ, "section 'low' of the image is damaged");
    suspended_free(&s);
}

static int touch_damage(void *opaque, struct tern_error *error)
{
    volatile uint8_t *page = process_guest_at(opaque, 20 * MIB);

    (void)error;
    _exit(*page ? 1 : 2); /* it was let through */
}

static void resume_and_touch(const char *path)
{
    struct process_guest *guest;
    struct tern_resume *session;
    struct tern_options options;
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct tern_vm vm;

    if (process_guest_create(&suspended_busy, false, &guest, NULL))
        _exit(3);
    process_guest_describe(guest, &vm);
    vm.resume = touch_damage;
    tern_options_init(&options);
    if (tern_resume_create(&vm, path, &options, &session, NULL))
        _exit(4);
    tern_resume_run(session, &result, NULL);
    _exit(5);
}

/* The guest gets no byte of a group that is not as it was written. */
Test(resume_faults, what_is_damaged_is_never_seen, .timeout = 60)
{
    static struct tern_image image;
    struct suspended s;
    int status;
    pid_t pid;

    suspend_for_damage(&s, &image);
    flip(s.path, place_in(&image.sections[1]));
    pid = fork();
    cr_assert_geq(pid, 0);
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGSEGV, SIG_DFL);
        resume_and_touch(s.path);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%x", status);
    suspended_free(&s);
}

static struct tern_resume *to_stop;
static bool was_told;

static void cancel_resume(struct suspended *s, const struct tern_event *event)
{
    if (event->kind == TERN_EVENT_PHASE && event->phase == TERN_PHASE_ACTIVATE)
        tern_resume_cancel(to_stop);
    if (event->kind == TERN_EVENT_STOPPING)
        was_told = process_guest_runs(s->back);
}

/* Its owner hears of it while it runs, and finds no zeros where data was, should it go on all the same. */
Test(resume_faults, what_was_not_read_is_never_zeros, .timeout = 60)
{
    struct suspended s;
    int ends[2];

    suspended_init(&s, &suspended_busy, NULL);
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert_eq(process_guest_create(&suspended_busy, false, &s.back, &s.error), 0, "%s", s.error.message);
    process_guest_describe(s.back, &s.back_vm);
    s.on_event = cancel_resume;
    cr_assert_eq(tern_resume_create(&s.back_vm, s.path, &s.options, &to_stop, &s.error), 0, "%s", s.error.message);
    cr_assert_eq(tern_resume_run(to_stop, &s.result, &s.error), -ECANCELED, "%s", s.error.message);
    tern_resume_destroy(to_stop);
    cr_assert(was_told);
    cr_assert_not(process_guest_runs(s.back));
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], process_guest_at(s.back, 20 * MIB), 1), -1);
    cr_assert_eq(errno, EFAULT);
    close(ends[0]);
    close(ends[1]);
    suspended_free(&s);
}
