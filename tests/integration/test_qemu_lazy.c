/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU that nobody patched runs its guest while the rest of its image is read: the guest goes on before anything but
 * what it touches is there, and all of it is right in the end; what is damaged stops it; tern killed costs it nothing,
 * and its guardian killed too, it waits: what is missing is never zeros. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/qemu_side.h"
#include "tools/qemu/finish_load.h"
#include "transport/clock.h"

#define MIB     (1ull << 20)
#define MEMORY  (64 * MIB)
#define WAIT_MS 20000

/* The guest writes the first word of each page of 2 to 34 MiB, and its counter; what is in LATE it never touches. */
#define WRITTEN       (2 * MIB)
#define WRITTEN_END   (34 * MIB)
#define ROUND         (uint32_t)((WRITTEN_END - WRITTEN) / 4096)
#define HEARTBEAT     0x180000ull
#define LATE          (40 * MIB)
#define LATE_END      (56 * MIB)
#define DAMAGED       (50 * MIB)
#define DAMAGED_GROUP (2 * MIB)

enum deed {
    WATCH,
    MEET_DAMAGE,
    HANG_IN_LOAD,
    END_QEMU,
    DIE_BEFORE_LOAD,
    DIE_BEFORE_RUN,
    DIE_IN_THE_END,
    DIE,
    DIE_DUMPING,
    DIE_TOUCHED,
    DIE_WITH_GUARDIAN
};

struct bench {
    struct qemu_side a, b;
    char image[128];
    uint32_t suspended_at; /* the counter */
    struct tern_resume *session;
    uint32_t stops_at;    /* likewise, if what comes then is damaged */
    struct tern_vm of_vm; /* of b, whose resume is wrapped */
    enum deed deed;
    bool done;
};

static struct bench bench; /* the wrapped callback's */

static int open_ram(const struct qemu_side *side, int flags)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "%s/ram", side->qemu.folder);
    fd = open(path, flags | O_CLOEXEC);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
    return fd;
}

/* Words that say where they are. */
static void fill_late(const struct qemu_side *side)
{
    static uint64_t words[MIB / sizeof(uint64_t)];
    int fd = open_ram(side, O_RDWR);

    for (uint64_t at = LATE; at < LATE_END; at += MIB) {
        for (uint64_t i = 0; i < MIB / sizeof(uint64_t); i++)
            words[i] = (at + i) * 0x9e3779b97f4a7c15ull;
        cr_assert_eq(pwrite(fd, words, MIB, (off_t)at), (ssize_t)MIB);
    }
    close(fd);
}

/* The first byte from there on that is in memory; looking at it by a mapping would put zeros there. */
static uint64_t first_there(const struct qemu_side *side, uint64_t from)
{
    int fd = open_ram(side, O_RDONLY);
    off_t at = lseek(fd, (off_t)from, SEEK_DATA);

    cr_assert(at >= 0 || errno == ENXIO);
    close(fd);
    return at < 0 ? MEMORY : (uint64_t)at;
}

/* a's guest is in the image, and stands still as it was. */
static void start(uint32_t counter)
{
    qemu_side_start(&bench.a, QEMU_WRITER);
    snprintf(bench.image, sizeof(bench.image), "%s/image", bench.a.qemu.folder);
    qemu_side_await_counter(&bench.a, counter);
    fill_late(&bench.a);
    qemu_side_open(&bench.a, TERN_SIDE_SOURCE);
    cr_assert_eq(qemu_side_suspend(&bench.a, bench.image), 0, "%s", bench.a.error.message);
    qemu_side_expect(&bench.a, "postmigrate", "suspended");
    qemu_side_close(&bench.a);
    bench.suspended_at = qemu_side_counter(&bench.a);
    qemu_side_start(&bench.b, NULL);
}

static void end(void)
{
    qemu_side_end(&bench.b);
    qemu_side_end(&bench.a);
}

/* ---- the moment when the guest runs, and the rest is not being read yet ---- */

