/* SPDX-License-Identifier: BSD-2-Clause */
/* The RAM of real QEMUs of every kind: the regions found are exactly those that were asked for, and what lies in them
 * here is, byte for byte, what QEMU says the guest has at those addresses. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/huge_pages.h"
#include "tests/common/qemu.h"
#include "tools/qemu/guest_ram.h"

#define MIB       (1ull << 20)
#define GIB       (1ull << 30)
#define LOW_BYTES 0x90000ull /* of the first MiB, what no firmware covers */

static struct tern_error error;

static struct guest_ram *open_ram(struct qemu *qemu)
{
    struct guest_ram *ram = NULL;

    cr_assert_eq(guest_ram_open(qemu->qmp, &ram, &error), 0, "%s", error.message);
    cr_assert_eq(ram->process.pid, qemu->pid);
    return ram;
}

static void region_is(const struct guest_ram *ram, uint32_t i, const char *name, uint64_t guest, uint64_t length,
                      uint64_t page_bytes)
{
    const struct tern_region *region = &ram->regions[i];

    cr_assert_lt(i, ram->n_regions);
    cr_assert_str_eq(region->name, name);
    cr_assert_eq(region->guest_address, guest, "%s is at 0x%lx", name, region->guest_address);
    cr_assert_eq(region->length_bytes, length, "%s is 0x%lx long", name, region->length_bytes);
    cr_assert_eq(region->page_bytes, page_bytes, "%s has pages of %lu bytes", name, region->page_bytes);
    cr_assert_eq((uintptr_t)region->base % page_bytes, 0);
}

static void fill(const struct tern_region *region, uint64_t offset, uint64_t length)
{
    uint64_t *words = (uint64_t *)((char *)region->base + offset);

    for (uint64_t i = 0; i < length / 8; i++)
        words[i] = (region->guest_address + offset + i * 8) * 0x9e3779b97f4a7c15 ^ 0x7465726e;
}

/* Written here, read by QEMU at the guest's addresses. */
static void same_memory(struct qemu *qemu, const struct tern_region *region, uint64_t offset, uint64_t length)
{
    char *seen = malloc(length);

    fill(region, offset, length);
    qemu_read(qemu, region->guest_address + offset, seen, length);
    cr_assert_eq(memcmp(seen, (char *)region->base + offset, length), 0, "%s at 0x%lx is other memory", region->name,
                 offset);
    free(seen);
}

static void whole_is_same(struct qemu *qemu, const struct tern_region *region)
{
    if (!region->guest_address) {
        same_memory(qemu, region, 0, LOW_BYTES);
        same_memory(qemu, region, MIB, region->length_bytes - MIB);
    } else {
        same_memory(qemu, region, 0, region->length_bytes);
    }
}

Test(qemu_ram, one_memfd, .timeout = 60)
{
    static const uint64_t loaded = 0x1122334455667788;
    struct qemu qemu = {0};
    struct guest_ram *ram;

    qemu_start(&qemu, "-M pc,memory-backend=m0 -m 64M -object memory-backend-memfd,id=m0,size=64M,share=on "
                      "-device loader,addr=0x2000000,data=0x1122334455667788,data-len=8");
    ram = open_ram(&qemu);
    cr_assert_eq(ram->n_regions, 1);
    region_is(ram, 0, "m0", 0, 64 * MIB, 4096);
    cr_assert_eq(ram->places[0].file_offset, 0);
    cr_assert_eq(strncmp(ram->places[0].file, "/memfd:", 7), 0);
    cr_assert_eq(memcmp((char *)ram->regions[0].base + 32 * MIB, &loaded, 8), 0, "what QEMU loaded is seen here");
    json_object_put(qemu_do(&qemu, "stop", NULL)); /* the firmware writes, too */
    whole_is_same(&qemu, &ram->regions[0]);
    cr_assert_eq(guest_ram_check(ram, qemu.qmp, &error), 0, "%s", error.message);
    guest_ram_close(ram);
    qemu_end(&qemu);
}

