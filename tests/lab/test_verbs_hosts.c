/* SPDX-License-Identifier: BSD-2-Clause */
/* Hosts that lack something: a device, its name, an active port, a way, one side's device; and a source that dies. Each
 * test suite below wants the lab host in one state, which suite_verbs_errors.sh makes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/common/pair.h"
#include "tests/lab/verbs_ends.h"

#define FAR_HOST  "10.88.0.2" /* in network namespace "far", which has no RDMA device; 10.88.0.1 here has */
#define NEAR_HOST "10.88.0.1"

static const struct process_guest_config busy = {
    .memory_bytes = 64 * MIB, .random_bytes = 32 * MIB, .working_set_bytes = 8 * MIB, .dirty_pages_ps = 2000};

/* Both sides ask whether they can use verbs at this address, and are told the same. */
static void both_say(const char *device, const char *host, int code, const char *what)
{
    static const enum tern_side sides[] = {TERN_SIDE_SOURCE, TERN_SIDE_DESTINATION};
    struct link_options options = {.device = device, .gid_index = -1, .n_lanes = 1, .chunk_bytes = CHUNK_BYTES};
    char name[VERBS_NAME_BYTES] = "untouched";
    struct sockaddr_storage address;
    struct tern_error error = {0};

    address_of(host, &address);
    for (int i = 0; i < 2; i++) {
        int r = link_verbs.usable(&options, (struct sockaddr *)&address, sides[i], name, sizeof(name), &error);

        cr_assert_eq(r, code, "side %d: %d, %s", sides[i], r, error.message);
        says(&error, what);
        cr_assert_str_eq(name, "untouched");
    }
}

/* ---- whole: two rails, both up; dummy0 has 10.99.0.1 ---- */

Test(whole, no_device_of_that_name, .timeout = 30)
{
    both_say("mlx5_7", pair_host(false), -ENODEV, "no RDMA device mlx5_7; there is rxe0 (active), rxe1");
    both_say("mlx5_7,rxe", pair_host(false), -ENODEV, "no RDMA device mlx5_7,rxe; there is rxe0");
}

Test(whole, address_is_on_another_rail_than_the_named_device, .timeout = 30)
{
    both_say("rxe1", pair_host(false), -ENODEV, "carried by RDMA device rxe0, not by rxe1");
}

Test(whole, one_of_several_names_will_do, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, "10.77.1.1");
    pair.source_options.device = "rxe0,rxe1";
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_str_eq(pair.source_result.device, "rxe1");
    cr_assert_str_eq(pair.destination_result.device, "rxe1");
    pair_free(&pair);
}

Test(whole, address_that_no_rail_reaches, .timeout = 30)
{
    both_say(NULL, "10.99.0.1", -ENETUNREACH, "no RDMA device reaches 10.99.0.1; there is rxe0 (active)");
}

/* A device that was asked for by name is not replaced by tcp, at either side. */
Test(whole, named_device_that_is_not_there_ends_the_migration, .timeout = 60)
{
    struct pair pair;

    for (int destination = 0; destination < 2; destination++) {
        pair_init(&pair, &busy, NULL, pair_host(false));
        pair.source_options.transport = TERN_TRANSPORT_AUTO;
        *(destination ? &pair.destination_options.device : &pair.source_options.device) = "mlx5_7";
        pair_run(&pair);
        pair_check_stayed(&pair);
        says(&pair.source_error, "no RDMA device mlx5_7; there is rxe0");
        cr_assert_eq(pair.source_error.side, destination ? TERN_SIDE_DESTINATION : TERN_SIDE_SOURCE);
        pair_free(&pair);
    }
}

Test(whole, auto_takes_verbs_and_says_why, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.source_options.transport = TERN_TRANSPORT_AUTO;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_str_eq(pair.source_result.transport, "verbs");
    cr_assert_str_eq(pair.source_result.device, "rxe0");
    cr_assert_str_eq(pair.source_result.transport_reason, "both ends have an RDMA device");
    pair_free(&pair);
}

/* ---- one_down: the second rail's interface is down · all_down: both · none: no RDMA device ---- */

Test(one_down, its_port_is_not_active, .timeout = 30)
{
    both_say("rxe1", "10.77.1.1", -ENETDOWN, "RDMA device rxe1 has no active port: it is down");
    both_say(NULL, "10.77.1.1", -ENETDOWN, "RDMA device rxe1 has no active port: it is down");
}

Test(all_down, no_port_is_active, .timeout = 30)
{
    both_say(NULL, "10.77.0.1", -ENETDOWN, "no active port");
    both_say(NULL, "10.99.0.1", -ENETDOWN, "no RDMA device has an active port: rxe0 (down), rxe1 (down)");
}

