/* SPDX-License-Identifier: BSD-2-Clause */
/* What the host's kernel writes into a guest's memory on QEMU's behalf is tracked as well: a Linux guest whose network
 * is vhost-net moves while packets come all the time, and its memory is the same to the byte on both sides when neither
 * runs. Run by by_hand_qemu_vhost.sh, which makes the taps tap_a and tap_b and sends to the guest's address, and says
 * in the environment: TERN_GUEST_KERNEL, TERN_GUEST_INITRD. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/common/qemu_move.h"
#include "transport/clock.h"

#define READY_MS 80000

static void start(struct qemu_move_side *side, bool incoming)
{
    char words[2048];

    snprintf(words, sizeof(words),
             "-cpu host -machine q35,memory-backend=ram -m 192M "
             "-object memory-backend-file,id=ram,size=192M,share=on,mem-path=@/ram -qmp unix:@/tern,server=on,wait=off "
             "-netdev tap,id=net,ifname=tap_%s,script=no,downscript=no,vhost=on "
             "-device virtio-net-pci,netdev=net,romfile= -serial file:@/serial -kernel %s -initrd %s -append %s%s",
             incoming ? "b" : "a", getenv("TERN_GUEST_KERNEL"), getenv("TERN_GUEST_INITRD"),
             /* a blank would end the word */
             "console=ttyS0\tquiet\tnoxsave\tguest.ip=10.78.0.2/24\tguest.data=8", incoming ? " -incoming defer" : "");
    qemu_start(&side->qemu, words);
}

static bool says(const struct qemu_move_side *side, const char *text)
{
    char path[96], line[256];
    bool found = false;
    FILE *file;

    snprintf(path, sizeof(path), "%s/serial", side->qemu.folder);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file))
        found |= strstr(line, text) != NULL;
    if (file)
        fclose(file);
    return found;
}

static void wait_for(const struct qemu_move_side *side, const char *text)
{
    uint64_t deadline_ns = clock_after_ms(READY_MS);

    while (!says(side, text)) {
        cr_assert(clock_left_ms(deadline_ns), "the guest did not say '%s'", text);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}

/* That the guest's card has been given by the kernel so far. */
static uint64_t packets(const char *tap)
{
    char path[96];
    unsigned long n = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/tx_packets", tap);
    file = fopen(path, "r");
    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%lu", &n), 1);
    fclose(file);
    return n;
}

Test(qemu_vhost, what_the_kernel_writes_for_qemu_is_tracked, .timeout = 190)
{
    struct qemu_move move = {0};
    uint64_t before;

    start(&move.source, false);
    start(&move.destination, true);
    wait_for(&move.source, "guest: tick");
    qemu_move_open(&move.source, TERN_SIDE_SOURCE);
    qemu_move_open(&move.destination, TERN_SIDE_DESTINATION);
    move.source.options.bandwidth_bps = 200000000; /* so that there is time for packets between the rounds */
    move.source.options.downtime_limit_ns = 2000000000;
    before = packets("tap_a");
    qemu_move_begin(&move);
    qemu_move_run(&move);
    cr_assert_gt(packets("tap_a"), before + 20, "no packets came meanwhile");
    qemu_move_check(&move);
    wait_for(&move.destination, "guest: tick");
    cr_assert(!says(&move.destination, "DAMAGED"));
    qemu_move_finish(&move);
}
