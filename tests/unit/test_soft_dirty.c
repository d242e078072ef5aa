/* SPDX-License-Identifier: BSD-2-Clause */
/* What soft-dirty bits mean, when they are not to be trusted, and what they do not go with. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tools/qemu/remote_soft_dirty.h"
#include "tools/qemu/soft_dirty.h"

#define WRITTEN SOFT_DIRTY_WRITTEN
#define PRESENT SOFT_DIRTY_PRESENT

static struct tern_error error;

Test(soft_dirty, entries_become_bits, .timeout = 10)
{
    uint64_t entries[130] = {0}, written[3] = {~0ull, ~0ull, ~0ull}, present[3] = {~0ull, ~0ull, ~0ull};

    entries[0] = WRITTEN | PRESENT;
    entries[63] = PRESENT | ((1ull << 55) - 1); /* any frame number */
    entries[64] = WRITTEN;
    entries[129] = ~0ull;
    soft_dirty_split(entries, 130, written, present);
    cr_assert_eq(written[0], 1);
    cr_assert_eq(written[1], 1);
    cr_assert_eq(written[2], 2);
    cr_assert_eq(present[0], 1ull << 63 | 1);
    cr_assert_eq(present[1], 0);
    cr_assert_eq(present[2], 2);
}

Test(soft_dirty, what_has_gone_counts_as_written, .timeout = 10)
{
    uint64_t written[2] = {0x1, 0}, present[2] = {0x0f, 0x80}, before[2] = {0x30, 0x81}, dirty[2] = {0x100, 0};

    soft_dirty_merge(written, present, before, dirty, 2);
    cr_assert_eq(dirty[0], 0x131);
    cr_assert_eq(dirty[1], 0x01);
    cr_assert_eq(before[0], 0x0f);
    cr_assert_eq(before[1], 0x80);
}

Test(soft_dirty, reclaim_is_counted_by_kind_where_the_kernel_does, .timeout = 10)
{
    cr_assert_eq(soft_dirty_reclaims("nr_free_pages 5\npswpout 2\npgscan_kswapd 100\npgscan_direct 50\n"
                                     "pgscan_direct_throttle 7\npgscan_anon 10\npgscan_file 140\n"),
                 12);
    cr_assert_eq(soft_dirty_reclaims("nr_free_pages 5\npgscan_kswapd 100\npgscan_direct 50\npgscan_direct_throttle 7\n"
                                     "pswpin 3\npswpout 1\n"),
                 151);
    cr_assert_eq(soft_dirty_reclaims(""), 0);
}

Test(soft_dirty, memory_that_may_get_huge_pages, .timeout = 10)
{
    static const char smaps[] = "7f0000000000-7f0000400000 rw-s 00000000 00:19 2  /dev/shm/ram\n"
                                "Size:               4096 kB\n"
                                "ShmemPmdMapped:        0 kB\n"
                                "THPeligible:    0\n"
                                "VmFlags: rd wr sh mr mw me ms\n"
                                "7f0000400000-7f0000800000 rw-s 00000000 00:19 3  /dev/shm/other\n"
                                "ShmemPmdMapped:        0 kB\n"
                                "THPeligible:    1\n"
                                "7f0000800000-7f0000c00000 rw-s 00000000 00:19 4  /dev/shm/third\n"
                                "ShmemPmdMapped:     2048 kB\n"
                                "THPeligible:    0\n";

    cr_assert(!soft_dirty_may_be_huge(smaps, 0x7f0000000000));
    cr_assert(!soft_dirty_may_be_huge(smaps, 0x7f00003ff000));
    cr_assert(soft_dirty_may_be_huge(smaps, 0x7f0000400000));
    cr_assert(soft_dirty_may_be_huge(smaps, 0x7f0000800000));
    cr_assert(!soft_dirty_may_be_huge(smaps, 0x7f0000c00000));
}

static void refused(const struct soft_dirty_facts *facts, const struct tern_region *regions, const char *text)
{
    error = (struct tern_error){0};
    cr_assert_eq(soft_dirty_refuse(facts, regions, 2, &error), -ENOTSUP, "%s", text);
    cr_assert(strstr(error.message, text), "'%s' instead of '%s'", error.message, text);
    cr_assert(error.hint[0]);
}

Test(soft_dirty, what_is_in_the_way_is_named, .timeout = 10)
{
    struct tern_region regions[2] = {{.page_bytes = 4096, .name = "m0"}, {.page_bytes = 4096, .name = "m1"}};
    struct soft_dirty_facts good = {.huge_region = UINT32_MAX}, facts = good;

    cr_assert_eq(soft_dirty_refuse(&facts, regions, 2, &error), 0);
    strcpy(facts.kernel_writer, "/dev/vhost-net");
    refused(&facts, regions, "QEMU has /dev/vhost-net open");
    facts = good;
    facts.has_io_uring = true;
    refused(&facts, regions, "aio=io_uring");
    facts = good;
    facts.has_linux_aio = true;
    refused(&facts, regions, "aio=native");
    facts = good;
    facts.huge_region = 1;
    refused(&facts, regions, "RAM 'm1' may get transparent huge pages");
    regions[1].page_bytes = 2u << 20;
    refused(&good, regions, "RAM 'm1' is in huge pages");
}

/* A kernel without CONFIG_MEM_SOFT_DIRTY takes every request, and does nothing. */
Test(soft_dirty, a_kernel_without_it_is_told_by_name, .timeout = 20)
{
    static struct guest_ram ram;
    struct tern_tracker tracker = {0};
    int r;

    cr_assert_eq(process_open(getpid(), &ram.process, &error), 0, "%s", error.message);
    r = remote_soft_dirty_create(&ram, &tracker, &error);
    if (soft_dirty_works()) {
        cr_assert_eq(r, 0, "%s", error.message);
    } else {
        cr_assert_eq(r, -ENOTSUP);
        cr_assert(strstr(error.message, "neither by userfaultfd nor by soft-dirty"), "%s", error.message);
    }
    tern_tracker_destroy(&tracker);
    process_close(&ram.process);
}