static void kill_guardian(void)
{
    char path[64], name[16] = "";
    int pid = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    file = fopen(path, "r");
    if (!file || fscanf(file, "%d", &pid) != 1)
        _exit(3);
    fclose(file);
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    file = fopen(path, "r");
    if (!file || !fgets(name, sizeof(name), file) || strcmp(name, "guardian\n"))
        _exit(4);
    fclose(file);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Somebody looks into the RAM's file, and makes a page of zeros of what is missing. */
static void touch_late(void)
{
    int fd = open_ram(&bench.b, O_RDONLY);
    volatile uint8_t *byte = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, LATE + 4096);

    if (byte == MAP_FAILED || *byte)
        _exit(5);
    close(fd);
}

/* With all of its memory, files and all. */
static void dump_core(void)
{
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    FILE *filter = fopen("/proc/self/coredump_filter", "w");

    if (chdir(bench.b.qemu.folder) || setrlimit(RLIMIT_CORE, &all) || !filter || fputs("0xff", filter) < 0 ||
        fclose(filter))
        _exit(6);
    abort();
}

static void end_qemu(void)
{
    siginfo_t info;

    kill(bench.b.qemu.pid, SIGKILL);
    cr_assert_eq(waitid(P_PID, (id_t)bench.b.qemu.pid, &info, WEXITED | WNOWAIT), 0);
}

/* Its own core dump, or a debugger's, would touch it. */
static bool has_ram_mapped(const struct qemu_side *side)
{
    char line[512], path[96];
    FILE *maps = fopen("/proc/self/maps", "r");
    bool found = false;

    cr_assert_not_null(maps);
    snprintf(path, sizeof(path), "%s/ram", side->qemu.folder);
    while (fgets(line, sizeof(line), maps))
        found |= strstr(line, path) != NULL;
    fclose(maps);
    return found;
}

/* QEMU's main thread waits for what cannot come. */
static void expect_hangs_on(uint64_t at)
{
    struct tern_error error = {0};
    char text[192];

    snprintf(text, sizeof(text), "{\"val\": %llu, \"size\": 4096, \"filename\": \"%s/pmem\"}", (unsigned long long)at,
             bench.b.qemu.folder);
    cr_assert_eq(qmp_command(bench.b.qemu.qmp, "pmemsave", json_tokener_parse(text), 1000, NULL, &error), -ETIMEDOUT,
                 "what is missing was read: %s", error.message);
}

static int act_and_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    if (bench.deed == DIE_BEFORE_LOAD)
        raise(SIGKILL);
    if (bench.deed == HANG_IN_LOAD)
        expect_hangs_on(DAMAGED);
    return bench.of_vm.load_state(opaque, buffer, length_bytes, error);
}

static int act_and_lend(void *opaque, bool on, struct tern_lent_memory *lent, struct tern_error *error)
{
    if (!on && bench.deed == DIE_IN_THE_END)
        raise(SIGKILL);
    return bench.of_vm.lend_memory(opaque, on, lent, error);
}

static int resume_and_act(void *opaque, struct tern_error *error)
{
    int r;

    if (bench.deed == DIE_BEFORE_RUN)
        raise(SIGKILL);
    r = bench.of_vm.resume(opaque, error);
    if (r)
        return r;
    if (bench.deed == END_QEMU) {
        end_qemu();
        return 0;
    }
    if (bench.deed == DIE_WITH_GUARDIAN)
        kill_guardian();
    if (bench.deed == DIE_DUMPING)
        dump_core();
    if (bench.deed == DIE_TOUCHED)
        touch_late();
    if (bench.deed >= DIE)
        raise(SIGKILL);
    cr_assert_not(has_ram_mapped(&bench.b), "tern has QEMU's RAM mapped while it is lent");
    qemu_side_await_counter(&bench.b, bench.deed == MEET_DAMAGE ? bench.stops_at : bench.suspended_at + 500);
    cr_assert_geq(first_there(&bench.b, LATE), LATE_END, "what the guest does not touch is there already");
    tern_resume_cancel(bench.session); /* too late: it needs its memory */
    bench.done = true;
    return 0;
}

static int run_resume(void)
{
    struct qemu_side *side = &bench.b;

    qemu_side_open(side, TERN_SIDE_DESTINATION);
    bench.of_vm = side->description;
    side->description.load_state = act_and_load;
    side->description.resume = resume_and_act;
    side->description.lend_memory = act_and_lend;
    cr_assert_eq(tern_resume_create(&side->description, bench.image, &side->options, &bench.session, &side->error), 0,
                 "%s", side->error.message);
    side->code = tern_resume_run(bench.session, &side->result, &side->error);
    tern_resume_destroy(bench.session);
    return side->code;
}