Test(qemu_ram, file_on_tmpfs, .timeout = 60)
{
    struct qemu qemu = {0};
    struct guest_ram *ram;
    char path[96];

    qemu_start(&qemu, "-S -M q35,memory-backend=pc.ram -m 64M "
                      "-object memory-backend-file,id=pc.ram,size=64M,share=on,mem-path=@/ram");
    ram = open_ram(&qemu);
    cr_assert_eq(ram->n_regions, 1);
    region_is(ram, 0, "pc.ram", 0, 64 * MIB, 4096);
    snprintf(path, sizeof(path), "%s/ram", qemu.folder);
    cr_assert_str_eq(ram->places[0].file, path);
    whole_is_same(&qemu, &ram->regions[0]);
    guest_ram_close(ram);
    qemu_end(&qemu);
}

/* Three memfds of one name and one length: only QEMU's address tells which is which. */
Test(qemu_ram, numa_nodes_alike, .timeout = 60)
{
    struct qemu qemu = {0};
    struct guest_ram *ram;

    qemu_start(&qemu, "-S -M q35 -m 96M -object memory-backend-memfd,id=ram-node2,size=32M,share=on "
                      "-object memory-backend-memfd,id=ram-node0,size=32M,share=on "
                      "-object memory-backend-memfd,id=ram-node1,size=32M,share=on "
                      "-object memory-backend-ram,id=unused,size=4M -numa node,memdev=ram-node0 "
                      "-numa node,memdev=ram-node1 -numa node,memdev=ram-node2");
    ram = open_ram(&qemu);
    cr_assert_eq(ram->n_regions, 3);
    region_is(ram, 0, "ram-node0", 0, 32 * MIB, 4096);
    region_is(ram, 1, "ram-node1", 32 * MIB, 32 * MIB, 4096);
    region_is(ram, 2, "ram-node2", 64 * MIB, 32 * MIB, 4096);
    for (uint32_t i = 0; i < 3; i++)
        whole_is_same(&qemu, &ram->regions[i]);
    guest_ram_close(ram);
    qemu_end(&qemu);
}

Test(qemu_ram, above_4_gib_under_its_old_name, .timeout = 60)
{
    struct qemu qemu = {0};
    struct guest_ram *ram;

    qemu_start(&qemu,
               "-S -M q35,memory-backend=m0 -m 5G -object memory-backend-file,id=m0,size=5G,share=on,mem-path=@/ram,"
               "x-use-canonical-path-for-ramblock-id=on");
    ram = open_ram(&qemu);
    cr_assert_eq(ram->n_regions, 2);
    region_is(ram, 0, "m0:0", 0, 2 * GIB, 4096);
    region_is(ram, 1, "m0:1", 4 * GIB, 3 * GIB, 4096);
    cr_assert_eq(ram->places[1].file_offset, 2 * GIB);
    cr_assert_eq(ram->places[1].remote_address - ram->places[0].remote_address, 2 * GIB);
    same_memory(&qemu, &ram->regions[0], 2 * GIB - MIB, MIB);
    same_memory(&qemu, &ram->regions[1], 0, MIB);
    same_memory(&qemu, &ram->regions[1], 3 * GIB - MIB, MIB);
    guest_ram_close(ram);
    qemu_end(&qemu);
}

Test(qemu_ram, a_dimm_plugged_while_it_runs, .timeout = 60)
{
    struct qemu qemu = {0};
    struct guest_ram *before, *after;

    qemu_start(&qemu, "-M q35,memory-backend=m0 -m 64M,slots=2,maxmem=1G "
                      "-object memory-backend-memfd,id=m0,size=64M,share=on");
    before = open_ram(&qemu);
    cr_assert_eq(before->n_regions, 1);
    json_object_put(
        qemu_do(&qemu, "object-add",
                "{\"qom-type\": \"memory-backend-file\", \"id\": \"d0\", \"size\": 134217728, \"share\": true, "
                "\"mem-path\": \"@/dimm\"}"));
    cr_assert_eq(guest_ram_check(before, qemu.qmp, &error), 0, "a backend that the guest does not see changes nothing");
    json_object_put(qemu_do(&qemu, "device_add", "{\"driver\": \"pc-dimm\", \"id\": \"dimm0\", \"memdev\": \"d0\"}"));
    cr_assert_eq(guest_ram_check(before, qemu.qmp, &error), -ESTALE);
    cr_assert_str_eq(error.message, "the guest's RAM has changed: 'd0' at 0x100000000 is new");
    after = open_ram(&qemu);
    cr_assert_eq(after->n_regions, 2);
    region_is(after, 1, "d0", 4 * GIB, 128 * MIB, 4096);
    json_object_put(qemu_do(&qemu, "stop", NULL));
    whole_is_same(&qemu, &after->regions[0]);
    whole_is_same(&qemu, &after->regions[1]);
    guest_ram_close(before);
    guest_ram_close(after);
    qemu_end(&qemu);
}

