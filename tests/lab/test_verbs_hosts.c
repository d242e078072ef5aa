/* SPDX-License-Identifier: BSD-2-Clause */
/* Hosts that lack something: a device, its name, an active port, a way, one side's device. Each test suite below wants
 * the lab host in one state, which suite_verbs_errors.sh makes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/pair.h"
#include "tests/lab/verbs_child.h"
#include "tests/lab/verbs_ends.h"

#define FAR_HOST  "10.88.0.2" /* in network namespace "far", which has no RDMA device; 10.88.0.1 here has */
#define NEAR_HOST "10.88.0.1"

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

    pair_init(&pair, &small_guest, NULL, "10.77.1.1");
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
        pair_init(&pair, &small_guest, NULL, pair_host(false));
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

    pair_init(&pair, &small_guest, NULL, pair_host(false));
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

    pair_init(&pair, &small_guest, NULL, pair_host(false));
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

    pair_init(&pair, &small_guest, NULL, pair_host(false));
    pair.source_options.transport = TERN_TRANSPORT_AUTO;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_str_eq(pair.source_result.transport, "tcp");
    cr_assert_str_eq(pair.source_result.transport_reason, "source: no RDMA device");
    pair_free(&pair);
}

/* ---- far: namespace "far" has no RDMA device, its other end here has one ---- */

static void enter_far(struct pair *pair)
{
    int fd = open("/run/netns/far", O_RDONLY | O_CLOEXEC);

    (void)pair;
    cr_assert_geq(fd, 0);
    cr_assert_eq(setns(fd, CLONE_NEWNET), 0);
    close(fd);
}

static void far_and_auto(struct pair *pair)
{
    enter_far(pair);
    pair->source_options.transport = TERN_TRANSPORT_AUTO;
}

static void cannot_lock(struct pair *pair)
{
    pair->destination_options.registration = TERN_REGISTER_PIN;
    limit_memlock(MIB, true);
}

Test(whole, destination_that_cannot_register_tells_the_source, .timeout = 60)
{
    struct child destination = child_destination(pair_host(false), cannot_lock);
    struct pair pair;
    int status;

    pair_init(&pair, &small_guest, NULL, pair_host(false));
    cr_assert_eq(run_source(&pair, &destination), -ENOMEM, "%s", pair.source_error.message);
    cr_assert_eq(waitpid(destination.pid, &status, 0), destination.pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    says(&pair.source_error, "RLIMIT_MEMLOCK is 1 MiB");
    cr_assert_not_null(strstr(pair.source_error.hint, "ulimit -l unlimited"), "%s", pair.source_error.hint);
    cr_assert_eq(pair.source_error.side, TERN_SIDE_DESTINATION);
    cr_assert(process_guest_runs(pair.source));
    pair_free(&pair);
}

Test(far, destination_without_a_device, .timeout = 60)
{
    struct child destination = child_destination(FAR_HOST, enter_far);
    struct pair pair;
    int status;

    pair_init(&pair, &small_guest, NULL, FAR_HOST);
    cr_assert_lt(run_source(&pair, &destination), 0); /* verbs, as asked for */
    kill(destination.pid, SIGKILL);
    cr_assert_eq(waitpid(destination.pid, &status, 0), destination.pid);
    says(&pair.source_error, "the destination cannot: no RDMA device");
    cr_assert(process_guest_runs(pair.source));
    pair_free(&pair);
}

Test(far, auto_takes_tcp_as_the_destination_has_no_device, .timeout = 60)
{
    struct child destination = child_destination(FAR_HOST, enter_far);
    struct pair pair;
    int status;

    pair_init(&pair, &small_guest, NULL, FAR_HOST);
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
    struct child source = child_source(NEAR_HOST, far_and_auto);
    struct pair pair;
    int status;

    pair_init(&pair, &small_guest, NULL, NEAR_HOST);
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