static void die_resuming(enum deed deed)
{
    pid_t pid = fork();
    int status;

    cr_assert_geq(pid, 0);
    if (pid) {
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == (deed == DIE_DUMPING ? SIGABRT : SIGKILL),
                  "not killed: %x", (unsigned)status);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench.deed = deed;
    run_resume();
    _exit(0);
}

/* ---- what there is in the end ---- */

static bool is_lent(void)
{
    struct process process;
    int lent;

    cr_assert_eq(process_open(bench.b.qemu.pid, &process, NULL), 0);
    lent = lent_ram_stands(&process, NULL);
    process_close(&process);
    cr_assert_geq(lent, 0);
    return lent;
}

static void await_all_there(void)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);

    while (is_lent()) {
        cr_assert(clock_left_ms(deadline_ns), "its memory is not all there");
        poll(NULL, 0, 5);
    }
}

/* A page of b's with the word, which the guest may have written since, replaced by a's. */
static void compare_page(uint64_t at, const uint8_t *a, uint8_t *b)
{
    bool has_word = at == (HEARTBEAT & ~4095ull) || (at >= WRITTEN && at < WRITTEN_END);
    uint32_t was, is;

    if (has_word) {
        memcpy(&was, a + HEARTBEAT % 4096, sizeof(was));
        memcpy(&is, b + HEARTBEAT % 4096, sizeof(is));
        cr_assert(is == was || is >= bench.suspended_at, "at %#lx there is %u, was %u", at, is, was);
        memcpy(b + HEARTBEAT % 4096, &was, sizeof(was));
    }
    cr_assert_eq(memcmp(a, b, 4096), 0, "the guests differ in the page at %#lx", at);
}

static void expect_all_right(const char *name)
{
    uint8_t a[4096], b[4096];
    int of_a = open_ram(&bench.a, O_RDONLY), of_b = open_ram(&bench.b, O_RDONLY);

    qemu_side_expect_as_before(&bench.b, name);
    qemu_side_await_counter(&bench.b, bench.suspended_at + ROUND + 1);
    json_object_put(qemu_do(&bench.b.qemu, "stop", NULL));
    for (uint64_t at = 0; at < MEMORY; at += 4096) {
        cr_assert_eq(pread(of_a, a, 4096, (off_t)at), 4096);
        cr_assert_eq(pread(of_b, b, 4096, (off_t)at), 4096);
        compare_page(at, a, b);
    }
    json_object_put(qemu_do(&bench.b.qemu, "cont", NULL));
    close(of_a);
    close(of_b);
}

static void expect_said(const char *command, const char *options, int status, const char *text)
{
    cr_assert_eq(qemu_side_tern(&bench.b, command, options), status, "tern %s %s", command, options);
    cr_assert(qemu_side_said(&bench.b, command, text), "tern %s did not say '%s'", command, text);
}

/* ---- the tests ---- */

Test(qemu_lazy, the_guest_runs_before_its_memory_is_read, .timeout = 90)
{
    start(100);
    cr_assert_eq(run_resume(), 0, "%s", bench.b.error.message);
    cr_assert(bench.done);
    cr_assert_str_eq(bench.b.result.device, "lazy");
    cr_assert_not(is_lent(), "QEMU was left a userfaultfd");
    cr_assert(has_ram_mapped(&bench.b));
    qemu_side_close(&bench.b);
    expect_all_right("resumed");
    end();
}

Test(qemu_lazy, the_command_runs_it_and_says_when_all_is_there, .timeout = 90)
{
    char from[160];

    start(100);
    snprintf(from, sizeof(from), "--from %s", bench.image);
    expect_said("resume", from, 0, "the guest runs here, resumed from /");
    cr_assert(qemu_side_said(&bench.b, "resume", "all of its memory is here, in "));
    expect_all_right("resumed");
    qemu_side_end(&bench.b);
    qemu_side_start(&bench.b, NULL);
    snprintf(from, sizeof(from), "--eager --json --from %s", bench.image);
    expect_said("resume", from, 0, "\"device\":\"eager\"");
    expect_all_right("eagerly");
    end();
}

