/* SPDX-License-Identifier: BSD-2-Clause */
/* Soft-dirty tracking of another process, on a kernel that has it (Linux 6.1): no page is missed while threads write,
 * none is when it is dropped, and whoever is killed, the other process goes on. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "tools/qemu/remote_soft_dirty.h"
#include "transport/clock.h"

#define REGIONS      2u
#define REGION_PAGES 16384u
#define REGION_BYTES (REGION_PAGES * 4096ull)
#define PAGES        (REGIONS * REGION_PAGES)
#define THREADS      4u

/* What the other process is asked and says. */
struct orders {
    _Atomic bool once; /* write every page once, in a jumbled order */
    _Atomic uint32_t ended, ready;
    _Atomic uint32_t write_page, read_page; /* one page, by number + 1; 0 when done */
    _Atomic uint64_t beats;
};

struct other {
    struct guest_ram ram;
    struct orders *orders;
    int files[REGIONS];
    struct tern_tracker tracker;
    uint64_t bitmap[REGIONS][REGION_PAGES / 64];
};

static struct other other;
static struct tern_error error;

static volatile uint32_t *page_at(uint32_t page)
{
    return (volatile uint32_t *)((uint8_t *)other.ram.regions[page / REGION_PAGES].base +
                                 page % REGION_PAGES * 4096ull);
}

static void *write_once(void *argument)
{
    while (!other.orders->once)
        usleep(100);
    for (uint32_t i = (uint32_t)(uintptr_t)argument; i < PAGES; i += THREADS) {
        *page_at(i * 7919u % PAGES) = i + 1; /* odd, so every page has its turn */
        for (uint32_t k = 0; k < 2000; k++)
            atomic_signal_fence(memory_order_seq_cst);
    }
    other.orders->ended++;
    return NULL;
}

static void take_order(_Atomic uint32_t *order, bool writes)
{
    uint32_t page = *order;

    if (!page)
        return;
    if (writes)
        *page_at(page - 1) += 1;
    else
        (void)*page_at(page - 1);
    *order = 0;
}

static void other_main(void (*prepare)(void))
{
    pthread_t thread;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (prepare)
        prepare();
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&thread, NULL, write_once, (void *)i);
    for (other.orders->ready = 1;; other.orders->beats++) {
        take_order(&other.orders->write_page, true);
        take_order(&other.orders->read_page, false);
        usleep(50);
    }
}

static void start(void (*prepare)(void))
{
    pid_t pid;

    other.orders = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(other.orders, MAP_FAILED);
    other.ram.n_regions = REGIONS;
    for (uint32_t i = 0; i < REGIONS; i++) {
        struct tern_region *region = &other.ram.regions[i];

        other.files[i] = memfd_create("ram", MFD_CLOEXEC);
        cr_assert_eq(ftruncate(other.files[i], REGION_BYTES), 0);
        *region = (struct tern_region){.length_bytes = REGION_BYTES, .page_bytes = 4096};
        snprintf(region->name, sizeof(region->name), "m%u", i);
        region->base = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, other.files[i], 0);
        cr_assert_neq(region->base, MAP_FAILED);
        other.ram.places[i].remote_address = (uintptr_t)region->base; /* a child has it at the same place */
    }
    memset(other.ram.regions[0].base, 1, REGION_BYTES / 2);
    pid = fork();
    if (!pid)
        other_main(prepare);
    cr_assert_eq(process_open(pid, &other.ram.process, &error), 0, "%s", error.message);
    while (!other.orders->ready)
        usleep(1000);
}

static void track(void)
{
    cr_assert_eq(remote_soft_dirty_create(&other.ram, &other.tracker, &error), 0, "%s", error.message);
    cr_assert_eq(other.tracker.ops->start(other.tracker.self, &error), 0, "%s", error.message);
}

static int sweep(void)
{
    int r = 0;

    memset(other.bitmap, 0, sizeof(other.bitmap));
    for (uint32_t i = 0; i < REGIONS && !r; i++)
        r = other.tracker.ops->fetch(other.tracker.self, i, other.bitmap[i], &error);
    return r;
}

static uint64_t count(void)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < REGIONS; i++)
        n += bitmap_count(other.bitmap[i], 0, REGION_PAGES);
    return n;
}

