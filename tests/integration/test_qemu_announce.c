/* SPDX-License-Identifier: BSD-2-Clause */
/* The network is told where a QEMU's guest is when it runs there, and not only when it was loaded: here the commit
 * comes after QEMU's own announcements are over. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "migrate/tern.h"
#include "tests/common/qemu.h"
#include "tools/qemu/qemu_vm.h"
#include "transport/clock.h"

#define QUIET_MS 1200 /* five rounds, 50 to 550 ms apart, are over */
#define WAIT_MS  5000

struct side {
    struct qemu qemu;
    struct qemu_vm *vm;
    struct tern_vm own, description;
    struct tern_options options;
    struct tern_result result;
};

static struct side a, b;
static struct tern_destination *session;
static off_t at_load, at_resume;

/* What the network has heard of the NIC; 24 bytes of the file's own head. */
static off_t heard(const struct side *side)
{
    struct stat file;
    char path[96];

    snprintf(path, sizeof(path), "%s/heard", side->qemu.folder);
    return stat(path, &file) ? 0 : file.st_size;
}

static void wait_heard(const struct side *side, off_t more_than, const char *when)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);

    while (heard(side) <= more_than) {
        cr_assert(clock_left_ms(deadline_ns), "nothing is announced %s", when);
        poll(NULL, 0, 10);
    }
}

static void start(struct side *side, const char *more)
{
    char words[1024], socket[96];
    struct tern_error error = {0};

    snprintf(words, sizeof(words),
             "-machine q35,memory-backend=ram -m 64M -object "
             "memory-backend-file,id=ram,size=64M,share=on,mem-path=@/ram -qmp unix:@/tern,server=on,wait=off -netdev "
             "hubport,id=net,hubid=0 -device rtl8139,netdev=net,romfile= -object "
             "filter-dump,id=dump,netdev=net,file=@/heard %s",
             more);
    qemu_start(&side->qemu, words);
    snprintf(socket, sizeof(socket), "%s/tern", side->qemu.folder);
    cr_assert_eq(qemu_vm_open(socket, side == &a ? TERN_SIDE_SOURCE : TERN_SIDE_DESTINATION, false, &side->vm, &error),
                 0, "%s", error.message);
    side->own = side->description = *qemu_vm_describe(side->vm);
    side->result.struct_bytes = sizeof(side->result);
    tern_options_init(&side->options);
    side->options.host = "127.0.0.1";
    side->options.port = UINT16_MAX;
    side->options.transport = TERN_TRANSPORT_TCP;
}

static int on_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    int r = b.own.load_state(opaque, buffer, length_bytes, error);

    poll(NULL, 0, QUIET_MS);
    at_load = heard(&b);
    return r;
}

static int on_resume(void *opaque, struct tern_error *error)
{
    int r = b.own.resume(opaque, error);

    at_resume = heard(&b);
    return r;
}

static int refuse(void *opaque, struct tern_error *error)
{
    (void)opaque;
    (void)error;
    at_resume = heard(&a);
    return -EPERM;
}

static void *run_destination(void *opaque)
{
    struct tern_error error = {0};

    (void)opaque;
    tern_destination_run(session, &b.result, &error);
    return NULL;
}

static void run(void)
{
    struct tern_error error = {0};
    struct tern_source *source;
    pthread_t thread;

    b.description.load_state = on_load;
    cr_assert_eq(tern_destination_create(&b.description, &b.options, &session, NULL), 0);
    a.options.port = tern_destination_port(session);
    cr_assert_eq(pthread_create(&thread, NULL, run_destination, NULL), 0);
    cr_assert_eq(tern_source_create(&a.description, &a.options, &source, NULL), 0);
    tern_source_run(source, &a.result, &error);
    pthread_join(thread, NULL);
    tern_source_destroy(source);
    tern_destination_destroy(session);
}

static void finish(void)
{
    qemu_vm_close(a.vm);
    qemu_vm_close(b.vm);
    qemu_end(&a.qemu);
    qemu_end(&b.qemu);
}

Test(qemu_announce, where_the_guest_runs, .timeout = 60)
{
    start(&a, "");
    start(&b, "-incoming defer");
    b.description.resume = on_resume;
    run();
    cr_assert_eq(a.result.outcome, TERN_OUTCOME_MIGRATED);
    cr_assert_gt(at_load, 24, "QEMU itself announced nothing");
    wait_heard(&b, at_load, "when the guest runs");
    finish();
}

/* The other side was announced when it was loaded: the switches have to learn anew. */
Test(qemu_announce, where_it_stays_after_all, .timeout = 60)
{
    start(&a, "");
    start(&b, "-incoming defer");
    a.description.commit = refuse;
    run();
    cr_assert_eq(a.result.outcome, TERN_OUTCOME_FAILED);
    wait_heard(&a, at_resume, "when the guest goes on");
    finish();
}
