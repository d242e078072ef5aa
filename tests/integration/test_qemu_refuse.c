/* SPDX-License-Identifier: BSD-2-Clause */
/* Real QEMUs with what cannot be migrated: each is refused by the name of what is in the way. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/qemu.h"
#include "tools/qemu/guest_ram.h"
#include "tools/qemu/refuse.h"

#define RAM "-S -M q35,memory-backend=m0 -m 32M,maxmem=1G -object memory-backend-memfd,id=m0,size=32M,share=on "

static struct tern_error error;
static struct qemu_facts facts;

static void start(struct qemu *qemu, const char *words)
{
    char all[1024];

    snprintf(all, sizeof(all), RAM "%s", words);
    qemu_start(qemu, all);
}

static int judge(struct qemu *qemu, bool pinned)
{
    struct guest_ram *ram = NULL;
    int r;

    error = (struct tern_error){0};
    cr_assert_eq(guest_ram_open(qemu->qmp, &ram, &error), 0, "%s", error.message);
    cr_assert_eq(qemu_facts_read(qemu->qmp, &facts, &error), 0, "%s", error.message);
    r = qemu_refuse(&facts, &ram->layout, pinned, &error);
    guest_ram_close(ram);
    return r;
}

Test(qemu_refuse, ordinary_devices_are_taken, .timeout = 60)
{
    struct qemu qemu = {0};

    start(&qemu, "-netdev user,id=n0 -device virtio-net-pci,netdev=n0,id=nic -device virtio-balloon-pci -device VGA");
    cr_assert_eq(judge(&qemu, true), 0, "%s", error.message);
    qemu_end(&qemu);
}

Test(qemu_refuse, virtio_mem_and_ivshmem, .timeout = 60)
{
    struct qemu qemu = {0};

    start(&qemu, "-object memory-backend-memfd,id=v0,size=128M,share=on -device virtio-mem-pci,id=vm0,memdev=v0");
    cr_assert_eq(judge(&qemu, false), -ENOTSUP);
    cr_assert(strstr(error.message, "device 'vm0' (virtio-mem-pci)"), "%s", error.message);
    qemu_end(&qemu);
    start(&qemu, "-object memory-backend-memfd,id=v0,size=1M,share=on -device ivshmem-plain,id=iv0,memdev=v0");
    cr_assert_eq(judge(&qemu, false), -ENOTSUP);
    cr_assert(strstr(error.message, "device 'iv0' (ivshmem-plain)"), "%s", error.message);
    qemu_end(&qemu);
}

Test(qemu_refuse, free_page_reporting_over_verbs, .timeout = 60)
{
    struct qemu qemu = {0};

    start(&qemu, "-device virtio-balloon-pci,id=bal0,free-page-reporting=on");
    cr_assert_eq(judge(&qemu, false), 0, "%s", error.message);
    cr_assert_eq(judge(&qemu, true), -ENOTSUP);
    cr_assert(strstr(error.message, "device 'bal0' reports free pages"), "%s", error.message);
    qemu_end(&qemu);
}

static void expect_disk(const char *words, const char *disk_name, const char *node)
{
    struct qemu qemu = {0};
    char all[768], disk[96];
    int fd;

    qemu_folder(&qemu);
    for (const char *name = "ab"; *name; name++) {
        snprintf(disk, sizeof(disk), "%s/disk_%c", qemu.folder, *name);
        fd = open(disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        cr_assert_geq(fd, 0);
        cr_assert_eq(ftruncate(fd, 1 << 20), 0);
        close(fd);
    }
    snprintf(all, sizeof(all), "-device virtio-scsi-pci,id=s0 -device scsi-cd,id=cd0 %s", words);
    start(&qemu, all);
    cr_assert_eq(judge(&qemu, true), 0, "%s: %s", words, error.message);
    cr_assert_str_eq(facts.direct_disk.name, disk_name, "%s", words);
    if (*disk_name)
        cr_assert_str_eq(facts.direct_disk.node, node, "%s", words);
    qemu_end(&qemu);
}

/* They are not refused: they are known, and drained. On Linux before 6.6 a tmpfs has no O_DIRECT: QEMU's "null-co"
 * takes the flag on any. */
Test(qemu_refuse, disks_past_the_page_cache, .timeout = 60)
{
    expect_disk("-drive file=null-co://,format=raw,if=virtio,cache=none,node-name=n0", "virtio0", "n0");
    expect_disk("-blockdev null-co,node-name=f1,cache.direct=on -blockdev raw,file=f1,node-name=q1 "
                "-device scsi-hd,drive=q1,id=vd1",
                "vd1", "f1");
    expect_disk("-drive file=@/disk_a,format=raw,if=virtio,cache=writeback "
                "-blockdev null-co,node-name=lonely,cache.direct=on -blockdev file,filename=@/disk_b,node-name=f1 "
                "-device virtio-blk-pci,drive=f1,id=vd1",
                "", NULL);
}

Test(qemu_refuse, what_qemu_itself_will_not_migrate, .timeout = 60)
{
    struct qemu qemu = {0};

    start(&qemu, "-device nvme,serial=1,id=nvme0");
    cr_assert_eq(judge(&qemu, false), -ENOTSUP);
    cr_assert(strstr(error.message, "QEMU cannot migrate: "), "%s", error.message);
    qemu_end(&qemu);
}

Test(qemu_refuse, a_migration_that_runs_and_one_that_is_awaited, .timeout = 60)
{
    struct qemu qemu = {0};

    start(&qemu, "-chardev null,id=c0");
    json_object_put(qemu_do(&qemu, "migrate-set-parameters", "{\"max-bandwidth\": 4096}"));
    json_object_put(qemu_do(&qemu, "migrate", "{\"uri\": \"exec:cat>/dev/null\"}"));
    cr_assert_eq(judge(&qemu, false), -EBUSY);
    cr_assert(strstr(error.message, "another migration running"), "%s", error.message);
    qemu_end(&qemu);
    start(&qemu, "-incoming defer");
    cr_assert_eq(judge(&qemu, false), -EINVAL);
    cr_assert_str_eq(error.message, "QEMU is in state 'inmigrate': it has no guest to migrate");
    qemu_end(&qemu);
}
