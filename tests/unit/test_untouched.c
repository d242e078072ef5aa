/* SPDX-License-Identifier: BSD-2-Clause */
/* What holds data is never called untouched, whatever kind of mapping holds it; what was never written mostly is.
 * Looking does not populate.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "migrate/tern.h"
#include "migrate/untouched.h"
#include "tests/unit/tracked.h"

#define PAGES  3000u /* more than one block of the page map's entries */
#define LENGTH ((size_t)PAGES * TERN_PAGE_BYTES)

static uint64_t touched[(PAGES + 63) / 64];

static uint8_t *map(int flags, int fd)
{
    uint8_t *base = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, flags, fd, 0);

    cr_assert_neq(base, MAP_FAILED);
    madvise(base, LENGTH, MADV_NOHUGEPAGE);
    return base;
}

static int memory_file(void)
{
    int fd = memfd_create("untouched", MFD_CLOEXEC);

    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, LENGTH), 0);
    return fd;
}

static void look(const uint8_t *base, size_t length)
{
    memset(touched, 0, sizeof(touched));
    cr_assert_eq(untouched_pages(base, length, touched, NULL), 0);
}

/* Exactly these pages, in order, ended by PAGES. */
static void exactly(const uint32_t *pages)
{
    for (uint32_t page = 0; page < PAGES; page++) {
        bool expected = page == *pages;

        cr_assert_eq(bitmap_test(touched, page), expected, "page %u is %s", page, expected ? "missed" : "not touched");
        pages += expected;
    }
}

static const uint32_t some[] = {0, 1, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2900, 2999, PAGES};

static void write_some(uint8_t *base)
{
    for (const uint32_t *page = some; *page < PAGES; page++)
        base[(size_t)*page * TERN_PAGE_BYTES + 7] = 1;
}

static size_t resident(uint8_t *base)
{
    static unsigned char in_core[PAGES];
    size_t n = 0;

    cr_assert_eq(mincore(base, LENGTH, in_core), 0);
    for (uint32_t i = 0; i < PAGES; i++)
        n += in_core[i] & 1;
    return n;
}

Test(untouched, anonymous_memory, .timeout = 30)
{
    uint8_t *base = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

    look(base, LENGTH);
    exactly(&some[sizeof(some) / sizeof(*some) - 1]);
    write_some(base);
    look(base, LENGTH);
    exactly(some);
    cr_assert_eq(resident(base), sizeof(some) / sizeof(*some) - 1, "looking populated memory");
    munmap(base, LENGTH);
}

Test(untouched, shared_memory, .timeout = 30)
{
    int fd = memory_file();
    uint8_t *base = map(MAP_SHARED, fd);

    look(base, LENGTH);
    exactly(&some[sizeof(some) / sizeof(*some) - 1]);
    write_some(base);
    look(base, LENGTH);
    exactly(some);
    cr_assert_eq(resident(base), sizeof(some) / sizeof(*some) - 1, "looking populated memory");
    munmap(base, LENGTH);
    close(fd);
}

Test(untouched, what_another_mapping_of_the_file_wrote_is_seen, .timeout = 30)
{
    int fd = memory_file();
    uint8_t *base = map(MAP_SHARED, fd), *other = map(MAP_SHARED, fd);

    write_some(other);
    cr_assert_eq(pwrite(fd, "x", 1, 500 * TERN_PAGE_BYTES), 1);
    look(base, LENGTH);
    cr_assert(bitmap_test(touched, 500));
    bitmap_clear_range(touched, 500, 1);
    exactly(some);
    munmap(base, LENGTH);
    munmap(other, LENGTH);
    close(fd);
}

/* The mapping begins in the midst of the file, and the range in the midst of the mapping. */
Test(untouched, offsets, .timeout = 30)
{
    const uint32_t expected[] = {12, PAGES};
    int fd = memory_file();
    uint8_t *base =
        mmap(NULL, LENGTH - 100 * TERN_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 100 * TERN_PAGE_BYTES);

    cr_assert_neq(base, MAP_FAILED);
    cr_assert_eq(pwrite(fd, "x", 1, 162 * TERN_PAGE_BYTES + 9), 1);
    cr_assert_eq(pwrite(fd, "x", 1, 149 * TERN_PAGE_BYTES), 1); /* before the range */
    cr_assert_eq(pwrite(fd, "x", 1, 250 * TERN_PAGE_BYTES), 1); /* behind it */
    look(base + 50 * TERN_PAGE_BYTES, 100 * TERN_PAGE_BYTES);
    exactly(expected);
    munmap(base, LENGTH - 100 * TERN_PAGE_BYTES);
    close(fd);
}

/* A private mapping shows the file's own data where nothing was written. */
Test(untouched, private_mapping_of_a_file_counts_whole, .timeout = 30)
{
    int fd = memory_file();
    uint8_t *base = map(MAP_PRIVATE, fd);

    look(base, LENGTH);
    cr_assert_eq(bitmap_count(touched, 0, PAGES), PAGES);
    munmap(base, LENGTH);
    close(fd);
}