static void end(void)
{
    tern_tracker_destroy(&other.tracker);
    kill(other.ram.process.pid, SIGKILL);
    waitpid(other.ram.process.pid, NULL, 0);
    process_close(&other.ram.process);
}

static void order(_Atomic uint32_t *which, uint32_t page)
{
    uint64_t deadline_ns = clock_after_ms(10000);

    *which = page + 1;
    while (*which)
        cr_assert(clock_left_ms(deadline_ns), "the other process stands still");
}

/* ---- nothing is missed ---- */

/* Each page is written once, so a report that is missed is never made good. A thread may be held between its fault and
 * its write, which then faults once more: that page is reported twice. */
Test(soft_dirty_tracker, no_page_is_missed_while_threads_write, .timeout = 120)
{
    static uint8_t reports[PAGES];
    uint32_t missed = 0, twice = 0;
    int turns = 0;

    start(NULL);
    track();
    other.orders->once = true;
    for (bool last = false; !last; turns++) {
        last = other.orders->ended == THREADS;
        cr_assert_eq(sweep(), 0, "%s", error.message);
        for (uint32_t page = 0; page < PAGES; page++)
            reports[page] += bitmap_test(other.bitmap[page / REGION_PAGES], page % REGION_PAGES);
    }
    for (uint32_t page = 0; page < PAGES; page++) {
        missed += !reports[page];
        twice += reports[page] > 1;
    }
    printf("%d turns, threads stood still for %.2f ms at most\n", turns,
           (double)remote_soft_dirty_stopped_ns(&other.tracker) / 1e6);
    cr_assert_gt(turns, 5, "all was written before the tracker looked often");
    cr_assert_eq(missed, 0, "%u pages missed", missed);
    cr_assert_leq(twice, (uint32_t)turns * THREADS);
    cr_assert_eq(remote_soft_dirty_distrusted(&other.tracker), 0);
    end();
}

Test(soft_dirty_tracker, a_page_that_was_given_back_is_reported, .timeout = 60)
{
    start(NULL);
    track();
    cr_assert_eq(fallocate(other.files[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * 4096, 3 * 4096), 0);
    cr_assert_eq(sweep(), 0, "%s", error.message);
    cr_assert_eq(count(), 0, "the other process never had them");
    for (uint32_t page = 5; page < 8; page++)
        order(&other.orders->write_page, page);
    cr_assert_eq(sweep(), 0);
    cr_assert_eq(other.bitmap[0][0], 0xe0);
    cr_assert_eq(fallocate(other.files[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * 4096, 3 * 4096), 0);
    cr_assert_eq(sweep(), 0);
    cr_assert_eq(other.bitmap[0][0], 0xe0);
    cr_assert_eq(count(), 3);
    end();
}

/* TERN_RECLAIM_FOLDER is a cgroup with swap to go to. */
static void join_group(void)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/cgroup.procs", getenv("TERN_RECLAIM_FOLDER"));
    file = fopen(path, "w");
    if (!file || fprintf(file, "%d\n", getpid()) < 0 || fclose(file))
        _exit(1);
    for (uint32_t page = REGION_PAGES; page < PAGES; page++)
        *page_at(page) = 1; /* charged to the group, and mapped by nobody else */
}

static void reclaim(void)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/memory.reclaim", getenv("TERN_RECLAIM_FOLDER"));
    fd = open(path, O_WRONLY);
    cr_assert_geq(fd, 0);
    for (int i = 0; i < 10; i++)
        if (write(fd, "64M", 3) < 0)
            cr_assert_eq(errno, EAGAIN, "%s", strerror(errno));
    close(fd);
}

Test(soft_dirty_tracker, a_page_that_was_swapped_out_and_read_again_is_reported, .timeout = 60)
{
    uint32_t page = REGION_PAGES + 77;

    start(join_group);
    track();
    order(&other.orders->write_page, page);
    reclaim();
    order(&other.orders->read_page, page);
    cr_assert_eq(sweep(), 0, "%s", error.message);
    cr_assert(bitmap_test(other.bitmap[1], 77));
    cr_assert_gt(remote_soft_dirty_distrusted(&other.tracker), 0);
    end();
}