/* ---- huge pages ---- */

static void no_1_gib_pages(void)
{
    huge_pages_set(GIB, 0);
}

Test(qemu_ram, huge_pages_in_a_memfd_and_in_hugetlbfs, .timeout = 60)
{
    struct qemu qemu = {0};
    struct guest_ram *ram;
    char path[96];

    if (!huge_pages_reserve(2 * MIB, 48))
        cr_skip_test("no huge pages of 2 MiB");
    qemu_folder(&qemu);
    snprintf(path, sizeof(path), "%s/huge", qemu.folder);
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mkdir(path, 0700) ||
        mount("none", path, "hugetlbfs", 0, "pagesize=2M")) {
        rmdir(path);
        cr_skip_test("cannot mount hugetlbfs");
    }
    qemu_start(&qemu, "-S -M q35 -m 80M,slots=1,maxmem=1G "
                      "-object memory-backend-memfd,id=m0,size=32M,share=on,hugetlb=on,hugetlbsize=2M "
                      "-object memory-backend-file,id=m1,size=32M,share=on,mem-path=@/huge "
                      "-object memory-backend-memfd,id=m2,size=16M,share=on "
                      "-numa node,memdev=m0 -numa node,memdev=m1 -numa node,memdev=m2");
    ram = open_ram(&qemu);
    cr_assert_eq(ram->n_regions, 3);
    region_is(ram, 0, "m0", 0, 32 * MIB, 2 * MIB);
    region_is(ram, 1, "m1", 32 * MIB, 32 * MIB, 2 * MIB);
    region_is(ram, 2, "m2", 64 * MIB, 16 * MIB, 4096);
    for (uint32_t i = 0; i < 3; i++)
        whole_is_same(&qemu, &ram->regions[i]);
    guest_ram_close(ram);
    umount2(path, MNT_DETACH);
    rmdir(path);
    qemu_end(&qemu);
}

Test(qemu_ram, a_huge_page_of_1_gib, .timeout = 60)
{
    struct qemu qemu = {0};
    struct guest_ram *ram;

    if (!huge_pages_reserve(GIB, 1))
        cr_skip_test("no huge page of 1 GiB");
    qemu_start(&qemu, "-S -M q35,memory-backend=m0 -m 1G "
                      "-object memory-backend-memfd,id=m0,size=1G,share=on,hugetlb=on,hugetlbsize=1G");
    ram = open_ram(&qemu);
    cr_assert_eq(ram->n_regions, 1);
    region_is(ram, 0, "m0", 0, GIB, GIB);
    same_memory(&qemu, &ram->regions[0], 512 * MIB, MIB);
    guest_ram_close(ram);
    qemu_end(&qemu);
    no_1_gib_pages();
}

/* ---- refusals ---- */

static void refused(const char *words, const char *message)
{
    struct guest_ram *ram = NULL;
    struct qemu qemu = {0};

    qemu_start(&qemu, words);
    error = (struct tern_error){0};
    cr_assert_eq(guest_ram_open(qemu.qmp, &ram, &error), -ENOTSUP, "%s", words);
    cr_assert_null(ram);
    cr_assert(strstr(error.message, message), "'%s' instead of '%s'", error.message, message);
    cr_assert(error.hint[0]);
    qemu_end(&qemu);
}

