/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest into an image and back, byte for byte: eagerly and lazily, of every kind of memory, busy and idle. */
#include <criterion/criterion.h>
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
