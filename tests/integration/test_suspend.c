/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest into an image and back, byte for byte: eagerly and lazily, of every kind of memory, busy and idle. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/common/suspended.h"

#define MIB (1ull << 20)

static const struct process_guest_config busy = {.memory_bytes = 65 * MIB + 8192,
                                                 .high_bytes = 17 * MIB + 4096,
                                                 .random_bytes = 24 * MIB,
                                                 .zero_bytes = 4 * MIB,
                                                 .working_set_bytes = 16 * MIB,
                                                 .dirty_pages_ps = 20000,
                                                 .seed = 3};

static void there_and_back(const struct process_guest_config *config, bool eager)
{
    struct suspended s;

    suspended_init(&s, config, NULL);
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert_eq(s.result.outcome, TERN_OUTCOME_SUSPENDED);
    cr_assert_str_eq(s.result.transport, "file");
    cr_assert(suspended_has(&s, ""));
    cr_assert_not(suspended_has(&s, ".partial"));
    cr_assert_eq(suspended_resume(&s, eager), 0, "%s", s.error.message);
    suspended_expect_back(&s);
    cr_assert_str_eq(s.result.device, eager ? "eager" : "lazy");
    suspended_free(&s);
}

Test(suspend, there_and_back_eagerly, .timeout = 60)
{
    there_and_back(&busy, true);
}

Test(suspend, there_and_back_lazily, .timeout = 60)
{
    there_and_back(&busy, false);
}

Test(suspend, memory_that_is_shared, .timeout = 60)
{
    struct process_guest_config config = busy;

    config.shared = true;
    there_and_back(&config, false);
    there_and_back(&config, true);
}

/* What the guest does not have takes no room in the file. */
Test(suspend, an_image_is_sparse, .timeout = 60)
{
    static const struct process_guest_config idle = {
        .memory_bytes = 1024 * MIB, .random_bytes = 2 * MIB, .zero_bytes = 8 * MIB, .seed = 5};
    struct tern_image image = {.struct_bytes = sizeof(image)};
    struct tern_error error = {0};
    struct suspended s;
    struct stat stat;

    suspended_init(&s, &idle, NULL);
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert_eq(lstat(s.path, &stat), 0);
    cr_assert_gt(stat.st_size, 1024 * (off_t)MIB);
    cr_assert_lt(stat.st_blocks * 512, 4 * (off_t)MIB);
    cr_assert_eq(tern_image_read(s.path, &image, &error), 0, "%s", error.message);
    cr_assert_eq(image.memory_bytes, 1024 * MIB);
    cr_assert_eq(image.n_regions, 1);
    cr_assert_str_eq(image.kind, "process guest 1");
    cr_assert_str_eq(image.regions[0].name, "low");
    cr_assert_eq(tern_image_check(s.path, &error), 0, "%s", error.message);
    suspended_free(&s);
}

/* Its steps follow one from the other, so a guest that lost one would differ in the end. */
Test(suspend, ten_cycles_of_a_busy_guest, .timeout = 120)
{
    struct suspended s;

    suspended_init(&s, &busy, NULL);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(suspended_suspend(&s), 0, "cycle %d: %s", i, s.error.message);
        cr_assert_eq(suspended_resume(&s, i % 2), 0, "cycle %d: %s", i, s.error.message);
        suspended_expect_back(&s);
        suspended_swap(&s);
    }
    suspended_free(&s);
}

static void clear_pages(struct suspended *s, const struct tern_event *event)
{
    if (event->kind == TERN_EVENT_ROUND && event->round == 1)
        memset(process_guest_at(s->guest, 20 * MIB), 0, MIB);
}

/* It was written as it was, and what is there now is a hole in no file. */
Test(suspend, pages_that_become_zero, .timeout = 60)
{
    struct suspended s;

    suspended_init(&s, &busy, NULL);
    s.options.downtime_limit_ns = 100000; /* so that there is a round after the first */
    s.options.on_no_converge = TERN_NO_CONVERGE_THROTTLE;
    s.options.deadline_ns = 3000000000ull;
    s.on_event = clear_pages;
    cr_assert_eq(suspended_suspend(&s), 0, "%s", s.error.message);
    cr_assert_gt(s.result.rounds, 1);
    s.on_event = NULL;
    cr_assert_eq(suspended_resume(&s, true), 0, "%s", s.error.message);
    suspended_expect_back(&s);
    cr_assert_eq(*process_guest_at(s.back, 20 * MIB), 0);
    suspended_free(&s);
}
