/* SPDX-License-Identifier: BSD-2-Clause */
/* Which pages of a guest count as touched, before and while a dirty tracker write-protects them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "migrate/tern.h"
#include "migrate/untouched.h"

#define MIB     (1ull << 20)
#define BYTES   (16 * MIB)
#define N_PAGES (BYTES / TERN_PAGE_BYTES)

/* Pages 3, 700 and 2 MiB from 8 MiB on were written. */
static uint64_t *written_pages(uint8_t *memory)
{
    uint64_t *expected = calloc(bitmap_words(N_PAGES), sizeof(*expected));

    memory[3 * TERN_PAGE_BYTES] = 1;
    memory[700 * TERN_PAGE_BYTES + 9] = 1;
    memset(memory + 8 * MIB, 1, 2 * MIB);
    bitmap_set_range(expected, 3, 1);
    bitmap_set_range(expected, 700, 1);
    bitmap_set_range(expected, 8 * MIB / TERN_PAGE_BYTES, 2 * MIB / TERN_PAGE_BYTES);
    return expected;
}

static void expect_touched(const uint8_t *memory, const uint64_t *expected, const char *when)
{
    uint64_t *touched = calloc(bitmap_words(N_PAGES), sizeof(*touched));
    struct tern_error error = {0};

    cr_assert_eq(untouched_pages(memory, BYTES, touched, &error), 0);
    for (uint64_t page = 0; page < N_PAGES; page++)
        cr_assert_eq(bitmap_test(touched, page), bitmap_test(expected, page), "%s, page %llu: %d", when,
                     (unsigned long long)page, bitmap_test(touched, page));
    free(touched);
}

/* Markers (below) are told from pages in swap by the privileged only, and Linux before 6.4 has the synchronous tracker
 * give the zero page to what was never written: then more pages count as touched, which is slow but right. */
static bool can_tell(bool force_sync)
{
    int major = 0, minor = 0;
    struct utsname name;

    uname(&name);
    sscanf(name.release, "%d.%d", &major, &minor);
    return !geteuid() && (!force_sync || major > 6 || (major == 6 && minor >= 4));
}

static void check_tracked(bool force_sync)
{
    uint8_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct tern_region region = {.base = memory, .length_bytes = BYTES, .page_bytes = TERN_PAGE_BYTES, .name = "ram"};
    struct tern_tracker tracker;
    struct tern_error error = {0};
    uint64_t *expected;

    cr_assert_neq(memory, MAP_FAILED);
    madvise(memory, BYTES, MADV_NOHUGEPAGE);
    expected = written_pages(memory);
    cr_assert_eq(tern_tracker_uffd_create(&region, 1, force_sync, &tracker, &error), 0, "%s", error.message);
    expect_touched(memory, expected, "before");
    cr_assert_eq(tracker.ops->start(tracker.self, &error), 0, "%s", error.message);
    if (can_tell(force_sync))
        expect_touched(memory, expected, "tracked");
    memory[2000 * TERN_PAGE_BYTES] = 1;
    bitmap_set_range(expected, 2000, 1);
    if (can_tell(force_sync))
        expect_touched(memory, expected, "written while tracked");
    tracker.ops->stop(tracker.self);
    tern_tracker_destroy(&tracker);
    munmap(memory, BYTES);
    free(expected);
}

Test(untouched, private_memory_under_the_asynchronous_tracker, .timeout = 30)
{
    check_tracked(false);
}

Test(untouched, private_memory_under_the_synchronous_tracker, .timeout = 30)
{
    check_tracked(true);
}