Test(none, there_is_no_device, .timeout = 30)
{
    both_say(NULL, pair_host(false), -ENODEV, "no RDMA device");
    both_say("rxe0", pair_host(false), -ENODEV, "no RDMA device");
}

Test(none, verbs_is_refused, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    cr_assert_eq(pair.source_options.transport, TERN_TRANSPORT_VERBS);
    pair_run(&pair);
    pair_check_stayed(&pair);
    says(&pair.source_error, "no RDMA device");
    cr_assert_eq(pair.source_error.side, TERN_SIDE_SOURCE);
    pair_free(&pair);
}

Test(none, auto_takes_tcp_and_says_why, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.source_options.transport = TERN_TRANSPORT_AUTO;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_str_eq(pair.source_result.transport, "tcp");
    cr_assert_str_eq(pair.source_result.transport_reason, "source: no RDMA device");
    pair_free(&pair);
}

/* ---- far: namespace "far" has no RDMA device, its other end here has one ---- */

static void enter_far(void)
{
    int fd = open("/run/netns/far", O_RDONLY | O_CLOEXEC);

    cr_assert_geq(fd, 0);
    cr_assert_eq(setns(fd, CLONE_NEWNET), 0);
    close(fd);
}

/* A child process that is one side, in namespace "far" or here. It is forked before this process has threads. The
 * destination sends its port; the source waits for one. */
struct child {
    pid_t pid;
    int port_fd;
};

static struct child fork_destination(const char *host)
{
    struct child child;
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    child.pid = fork();
    if (!child.pid) {
        struct pair own;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        enter_far();
        pair_init(&own, &busy, NULL, host);
        pair_start_destination(&own);
        if (write(fds[1], &own.source_options.port, sizeof(uint16_t)) < 0)
            _exit(1);
        pair_join_destination(&own);
        _exit(own.destination_code ? 1 : 0);
    }
    close(fds[1]);
    child.port_fd = fds[0];
    return child;
}

static struct child fork_source(const char *host, bool far, void (*on_event)(struct pair *, const struct tern_event *))
{
    struct child child;
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    child.pid = fork();
    if (!child.pid) {
        struct pair own;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (far)
            enter_far();
        pair_init(&own, &busy, NULL, host);
        if (far)
            own.source_options.transport = TERN_TRANSPORT_AUTO;
        own.on_source_event = on_event;
        if (read(fds[0], &own.source_options.port, sizeof(uint16_t)) != sizeof(uint16_t))
            _exit(1);
        process_guest_start(own.source);
        own.source_result.struct_bytes = sizeof(own.source_result);
        if (tern_source_create(&own.source_vm, &own.source_options, &own.source_session, NULL))
            _exit(1);
        _exit(tern_source_run(own.source_session, &own.source_result, NULL) ? 1 : 0);
    }
    close(fds[0]);
    child.port_fd = fds[1];
    return child;
}

static int run_source(struct pair *pair, const struct child *destination)
{
    cr_assert_eq(read(destination->port_fd, &pair->source_options.port, sizeof(uint16_t)), sizeof(uint16_t));
    process_guest_start(pair->source);
    pair->source_result.struct_bytes = sizeof(pair->source_result);
    cr_assert_eq(tern_source_create(&pair->source_vm, &pair->source_options, &pair->source_session, NULL), 0);
    pair->source_code = tern_source_run(pair->source_session, &pair->source_result, &pair->source_error);
    tern_source_destroy(pair->source_session);
    return pair->source_code;
}

Test(far, destination_without_a_device, .timeout = 60)
{
    struct child destination = fork_destination(FAR_HOST);
    struct pair pair;
    int status;

    pair_init(&pair, &busy, NULL, FAR_HOST);
    cr_assert_lt(run_source(&pair, &destination), 0); /* verbs, as asked for */
    kill(destination.pid, SIGKILL);
    cr_assert_eq(waitpid(destination.pid, &status, 0), destination.pid);
    says(&pair.source_error, "the destination cannot: no RDMA device");
    cr_assert(process_guest_runs(pair.source));
    pair_free(&pair);
}

Test(far, auto_takes_tcp_as_the_destination_has_no_device, .timeout = 60)
{
    struct child destination = fork_destination(FAR_HOST);
    struct pair pair;
    int status;

    pair_init(&pair, &busy, NULL, FAR_HOST);
    pair.source_options.transport = TERN_TRANSPORT_AUTO;
    cr_assert_eq(run_source(&pair, &destination), 0, "%s", pair.source_error.message);
    cr_assert_str_eq(pair.source_result.transport, "tcp");
    cr_assert_str_eq(pair.source_result.transport_reason, "destination: no RDMA device");
    cr_assert(!process_guest_runs(pair.source));
    cr_assert_eq(waitpid(destination.pid, &status, 0), destination.pid);
    cr_assert(WIFEXITED(status));
    pair_free(&pair);
}

