/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that a real QEMU gives back while libtern pins its pages: seen at the next fetch, and by the last look after
 * the guest has stopped; the guest runs on. The holes are punched by the test, as QEMU does for a balloon. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/common/qemu.h"
#include "tools/qemu/discard_watch.h"
#include "tools/qemu/migration_status.h"
#include "tools/qemu/qemu_vm.h"

#define MIB     (1ull << 20)
#define FILE_IN "-object memory-backend-file,id=ram,size=32M,share=on,mem-path=@/ram "
#define MEMFD   "-object memory-backend-memfd,id=ram,size=32M,share=on "
#define BALLOON "-device virtio-balloon-pci,id=bal0 "

struct source {
    struct qemu qemu;
    struct qemu_vm *vm;
    const struct tern_vm *tern;
};

static struct tern_error error;
static uint8_t state[32 * MIB];

static void start(struct source *source, const char *backend, const char *more)
{
    char words[512], path[96];

    snprintf(words, sizeof(words), "-machine q35,memory-backend=ram -m 32M %s%s -qmp unix:@/tern,server=on,wait=off",
             backend, more);
    qemu_start(&source->qemu, words);
    snprintf(path, sizeof(path), "%s/tern", source->qemu.folder);
    cr_assert_eq(qemu_vm_open(path, TERN_SIDE_SOURCE, false, &source->vm, &error), 0, "%s", error.message);
    source->tern = qemu_vm_describe(source->vm);
    error = (struct tern_error){0};
}

static void end(struct source *source)
{
    char run_state[32];

    cr_assert_eq(qemu_run_state(source->qemu.qmp, run_state, NULL), 0);
    cr_assert_str_eq(run_state, "running");
    qemu_vm_close(source->vm);
    qemu_end(&source->qemu);
}

static int inhibit(struct source *source, bool on)
{
    return source->tern->inhibit_discards(source->tern->opaque, on, &error);
}

static int fetch(struct source *source)
{
    static uint64_t bitmap[32 * MIB / 4096 / 64];

    return source->tern->tracker.ops->fetch(source->tern->tracker.self, 0, bitmap, &error);
}

static int stop_guest(struct source *source)
{
    int r = source->tern->prepare(source->tern->opaque, &error);

    return r ? r : source->tern->pause(source->tern->opaque, &error);
}

static int save(struct source *source)
{
    size_t length;

    return source->tern->save_state(source->tern->opaque, state, sizeof(state), &length, &error);
}

static void punch(struct source *source)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "%s/ram", source->qemu.folder);
    fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16 * MIB, MIB), 0);
    close(fd);
}

static void expect_told(int code)
{
    cr_assert_eq(code, -EBUSY, "%d %s", code, error.message);
    cr_assert(strstr(error.message, "QEMU gave back memory of 'ram' during the migration"), "%s", error.message);
    cr_assert(strstr(error.hint, "--transport tcp"), "%s", error.hint);
}

Test(qemu_discards, are_seen_at_the_next_fetch, .timeout = 60)
{
    struct source source = {0};
    const struct tern_tracker *tracker;

    start(&source, FILE_IN, BALLOON);
    tracker = &source.tern->tracker;
    cr_assert_eq(inhibit(&source, true), 0, "%s", error.message);
    cr_assert_eq(tracker->ops->start(tracker->self, &error), 0, "%s", error.message);
    cr_assert_eq(fetch(&source), 0, "%s", error.message);
    punch(&source);
    expect_told(fetch(&source));
    expect_told(fetch(&source));
    tracker->ops->stop(tracker->self);
    cr_assert_eq(inhibit(&source, false), 0);
    end(&source);
}

Test(qemu_discards, are_seen_before_the_commit, .timeout = 60)
{
    struct source source = {0};

    start(&source, FILE_IN, BALLOON);
    cr_assert_eq(inhibit(&source, true), 0, "%s", error.message);
    cr_assert_eq(stop_guest(&source), 0, "%s", error.message);
    punch(&source);
    expect_told(save(&source));
    cr_assert_eq(source.tern->resume(source.tern->opaque, &error), 0, "%s", error.message);
    cr_assert_eq(inhibit(&source, false), 0);
    end(&source);
}

/* Over tcp nobody asks for it, and what QEMU does with its memory is its own business. */
Test(qemu_discards, do_no_harm_where_nothing_is_pinned, .timeout = 60)
{
    struct source source = {0};
    const struct tern_tracker *tracker;

    start(&source, FILE_IN, BALLOON);
    tracker = &source.tern->tracker;
    cr_assert_eq(tracker->ops->start(tracker->self, &error), 0, "%s", error.message);
    punch(&source);
    cr_assert_eq(fetch(&source), 0, "%s", error.message);
    cr_assert_eq(stop_guest(&source), 0, "%s", error.message);
    cr_assert_eq(save(&source), 0, "%s", error.message);
    cr_assert_eq(source.tern->resume(source.tern->opaque, &error), 0, "%s", error.message);
    tracker->ops->stop(tracker->self);
    end(&source);
}

static bool memfds_are_watched(void)
{
    int fd = memfd_create("tern_test", MFD_CLOEXEC), r;
    struct discard_watch *watch;

    cr_assert_eq(discard_watch_create(&watch, &error), 0, "%s", error.message);
    r = discard_watch_add(watch, fd, "ram", &error);
    discard_watch_destroy(watch);
    close(fd);
    return !r;
}

Test(qemu_discards, of_a_memfd_need_a_balloon_to_matter, .timeout = 60)
{
    struct source source = {0};

    start(&source, MEMFD, "");
    cr_assert_eq(inhibit(&source, true), 0, "%s", error.message);
    cr_assert_eq(inhibit(&source, false), 0);
    end(&source);
    start(&source, MEMFD, BALLOON);
    if (memfds_are_watched()) {
        cr_assert_eq(inhibit(&source, true), 0, "%s", error.message);
        cr_assert_eq(inhibit(&source, false), 0);
    } else {
        cr_assert_eq(inhibit(&source, true), -ENOTSUP);
        cr_assert(strstr(error.message, "device 'bal0' can give back pages of 'ram', a memfd"), "%s", error.message);
    }
    end(&source);
}

Test(qemu_discards, of_free_page_reporting_are_refused_where_pages_are_pinned, .timeout = 60)
{
    struct source source = {0};

    start(&source, FILE_IN, "-device virtio-balloon-pci,id=bal0,free-page-reporting=on");
    cr_assert_eq(inhibit(&source, true), -ENOTSUP);
    cr_assert(strstr(error.message, "device 'bal0' reports free pages"), "%s", error.message);
    end(&source);
}