Test(qemu_ram, ram_that_cannot_be_migrated_is_named, .timeout = 90)
{
    char folder[200], words[512], here[128];
    struct statfs found;

    refused("-S -m 32M", "RAM 'pc.ram' is not shared memory");
    refused("-S -m 32M -M pc,memory-backend=m0 -object memory-backend-memfd,id=m0,size=32M,share=off",
            "RAM 'm0' is not shared memory");
    refused("-S -m 32M -M pc,memory-backend=m0 -object memory-backend-ram,id=m0,size=32M,share=on",
            "RAM 'm0' is in no file");
    refused("-S -m 64M -object memory-backend-memfd,id=m0,size=32M,share=on "
            "-object memory-backend-file,id=m1,size=32M,mem-path=@/ram -numa node,memdev=m0 -numa node,memdev=m1",
            "RAM 'm1' is not shared memory");
    cr_assert_not_null(getcwd(here, sizeof(here)));
    if (statfs(here, &found) || found.f_type == TMPFS_MAGIC)
        return;
    snprintf(folder, sizeof(folder), "%s/ram_on_disk_%d", here, getpid());
    snprintf(words, sizeof(words),
             "-S -m 32M -M pc,memory-backend=m0 -object memory-backend-file,id=m0,size=32M,share=on,mem-path=%s",
             folder);
    refused(words, "which is not a file in memory");
    unlink(folder);
}

/* ---- whose process is it? ---- */

/* A manager listens, and QEMU inherits the socket: QEMU listens again itself, which is what the kernel reports. */
Test(qemu_ram, monitor_on_a_socket_of_the_manager, .timeout = 60)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct qemu qemu = {0};
    struct guest_ram *ram = NULL;
    struct qmp *qmp = NULL;
    char words[512];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    qemu_folder(&qemu);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/managed", qemu.folder);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(fd, 1), 0);
    snprintf(words, sizeof(words),
             "-S -m 32M -M pc,memory-backend=m0 -object memory-backend-memfd,id=m0,size=32M,share=on "
             "-chardev socket,id=managed,fd=%d,server=on,wait=off -mon chardev=managed,mode=control",
             fd);
    qemu_start(&qemu, words);
    close(fd);
    cr_assert_eq(qmp_connect(address.sun_path, 5000, &qmp, &error), 0, "%s", error.message);
    cr_assert_eq(guest_ram_open(qmp, &ram, &error), 0, "%s", error.message);
    cr_assert_eq(ram->process.pid, qemu.pid);
    guest_ram_close(ram);
    qmp_close(qmp);
    qemu_end(&qemu);
}

static void carry(int from, int to)
{
    char block[4096];
    ssize_t n = read(from, block, sizeof(block));

    if (n <= 0 || write(to, block, (size_t)n) != n)
        _exit(0);
}

Test(qemu_ram, a_proxy_is_not_taken_for_qemu, .timeout = 60)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX}, far = {.sun_family = AF_UNIX};
    struct qemu qemu = {0};
    struct guest_ram *ram = NULL;
    struct qmp *qmp = NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    pid_t proxy;

    qemu_start(&qemu, "-S -m 32M -M pc,memory-backend=m0 -object memory-backend-memfd,id=m0,size=32M,share=on "
                      "-qmp unix:@/second,server=on,wait=off");
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/proxy", qemu.folder);
    snprintf(far.sun_path, sizeof(far.sun_path), "%s/second", qemu.folder);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(fd, 1), 0);
    proxy = fork();
    if (!proxy) {
        int near = (prctl(PR_SET_PDEATHSIG, SIGKILL), listen(fd, 1), accept(fd, NULL, NULL)),
            other = socket(AF_UNIX, SOCK_STREAM, 0);

        if (connect(other, (struct sockaddr *)&far, sizeof(far)))
            _exit(1);
        for (;;) {
            struct pollfd p[2] = {{.fd = near, .events = POLLIN}, {.fd = other, .events = POLLIN}};

            poll(p, 2, -1);
            if (p[0].revents)
                carry(near, other);
            if (p[1].revents)
                carry(other, near);
        }
    }
    cr_assert_eq(qmp_connect(address.sun_path, 5000, &qmp, &error), 0, "%s", error.message);
    cr_assert_eq(guest_ram_open(qmp, &ram, &error), -ESRCH);
    cr_assert(strstr(error.message, "does not have the guest's RAM 'm0'"), "%s", error.message);
    qmp_close(qmp);
    close(fd);
    waitpid(proxy, NULL, 0);
    qemu_end(&qemu);
}