Test(far, auto_takes_tcp_as_the_source_has_no_device, .timeout = 60)
{
    struct child source = fork_source(NEAR_HOST, true, NULL);
    struct pair pair;
    int status;

    pair_init(&pair, &busy, NULL, NEAR_HOST);
    pair_start_destination(&pair);
    cr_assert_eq(write(source.port_fd, &pair.source_options.port, sizeof(uint16_t)), sizeof(uint16_t));
    cr_assert_eq(waitpid(source.pid, &status, 0), source.pid);
    cr_assert(WIFEXITED(status) && !WEXITSTATUS(status));
    pair_join_destination(&pair);
    cr_assert_eq(pair.destination_code, 0, "%s", pair.destination_error.message);
    cr_assert_str_eq(pair.destination_result.transport, "tcp");
    cr_assert_str_eq(pair.destination_result.transport_reason, "source: no RDMA device");
    pair_free(&pair);
}

/* ---- dying: a whole host again ---- */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* What the kernel holds for all processes: "0: rxe0: pd 1 cq 1 qp 1 cm_id 0 mr 0", without contexts, which libraries
 * keep.
 */
static void rdma_resources(char *text, size_t capacity)
{
    FILE *f = popen("rdma resource show | sed -E 's/ (ctx|srq) [0-9]+//g'", "r");

    cr_assert_not_null(f);
    text[fread(text, 1, capacity - 1, f)] = 0;
    cr_assert_eq(pclose(f), 0);
    cr_assert_not_null(strstr(text, "qp"), "%s", text);
}

static int open_files(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static uint64_t pinned_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    unsigned long long kib = 0;
    char line[128];

    while (f && fgets(line, sizeof(line), f) && sscanf(line, "VmPin: %llu", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return kib;
}

static void die_after_round_one(struct pair *pair, const struct tern_event *event)
{
    (void)pair;
    if (event->kind == TERN_EVENT_ROUND)
        raise(SIGKILL);
}

/* The libraries open the device once and keep it; a first use is not a leak. */
static void warm_up(void)
{
    struct ends ends;

    ends_init(&ends, pair_host(false));
    ends_join(&ends);
    ends_free(&ends);
}

Test(dying, a_killed_source_is_noticed_and_all_is_freed, .timeout = 60)
{
    struct child source = fork_source(pair_host(false), false, die_after_round_one);
    char before[512], after[512];
    uint64_t killed_ms;
    struct pair pair;
    int files, status;

    warm_up();
    rdma_resources(before, sizeof(before));
    files = open_files();
    pair_init(&pair, &busy, NULL, pair_host(false));
    pair_start_destination(&pair);
    cr_assert_eq(write(source.port_fd, &pair.source_options.port, sizeof(uint16_t)), sizeof(uint16_t));
    cr_assert_eq(waitpid(source.pid, &status, 0), source.pid);
    cr_assert(WIFSIGNALED(status));
    killed_ms = now_ms();
    pair_join_destination(&pair);
    cr_assert_lt(now_ms() - killed_ms, 5000);
    cr_assert_lt(pair.destination_code, 0);
    says(&pair.destination_error, "the source is gone");
    cr_assert_eq(pair.destination_error.side, TERN_SIDE_SOURCE);
    cr_assert_str_eq(pair.destination_result.transport, "verbs");
    cr_assert_gt(pair.destination_result.registered_bytes, 0);
    cr_assert(!process_guest_runs(pair.destination));
    pair_free(&pair);
    rdma_resources(after, sizeof(after));
    cr_assert_str_eq(after, before);
    cr_assert_eq(open_files(), files);
    cr_assert_eq(pinned_kib(), 0);
}

Test(dying, a_migration_that_ends_well_frees_all, .timeout = 60)
{
    char before[512], after[512];
    struct pair pair;
    int files;

    warm_up();
    rdma_resources(before, sizeof(before));
    files = open_files();
    pair_init(&pair, &busy, NULL, pair_host(false));
    pair_run(&pair);
    pair_check_moved(&pair);
    pair_free(&pair);
    rdma_resources(after, sizeof(after));
    cr_assert_str_eq(after, before);
    cr_assert_eq(open_files(), files);
    cr_assert_eq(pinned_kib(), 0);
}
