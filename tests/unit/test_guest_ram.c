/* SPDX-License-Identifier: BSD-2-Clause */
/* What is the guest's RAM, from QEMU's answers; and which file is behind an address, from /proc/PID/maps. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/qemu/lent_ram.h"
#include "tools/qemu/process.h"
#include "tools/qemu/qmp.h"
#include "tools/qemu/ram_layout.h"

#define GIB (1ull << 30)
#define MIB (1ull << 20)

static struct tern_error error;
static struct ram_layout layout;

static int decide(const char *memdevs, const char *summary, const char *mtree)
{
    struct json_object *m = json_tokener_parse(memdevs), *s = json_tokener_parse(summary);
    int r;

    cr_assert(m && s);
    error = (struct tern_error){0};
    r = ram_layout_decide(m, s, mtree, &layout, &error);
    json_object_put(m);
    json_object_put(s);
    return r;
}

static void part_is(uint32_t i, const char *name, uint64_t guest, uint64_t length, uint64_t offset, uint64_t visible)
{
    const struct ram_part *part = &layout.parts[i];

    cr_assert_lt(i, layout.n_parts);
    cr_assert_str_eq(part->name, name);
    cr_assert_eq(part->guest_address, guest, "%s at 0x%lx", name, part->guest_address);
    cr_assert_eq(part->length_bytes, length, "%s is 0x%lx long", name, part->length_bytes);
    cr_assert_eq(part->offset_bytes, offset);
    cr_assert_eq(part->visible_address, visible);
}

#define M0_4G   "[{\"id\": \"m0\", \"size\": 4294967296, \"share\": true}]"
#define SIZE_4G "{\"base-memory\": 4294967296, \"plugged-memory\": 0}"
#define OPENING                                                                                                        \
    "FlatView #0\n AS \"memory\", root: system\n AS \"cpu-memory-0\", root: system\n Root memory region: system\n"
#define LOW_4G(n)                                                                                                      \
    "  0000000000000000-000000000009ffff (prio 0, ram): " n "\n"                                                       \
    "  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom\n"                                                      \
    "  0000000000100000-000000007fffffff (prio 0, ram): " n " @0000000000100000\n"                                     \
    "  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram\n"
#define HIGH_4G(n) "  0000000100000000-000000017fffffff (prio 0, ram): " n " @0000000080000000\n"

Test(ram_layout, one_backend_below_and_above_4_gib, .timeout = 10)
{
    cr_assert_eq(decide(M0_4G, SIZE_4G, OPENING LOW_4G("m0") HIGH_4G("m0")), 0, "%s", error.message);
    cr_assert_eq(layout.n_parts, 2);
    part_is(0, "m0:0", 0, 2 * GIB, 0, 0);
    part_is(1, "m0:1", 4 * GIB, 2 * GIB, 2 * GIB, 4 * GIB);
}

Test(ram_layout, names_by_path_and_marks_of_the_accelerator, .timeout = 10)
{
    static const char kvm[] = OPENING "  0000000000000000-000000000009ffff (prio 0, ram): m0 KVM\r\n"
                                      "  0000000000100000-000000007fffffff (prio 0, ram): m0 @0000000000100000 KVM\r\n"
                                      "  0000000100000000-000000017fffffff (prio 0, ram): m0 @0000000080000000 KVM\r\n";

    cr_assert_eq(decide(M0_4G, SIZE_4G, OPENING LOW_4G("/objects/m0") HIGH_4G("/objects/m0")), 0, "%s", error.message);
    cr_assert_eq(layout.n_parts, 2);
    cr_assert_eq(decide(M0_4G, SIZE_4G, kvm), 0, "%s", error.message);
    cr_assert_eq(layout.n_parts, 2);
    part_is(1, "m0:1", 4 * GIB, 2 * GIB, 2 * GIB, 4 * GIB);
}

Test(ram_layout, numa_nodes_and_a_dimm, .timeout = 10)
{
    static const char memdevs[] = "[{\"id\": \"m1\", \"size\": 268435456, \"share\": true},"
                                  " {\"id\": \"unused\", \"size\": 16777216, \"share\": false},"
                                  " {\"id\": \"d0\", \"size\": 134217728, \"share\": true},"
                                  " {\"id\": \"m0\", \"size\": 268435456, \"share\": true}]";
    static const char other_views[] =
        "\nFlatView #2\n AS \"cpu-smm-0\", root: memory\n"
        "  0000000000000000-000000000fffffff (prio 0, ram): m1\n\nFlatView #3\n AS \"I/O\"\n";
    static const char view[] = OPENING "  0000000000000000-00000000000bffff (prio 0, ram): m0\n"
                                       "  0000000000100000-000000000fffffff (prio 0, ram): m0 @0000000000100000\n"
                                       "  0000000010000000-000000001fffffff (prio 0, ram): m1\n"
                                       "  0000000100000000-0000000107ffffff (prio 0, nv-ram): d0\n";
    char text[2048];

    snprintf(text, sizeof(text), "%s%s", view, other_views);
    cr_assert_eq(decide(memdevs, "{\"base-memory\": 536870912, \"plugged-memory\": 134217728}", text), 0, "%s",
                 error.message);
    cr_assert_eq(layout.n_parts, 3);
    part_is(0, "m0", 0, 256 * MIB, 0, 0);
    part_is(1, "m1", 256 * MIB, 256 * MIB, 0, 256 * MIB);
    part_is(2, "d0", 4 * GIB, 128 * MIB, 0, 4 * GIB);
}

Test(ram_layout, what_the_guest_does_not_see_belongs_to_it, .timeout = 10)
{
    static const char view[] = OPENING "  0000000000100000-000000000fefffff (prio 0, ram): m0 @0000000000100000\n";

    cr_assert_eq(
        decide("[{\"id\": \"m0\", \"size\": 268435456, \"share\": true}]", "{\"base-memory\": 268435456}", view), 0,
        "%s", error.message);
    cr_assert_eq(layout.n_parts, 1);
    part_is(0, "m0", 0, 256 * MIB, 0, MIB);
}

Test(ram_layout, ids_are_not_confused, .timeout = 10)
{
    static const char view[] = OPENING "  0000000000000000-000000000fffffff (prio 0, ram): m\n"
                                       "  0000000010000000-000000001fffffff (prio 0, ram): m0\n";

    cr_assert_eq(decide("[{\"id\": \"m0\", \"size\": 268435456, \"share\": true}, {\"id\": \"m\", \"size\": 268435456, "
                        "\"share\": true}, {\"size\": 4096, \"share\": false}]",
                        "{\"base-memory\": 536870912}", view),
                 0, "%s", error.message);
    part_is(0, "m", 0, 256 * MIB, 0, 0);
    part_is(1, "m0", 256 * MIB, 256 * MIB, 0, 256 * MIB);
}

Test(ram_layout, refusals_name_the_memory, .timeout = 10)
{
    static const char view[] = OPENING "  0000000000000000-000000000fffffff (prio 0, ram): pc.ram\n";
    static const char memdev[] = "[{\"id\": \"pc.ram\", \"size\": 268435456, \"share\": false}]";

    cr_assert_eq(decide(memdev, "{\"base-memory\": 268435456}", view), -ENOTSUP);
    cr_assert_str_eq(error.message, "the guest's RAM 'pc.ram' is not shared memory");
    cr_assert(strstr(error.hint, "share=on"));
    cr_assert_eq(decide("[]", "{\"base-memory\": 268435456}", view), -ENOTSUP);
    cr_assert_str_eq(error.message, "256 MiB of the guest's RAM are in no memory backend that the guest sees");
    cr_assert_eq(decide("[{\"id\": \"pc.ram\", \"size\": 268435456, \"share\": true}]",
                        "{\"base-memory\": 268435456, \"plugged-memory\": 33554432}", view),
                 -ENOTSUP);
    cr_assert(strstr(error.message, "32 MiB of the guest's RAM"));
}

Test(ram_layout, nonsense_is_refused, .timeout = 10)
{
    static const char small[] = "[{\"id\": \"m0\", \"size\": 1048576, \"share\": true}]";

    cr_assert_eq(decide(small, SIZE_4G, OPENING LOW_4G("m0")), -EPROTO);
    cr_assert_eq(decide(small, SIZE_4G, ""), -EPROTO);
    cr_assert_eq(decide(small, SIZE_4G, "FlatView #0\n AS \"I/O\", root: io\n"), -EPROTO);
    cr_assert_eq(decide(small, SIZE_4G, OPENING "  0000000000000000-ffffffffffffffff (prio 0, ram): m0\n"), -EPROTO);
    cr_assert_eq(decide(small, SIZE_4G, OPENING "  0-fffff (prio 0, ram): m0 @fffffffffffff000\n"), -EPROTO);
    cr_assert_eq(decide("{}", "[]", OPENING "  0-fffff (prio 0, ram)\n  (prio\n 00-"), -ENOTSUP);
}

Test(ram_layout, differences_are_named, .timeout = 10)
{
    struct ram_layout before;

    cr_assert_eq(decide(M0_4G, SIZE_4G, OPENING LOW_4G("m0") HIGH_4G("m0")), 0);
    before = layout;
    cr_assert(ram_layout_equal(&before, &layout, &error));
    layout.n_parts = 1;
    cr_assert_not(ram_layout_equal(&before, &layout, &error));
    cr_assert_str_eq(error.message, "the guest's RAM has changed: 'm0:1' at 0x100000000 is gone");
    cr_assert_not(ram_layout_equal(&layout, &before, &error));
    cr_assert_str_eq(error.message, "the guest's RAM has changed: 'm0:1' at 0x100000000 is new");
}

Test(ram_layout, host_addresses, .timeout = 10)
{
    uint64_t address = 0;

    cr_assert(
        ram_host_address("Host virtual address for 0x100000000 (/objects/m0) is 0x7f6717fff000\r\n", "m0", &address));
    cr_assert_eq(address, 0x7f6717fff000);
    cr_assert_not(ram_host_address("Host virtual address for 0x0 (m01) is 0x7f6717fff000", "m0", &address));
    cr_assert_not(ram_host_address("Memory at address 0xfe000000 is not RAM", "m0", &address));
    cr_assert_not(ram_host_address("No memory is mapped at address 0xfe000000", "m0", &address));
    cr_assert_not(ram_host_address("", "m0", &address));
}

static const char maps[] =
    "5569bf7f4000-5569bfb51000 r--p 00000000 fe:00 524401                     /usr/bin/qemu\n"
    "7f71b3c00000-7f71bbc00000 rw-s 00000000 00:11 431447                     /memfd:ram a (deleted)\n"
    "7f71bbffe000-7f71bc000000 rw-s 00000000 00:1b 8864                       /dev/shm/q1.ram\n"
    "7f71bc000000-7f71cbffe000 rw-s 00002000 00:1b 8864                       /dev/shm/q1.ram\n"
    "7f71cbfff000-7f71dbfff000 rw-s 00000000 00:01 1377                       /dev/zero (deleted)\n"
    "7f71dbfff000-7f71dc000000 rw-p 00000000 00:1b 8864                       /dev/shm/q1.ram\n"
    "7f71dd000000-7f71dd001000 rw-s 00000000 00:1b 8864                       /dev/shm/q1.ram\n"
    "7f71dd001000-7f71dd002000 rw-s 00009000 00:1b 8864                       /dev/shm/q1.ram\n"
    "7ffd5d3f2000-7ffd5d413000 rw-p 00000000 00:00 0                          [stack]";

Test(mappings, all_lines_are_read, .timeout = 10)
{
    const char *at = maps;
    struct mapping m = {0};
    int n = 0;

    while (mapping_next(&at, &m))
        n++;
    cr_assert_eq(n, 9);
    cr_assert_eq(m.path_length, 7);
    cr_assert_eq(strncmp(m.path, "[stack]", 7), 0);
    cr_assert_not(m.shared);
    at = "";
    cr_assert_not(mapping_next(&at, &m));
    at = "garbage";
    cr_assert_not(mapping_next(&at, &m));
}

Test(mappings, one_file_behind_a_range, .timeout = 10)
{
    struct mapping m = {0};

    cr_assert_eq(mapping_cover(maps, 0x7f71b3c00000, 0x8000000, &m), 0);
    cr_assert(m.inode == 431447 && m.device_major == 0 && m.device_minor == 0x11);
    cr_assert_eq(m.path_length, strlen("/memfd:ram a (deleted)"));
    cr_assert_eq(mapping_cover(maps, 0x7f71bbffe000, 0x10000000, &m), 0, "in two mappings");
    cr_assert_eq(m.start, 0x7f71bbffe000);
    cr_assert_eq(mapping_cover(maps, 0x7f71bc000000, 0x1000, &m), 0);
    cr_assert_eq(m.offset_bytes, 0x2000);
    cr_assert_eq(mapping_cover(maps, 0x7f71bbffe000, 0x10001000, &m), -EFAULT, "a hole");
    cr_assert_eq(mapping_cover(maps, 0x7f71cbfff000, 0x1000, &m), -ENOENT, "no file");
    cr_assert_eq(mapping_cover(maps, 0x7f71dbfff000, 0x1000, &m), -ENOTSUP, "private");
    cr_assert_eq(mapping_cover(maps, 0x7f71dd000000, 0x2000, &m), -ENXIO, "a jump in the file");
    cr_assert_eq(mapping_cover(maps, 0x1000, 0x1000, &m), -EFAULT);
    cr_assert_eq(mapping_cover(maps, 0x7fffffff0000, 0x1000, &m), -EFAULT);
}

Test(process, the_other_end_of_a_socket_is_this_process, .timeout = 10)
{
    struct process process;
    char *text = NULL;
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    cr_assert_eq(process_of_peer(fds[0], &process, &error), 0, "%s", error.message);
    cr_assert_eq(process.pid, getpid());
    cr_assert_eq(process_read(&process, "maps", &text, &error), 0, "%s", error.message);
    cr_assert(strstr(text, "[stack]"));
    free(text);
    process_close(&process);
    cr_assert_eq(process_open(INT32_MAX, &process, &error), -ESRCH);
    close(fds[0]);
    close(fds[1]);
}

Test(lent_ram, is_what_is_registered_for_missing_pages, .timeout = 10)
{
    cr_assert(lent_ram_is_registered("7f00-7f10 rw-s\nVmFlags: rd wr sh um\n"));
    cr_assert(lent_ram_is_registered("VmFlags: rd wr\nVmFlags: rd um sd \nRss: 0\n"));
    cr_assert(lent_ram_is_registered("VmFlags: um"));
    cr_assert_not(lent_ram_is_registered("VmFlags: rd wr uw sd \n"), "written to, not missing");
    cr_assert_not(lent_ram_is_registered("VmFlags: rd\n7f00-7f10 rw-s /a um b\n"));
    cr_assert_not(lent_ram_is_registered(""));
}