/* Three kinds side by side in one range. */
Test(untouched, several_mappings, .timeout = 30)
{
    const uint32_t expected[] = {5, 1003, 2999, PAGES};
    int fd = memory_file();
    uint8_t *base = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

    cr_assert_neq(mmap(base + 1000 * TERN_PAGE_BYTES, 1000 * TERN_PAGE_BYTES, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED, fd, 0),
                  MAP_FAILED);
    base[5 * TERN_PAGE_BYTES] = 1;
    base[1003 * TERN_PAGE_BYTES] = 1;
    base[2999 * TERN_PAGE_BYTES] = 1;
    look(base, LENGTH);
    exactly(expected);
    munmap(base, LENGTH);
    close(fd);
}

Test(untouched, shared_anonymous_memory, .timeout = 30)
{
    uint8_t *base = map(MAP_SHARED | MAP_ANONYMOUS, -1);

    write_some(base);
    look(base, LENGTH);
    exactly(some);
    munmap(base, LENGTH);
}

/* What is not mapped cannot be told: it counts as touched, and so does all behind it. */
Test(untouched, a_hole_counts_as_touched, .timeout = 30)
{
    uint8_t *base = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

    munmap(base + 100 * TERN_PAGE_BYTES, 10 * TERN_PAGE_BYTES);
    look(base, LENGTH);
    cr_assert_eq(bitmap_count(touched, 0, 100), 0);
    cr_assert_eq(bitmap_count(touched, 100, PAGES), PAGES - 100);
    munmap(base, LENGTH);
}

Test(untouched, bits_that_were_set_stay, .timeout = 30)
{
    uint8_t *base = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

    memset(touched, 0, sizeof(touched));
    bitmap_set_range(touched, 17, 2);
    cr_assert_eq(untouched_pages(base, LENGTH, touched, NULL), 0);
    cr_assert_eq(bitmap_count(touched, 0, PAGES), 2);
    munmap(base, LENGTH);
}

/* A page that was discarded reads as zero again. */
Test(untouched, discarded_pages_are_untouched, .timeout = 30)
{
    const uint32_t left[] = {2, PAGES};
    uint8_t *base = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

    base[TERN_PAGE_BYTES] = base[2 * TERN_PAGE_BYTES] = 1;
    cr_assert_eq(madvise(base + TERN_PAGE_BYTES, TERN_PAGE_BYTES, MADV_DONTNEED), 0);
    look(base, LENGTH);
    exactly(left);
    munmap(base, LENGTH);
}

/* A huge page that was written holds data from end to end; of a shared one more may count as touched, never less. */
static void huge_pages(enum kind kind)
{
    const size_t length = 8 * MIB;
    uint8_t *base = map_kind(kind, length);

    if (base == MAP_FAILED)
        cr_skip_test("no huge pages");
    base[3 * MIB] = 1;
    look(base, length);
    cr_assert_eq(bitmap_count(touched, 512, 1024), 512, "data was missed");
    if (kind == HUGE)
        cr_assert_eq(bitmap_count(touched, 0, PAGES), 512);
    munmap(base, length);
}

Test(untouched, huge_pages, .timeout = 30)
{
    huge_pages(HUGE);
}

Test(untouched, shared_huge_pages, .timeout = 30)
{
    huge_pages(HUGE_SHARED);
}

/* ---- units ---- */

/* A bit a unit that has data anywhere; units that are known are passed over, and stay. */
static void units_of(void *base, uint64_t n_units)
{
    uint64_t units = 1ull << 5, at = 0;

    ((volatile uint8_t *)base)[UNTOUCHED_UNIT_BYTES * 2 + UNTOUCHED_UNIT_BYTES - 1] = 1;
    ((volatile uint8_t *)base)[UNTOUCHED_UNIT_BYTES * 3] = 1;
    ((volatile uint8_t *)base)[UNTOUCHED_UNIT_BYTES * (n_units - 1) + 7] = 1;
    untouched_units(base, n_units * UNTOUCHED_UNIT_BYTES, &units);
    cr_assert_eq(units, 1ull << 2 | 1ull << 3 | 1ull << 5 | 1ull << (n_units - 1), "0x%lx", units);
    untouched_units((uint8_t *)base + UNTOUCHED_UNIT_BYTES / 2, UNTOUCHED_UNIT_BYTES * 3, &at);
    cr_assert_eq(at, 1ull << 2, "units count from the base: 0x%lx", at);
    munmap(base, n_units * UNTOUCHED_UNIT_BYTES);
}

Test(untouched, units_of_anonymous_memory, .timeout = 30)
{
    void *base = mmap(NULL, 12 * UNTOUCHED_UNIT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(base, MAP_FAILED);
    madvise(base, 12 * UNTOUCHED_UNIT_BYTES, MADV_NOHUGEPAGE);
    units_of(base, 12);
}

Test(untouched, units_of_shared_memory, .timeout = 30)
{
    int fd = memfd_create("units", MFD_CLOEXEC);
    void *base;

    cr_assert_eq(ftruncate(fd, 13 * (off_t)UNTOUCHED_UNIT_BYTES), 0);
    base = mmap(NULL, 12 * UNTOUCHED_UNIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)UNTOUCHED_UNIT_BYTES);
    cr_assert_neq(base, MAP_FAILED);
    close(fd);
    units_of(base, 12);
}