static void damage(uint64_t at)
{
    struct tern_image image = {.struct_bytes = sizeof(image)};
    struct tern_error error = {0};
    uint8_t byte;
    int fd = open(bench.image, O_RDWR | O_CLOEXEC);

    cr_assert_eq(tern_image_read(bench.image, &image, &error), 0, "%s", error.message);
    at += image.sections[1].offset_bytes;
    cr_assert_eq(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 4;
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void expect_damage_named(const char *where)
{
    cr_assert_eq(run_resume(), -EILSEQ, "%s", bench.b.error.message);
    cr_assert(bench.done, "the guest did not run");
    cr_assert(strstr(bench.b.error.message, "section 'ram' of the image is damaged"), "%s", bench.b.error.message);
    cr_assert(strstr(bench.b.error.message, where), "%s", bench.b.error.message);
    cr_assert(strstr(bench.b.error.hint, "its disks may have been written since"), "%s", bench.b.error.hint);
}

Test(qemu_lazy, a_damaged_part_stops_the_guest_and_is_named, .timeout = 90)
{
    start(100);
    damage(DAMAGED + 12345);
    expect_damage_named("at 0x3200000");
    qemu_side_expect(&bench.b, "paused", "damaged");
    cr_assert_eq(qemu_vm_fate(bench.b.vm), QEMU_VM_LOST_PAUSED);
    cr_assert_geq(first_there(&bench.b, DAMAGED), DAMAGED + DAMAGED_GROUP, "a part of what is damaged is there");
    qemu_side_close(&bench.b);
    qemu_side_expect_settings(&bench.b, "damaged");
    expect_said("status", "", 0, "paused\nwaiting      for memory that was not read from its image");
    expect_said("cont", "", 1, "cannot continue: not all of the guest's memory was read");
    qemu_side_expect(&bench.b, "paused", "damaged");
    end();
}

Test(qemu_lazy, the_command_says_how_the_guest_was_stopped, .timeout = 90)
{
    char from[160];

    start(100);
    damage(DAMAGED + 12345);
    snprintf(from, sizeof(from), "--json --from %s", bench.image);
    expect_said("resume", from, 1, "\"state\":\"paused\"");
    cr_assert(qemu_side_said(&bench.b, "resume", "the guest ran and is stopped for good: section 'ram'"));
    cr_assert(qemu_side_said(&bench.b, "resume", "its disks may have been written since"));
    qemu_side_expect(&bench.b, "paused", "damaged");
    end();
}

/* A CPU that waits for what cannot come does not stop: then QEMU is ended. */
Test(qemu_lazy, a_guest_that_meets_the_damage_goes_no_further, .timeout = 90)
{
    uint64_t group;
    char where[32];

    start(ROUND);
    group = WRITTEN + (bench.suspended_at % ROUND * 4096ull + 5 * MIB) / DAMAGED_GROUP * DAMAGED_GROUP;
    group = group < WRITTEN_END ? group : group - (WRITTEN_END - WRITTEN);
    bench.stops_at =
        bench.suspended_at + (uint32_t)((group - WRITTEN) / 4096 + ROUND - bench.suspended_at % ROUND) % ROUND;
    damage(group + 4096 + 8);
    bench.deed = MEET_DAMAGE;
    snprintf(where, sizeof(where), "at %#lx", group);
    expect_damage_named(where);
    cr_assert_eq(qemu_vm_fate(bench.b.vm), QEMU_VM_LOST_KILLED);
    cr_assert_eq(qemu_side_counter(&bench.b), bench.stops_at, "the guest went on");
    cr_assert_geq(first_there(&bench.b, group), group + DAMAGED_GROUP, "a part of what is damaged is there");
    end();
}

/* As with a guest that is powered off. */
Test(qemu_lazy, a_qemu_that_ends_by_itself_was_not_stopped_for_good, .timeout = 90)
{
    start(100);
    bench.deed = END_QEMU;
    cr_assert_eq(run_resume(), -ESRCH, "%s", bench.b.error.message);
    cr_assert(strstr(bench.b.error.message, "has ended"), "%s", bench.b.error.message);
    cr_assert_str_empty(bench.b.error.hint);
    cr_assert_eq(qemu_vm_fate(bench.b.vm), QEMU_VM_LOST_ENDED);
    qemu_side_expect_ended(&bench.b, "powered off");
    end();
}

/* It would keep its disks locked for ever. */
Test(qemu_lazy, a_qemu_that_hangs_on_the_damage_before_its_guest_runs_is_killed, .timeout = 90)
{
    start(100);
    damage(DAMAGED + 12345);
    bench.deed = HANG_IN_LOAD;
    cr_assert_eq(run_resume(), -EILSEQ, "%s", bench.b.error.message);
    cr_assert(strstr(bench.b.error.message, "section 'ram' of the image is damaged"), "%s", bench.b.error.message);
    cr_assert(strstr(bench.b.error.hint, "take another copy"), "%s", bench.b.error.hint);
    cr_assert_eq(qemu_vm_fate(bench.b.vm), QEMU_VM_KILLED);
    qemu_side_expect_ended(&bench.b, "hung");
    end();
}

Test(qemu_lazy, tern_killed_before_the_guest_runs_can_be_followed_by_another, .timeout = 90)
{
    char from[160];

    start(100);
    snprintf(from, sizeof(from), "--from %s", bench.image);
    die_resuming(DIE_BEFORE_LOAD);
    await_all_there();
    qemu_side_expect(&bench.b, "inmigrate", "killed before it was loaded");
    qemu_side_expect_settings(&bench.b, "killed before it was loaded");
    die_resuming(DIE_BEFORE_RUN);
    await_all_there();
    qemu_side_expect(&bench.b, "paused", "killed before it ran");
    qemu_side_expect_settings(&bench.b, "killed before it ran");
    expect_said("resume", from, 1, "does not wait for a migration");
    cr_assert_eq(qemu_side_tern(&bench.b, "resolve", "--owner here"), 0);
    expect_all_right("resolved");
    end();
}

Test(qemu_lazy, tern_killed_costs_the_guest_nothing, .timeout = 90)
{
    start(100);
    die_resuming(DIE);
    await_all_there();
    expect_all_right("killed");
    qemu_side_end(&bench.b);
    qemu_side_start(&bench.b, NULL);
    die_resuming(DIE_IN_THE_END);
    await_all_there();
    expect_all_right("killed in the end");
    end();
}

Test(qemu_lazy, a_core_dump_of_tern_makes_no_zeros, .timeout = 90)
{
    start(100);
    die_resuming(DIE_DUMPING);
    await_all_there();
    expect_all_right("dumped");
    end();
}

Test(qemu_lazy, what_somebody_else_put_there_is_not_taken_for_read, .timeout = 90)
{
    start(100);
    die_resuming(DIE_TOUCHED);
    qemu_side_expect(&bench.b, "paused", "touched");
    cr_assert(is_lent());
    expect_said("status", "", 0, "for memory that was not read from its image");
    expect_said("cont", "", 1, "cannot continue: "); /* or it is in doubt, if QEMU had not been told otherwise */
    end();
}

static void unregister(const struct lent_ram *lent, int uffd)
{
    for (uint32_t i = 0; i < lent->n_regions; i++) {
        struct uffdio_range range = {lent->regions[i].address, lent->regions[i].length_bytes};

        cr_assert_eq(ioctl(uffd, UFFDIO_UNREGISTER, &range), 0);
    }
}

/* Another user does not take what it may not see for none. */
static void expect_unseen(void)
{
    pid_t pid = fork();
    int status;

    if (!pid) {
        struct process process;

        if (setresuid(65534, 65534, 65534) || process_open(bench.b.qemu.pid, &process, NULL))
            _exit(1);
        _exit(lent_ram_stands(&process, NULL) == -EACCES ? 0 : 2);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0, "%x", (unsigned)status);
}

/* The guardian does, where tern was killed in the middle of it. */
Test(qemu_lazy, ending_it_twice_is_harmless, .timeout = 60)
{
    const struct guest_ram *ram;
    struct tern_error error = {0};
    struct lent_files files;
    struct lent_ram lent;
    int uffd;

    qemu_side_start(&bench.b, NULL);
    qemu_side_open(&bench.b, TERN_SIDE_DESTINATION);
    ram = qemu_vm_ram(bench.b.vm);
    cr_assert_eq(lent_ram_begin(ram, &lent, &uffd, &error), 0, "%s", error.message);
    cr_assert(is_lent());
    expect_unseen();
    unregister(&lent, uffd);
    cr_assert_not(is_lent(), "a descriptor that was left counts as memory that is missing");
    cr_assert_eq(lent_ram_refuse(&ram->process, &error), 0, "%s", error.message);
    cr_assert_eq(lent_ram_end(&ram->process, &lent, uffd, &error), 0, "%s", error.message);
    cr_assert_not(is_lent());
    lent.all_there = true;
    files = (struct lent_files){-1, uffd, -1};
    cr_assert_eq(finish_load(&lent, &ram->process, bench.b.socket, &files, NULL, NULL, &error), 0, "%s", error.message);
    close(uffd);
    qemu_side_expect(&bench.b, "inmigrate", "lent and not");
    qemu_side_end(&bench.b);
}

Test(qemu_lazy, killed_with_its_guardian_the_guest_waits_and_reads_no_zeros, .timeout = 90)
{
    char text[192];

    start(100);
    die_resuming(DIE_WITH_GUARDIAN);
    cr_assert(is_lent());
    expect_said("status", "", 0, "for memory that was not read from its image");
    snprintf(text, sizeof(text), "--to %s", bench.image);
    expect_said("suspend", text, 1, "a part of the guest's memory has not been read from its image");
    expect_hangs_on(LATE);
    cr_assert_geq(first_there(&bench.b, LATE), LATE_END, "something was put where nothing had been read");
    end();
}

Test(qemu_lazy, huge_pages_are_not_lent, .timeout = 10)
{
    struct guest_ram ram = {.n_regions = 1, .regions = {{.name = "ram0", .page_bytes = 2 * MIB}}};
    struct tern_error error = {0};
    struct lent_ram lent;
    int uffd;

    cr_assert_eq(lent_ram_begin(&ram, &lent, &uffd, &error), -EOPNOTSUPP);
    cr_assert_str_eq(error.message, "the guest's RAM 'ram0' is in huge pages");
}

Test(qemu_lazy, who_lends_must_be_able_to_pause, .timeout = 10)
{
    static uint8_t page[4096] __attribute__((aligned(4096)));
    struct tern_region region = {.name = "ram0", .base = page, .length_bytes = 4096, .page_bytes = 4096, .file_fd = -1};
    struct tern_vm vm = {.struct_bytes = sizeof(vm),
                         .kind = "test",
                         .regions = &region,
                         .n_regions = 1,
                         .resume = resume_and_act,
                         .load_state = act_and_load,
                         .lend_memory = act_and_lend};
    struct tern_options options;
    struct tern_error error = {0};

    tern_options_init(&options);
    cr_assert_eq(tern_resume_create(&vm, "/nowhere", &options, &bench.session, &error), -EINVAL);
    cr_assert(strstr(error.message, "pause is not"), "%s", error.message);
}

/* As a QEMU under its own user's name is, where the kernel keeps userfaultfd for the privileged. */
Test(qemu_lazy, a_qemu_that_may_not_is_resumed_eagerly_and_it_is_said, .timeout = 90)
{
    FILE *setting = fopen("/proc/sys/vm/unprivileged_userfaultfd", "r");
    int allowed = 1;
    char from[160];

    if (!setting || fscanf(setting, "%d", &allowed) != 1 || allowed)
        cr_skip_test("this kernel lets everybody have a userfaultfd");
    fclose(setting);
    start(100);
    qemu_side_end(&bench.b);
    qemu_start(&bench.b.qemu, "-machine q35,memory-backend=ram -m 64M -object "
                              "memory-backend-file,id=ram,size=64M,share=on,mem-path=@/ram "
                              "-qmp unix:@/tern,server=on,wait=off -incoming defer -runas nobody");
    snprintf(bench.b.socket, sizeof(bench.b.socket), "%s/tern", bench.b.qemu.folder);
    snprintf(from, sizeof(from), "--from %s", bench.image);
    expect_said("resume", from, 0, "warning: all memory is read before the guest runs: cannot watch the memory of ");
    cr_assert(qemu_side_said(&bench.b, "resume", "it may not make a userfaultfd"));
    qemu_side_await_counter(&bench.b, bench.suspended_at + 100);
    end();
}