/* ---- whoever is killed ---- */

static void read_status(const char *name, char *value, size_t bytes)
{
    char *text, *line;

    cr_assert_eq(process_read(&other.ram.process, "status", &text, &error), 0, "%s", error.message);
    line = strstr(text, name);
    cr_assert_not_null(line);
    snprintf(value, bytes, "%.*s", (int)strcspn(line, "\n"), line + strlen(name));
    free(text);
}

static pid_t tracer(void)
{
    char value[64];

    read_status("TracerPid:\t", value, sizeof(value));
    return (pid_t)atoi(value);
}

/* Until it is held; by whom. */
static pid_t wait_tracer(void)
{
    uint64_t deadline_ns = clock_after_ms(10000);
    pid_t pid;

    while (!(pid = tracer()))
        cr_assert(clock_left_ms(deadline_ns), "nobody holds it");
    return pid;
}

static void goes_on(void)
{
    uint64_t deadline_ns = clock_after_ms(10000), beats;
    char value[64];

    while (tracer())
        cr_assert(clock_left_ms(deadline_ns), "it is still traced");
    read_status("State:\t", value, sizeof(value));
    cr_assert(!strchr("Tt", value[0]), "state %s", value);
    beats = other.orders->beats;
    while (other.orders->beats == beats)
        cr_assert(clock_left_ms(deadline_ns), "it stands still");
}

/* The helper is ours since its parent was killed. */
static int wait_for(pid_t pid)
{
    while (waitpid(pid, NULL, 0) != pid)
        if (errno != EINTR)
            return -1;
    return 0;
}

static pid_t start_tracking_process(void)
{
    pid_t pid = fork();

    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    track();
    while (!sweep())
        ;
    _exit(0);
}

Test(soft_dirty_tracker, killed_while_it_holds_it_lets_go, .timeout = 120)
{
    int n_killed = 0;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    start(NULL);
    for (int i = 0; i < 30 && n_killed < 10; i++) {
        pid_t tracking = start_tracking_process(), helper = wait_tracer();
        int status;

        cr_assert_neq(helper, tracking);
        kill(tracking, SIGKILL);
        cr_assert_eq(waitpid(tracking, &status, 0), tracking);
        goes_on();
        if (!WIFSIGNALED(status)) /* it had given up just then, on a host too busy to hold all threads in time */
            continue;
        cr_assert_eq(wait_for(helper), 0, "the helper %d does not end by itself: %s", (int)helper, strerror(errno));
        goes_on();
        n_killed++;
    }
    cr_assert_eq(n_killed, 10);
    end();
}

Test(soft_dirty_tracker, its_helper_killed_while_it_holds_lets_go, .timeout = 120)
{
    start(NULL);
    for (int i = 0; i < 5; i++) {
        pid_t killer;

        track();
        killer = fork();
        if (!killer) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(kill(wait_tracer(), SIGKILL) ? 1 : 0);
        }
        while (!sweep())
            ;
        cr_assert_str_eq(strstr(error.message, "the process that tracks") ? "" : error.message, "");
        waitpid(killer, NULL, 0);
        goes_on();
        tern_tracker_destroy(&other.tracker);
    }
    end();
}

/* ---- what it refuses ---- */

static void open_vhost(void)
{
    if (open("/dev/vhost-net", O_RDWR) < 0)
        _exit(1);
}

static void open_io_uring(void)
{
    struct io_uring_params params = {0};

    if (syscall(SYS_io_uring_setup, 4, &params) < 0)
        _exit(1);
}

static void open_aio(void)
{
    aio_context_t context = 0;

    if (syscall(SYS_io_setup, 4, &context) < 0)
        _exit(1);
}

static void refused(void (*prepare)(void), const char *text)
{
    start(prepare);
    cr_assert_eq(remote_soft_dirty_create(&other.ram, &other.tracker, &error), -ENOTSUP);
    cr_assert(strstr(error.message, text), "%s", error.message);
    end();
}

Test(soft_dirty_tracker, who_lets_the_kernel_write_is_refused, .timeout = 60)
{
    refused(open_vhost, "/dev/vhost-net");
    refused(open_io_uring, "aio=io_uring");
    refused(open_aio, "aio=native");
}
