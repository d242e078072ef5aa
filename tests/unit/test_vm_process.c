/* SPDX-License-Identifier: BSD-2-Clause */
/* The VM process with a fake guest and a fake engine: states, refusals, who is told what, who is cancelled when. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/fake_engine.h"
#include "tools/common/report.h"
#include "tools/tern/request.h"
#include "tools/tern/vm_process.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PATIENCE_MS 5000

/* One bench a test, each test a process of its own. */
static struct {
    char folder[64];
    char path[96];
    struct cli_values values;
    struct vm_process *process;
    pthread_t thread;
    int status;
    enum vm_process_start start;
} bench;

static void *run(void *unused)
{
    (void)unused;
    bench.status = vm_process_run(bench.process, bench.start);
    vm_process_destroy(bench.process);
    return NULL;
}

static void start_as(enum vm_process_start how)
{
    struct tern_error error = {0};
    bool receive = how != VM_PROCESS_RUN;

    strcpy(bench.folder, "/tmp/tern-test.XXXXXX");
    cr_assert_not_null(mkdtemp(bench.folder));
    snprintf(bench.path, sizeof(bench.path), "%s/vm", bench.folder);
    cli_values_init(&bench.values);
    bench.values.control = bench.path;
    bench.values.quiet = true;
    bench.start = how;
    atomic_store(&fake.receive, receive);
    atomic_store(&fake.runs, !receive);
    cr_assert_eq(vm_process_create(&bench.values, &fake_engine, &bench.process, &error), 0, "%s", error.message);
    vm_process_set_guest(bench.process, &fake_guest, NULL, "fake");
    cr_assert_eq(pthread_create(&bench.thread, NULL, run, NULL), 0);
}

static void start(bool receive)
{
    start_as(receive ? VM_PROCESS_RECEIVE : VM_PROCESS_RUN);
}

/* The process has ended with this status and left nothing behind. */
static void expect_end(int status)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += PATIENCE_MS / 1000;
    cr_assert_eq(pthread_timedjoin_np(bench.thread, NULL, &limit), 0, "the VM process does not end");
    cr_assert_eq(bench.status, status);
    cr_assert_eq(rmdir(bench.folder), 0, "it leaves its socket behind");
}

/* Ask; the answer is ok and has this state, or is not ok and has this message. */
static void expect(const char *command, const char *state, const char *message)
{
    struct tern_error error = {0};
    struct json_object *done = NULL;
    int r = request_simple(bench.path, command, NULL, PATIENCE_MS, &done, &error);

    if (message) {
        cr_assert_neq(r, 0, "%s was not refused", command);
        cr_assert_str_eq(error.message, message);
    } else {
        cr_assert_eq(r, 0, "%s: %s", command, error.message);
    }
    if (state)
        cr_assert_str_eq(json_member_text(done, "state"), state);
    json_object_put(done);
}

static void resolve(const char *owner)
{
    struct json_object *members = json_object_new_object();
    struct json_object *done;
    struct tern_error error = {0};

    json_object_object_add(members, "owner", json_object_new_string(owner));
    cr_assert_eq(request_simple(bench.path, "resolve", members, PATIENCE_MS, &done, &error), 0, "%s", error.message);
    json_object_put(members);
    json_object_put(done);
}

static struct request begin(const char *command, const char *text)
{
    struct json_object *members = json_tokener_parse(text);
    struct request request;
    struct tern_error error = {0};

    cr_assert_eq(request_open(bench.path, command, members, &request, &error), 0, "%s", error.message);
    json_object_put(members);
    return request;
}

static struct request migrate(const char *more)
{
    char text[256];

    snprintf(text, sizeof(text), "{\"to\":\"there:99\"%s}", more);
    return begin("migrate", text);
}

static void await(atomic_bool *flag, bool value)
{
    uint64_t deadline_ns = clock_after_ms(PATIENCE_MS);

    while (atomic_load(flag) != value && clock_left_ms(deadline_ns))
        poll(NULL, 0, 2);
    cr_assert_eq(atomic_load(flag), value);
}

/* Events up to done; counts of each kind seen go to seen (phase, warning, progress, error). The done is the caller's.
 */
static struct json_object *follow(struct request *request, unsigned seen[4])
{
    static const char *const kinds[] = {"phase", "warning", "progress", "error"};
    struct json_object *event;

    for (;;) {
        struct tern_error error = {0};

        cr_assert_eq(request_next(request, -1, clock_after_ms(PATIENCE_MS), &event, NULL, &error), 0, "%s",
                     error.message);
        for (int i = 0; i < 4; i++)
            seen[i] += !strcmp(json_member_text(event, "event"), kinds[i]);
        if (!strcmp(json_member_text(event, "event"), "done"))
            break;
        json_object_put(event);
    }
    request_close(request);
    return event;
}

static void quit(int status)
{
    expect("quit", NULL, NULL);
    expect_end(status);
}

Test(vm_process, pause_and_cont_refuse_what_is_so_already, .timeout = 30)
{
    start(false);
    expect("status", "active", NULL);
    expect("cont", NULL, "cannot continue: the guest is active");
    expect("pause", "paused", NULL);
    expect("pause", NULL, "cannot pause: the guest is paused");
    expect("status", "paused", NULL);
    expect("migrate", NULL, "cannot migrate: the guest is paused");
    expect("cont", "active", NULL);
    expect("cancel", NULL, "nothing to cancel: no migration is under way, the guest is active");
    expect("resolve", NULL, "nothing to resolve: no handover is in doubt, the guest is active");
    expect("migrate", NULL, "option --to HOST:PORT is missing");
    expect("dance", NULL, "unknown command 'dance'");
    quit(0);
}

Test(vm_process, options_reach_the_engine, .timeout = 30)
{
    struct request request;

    start(false);
    request = migrate(
        ",\"downtime-limit\":\"7ms\",\"bandwidth\":\"1Gb/s\",\"lanes\":2,\"transport\":\"tcp\","
        "\"on-no-converge\":\"abort\",\"deadline\":\"60s\",\"verify\":true,\"gid-index\":0,\"device\":\"rxe0\"");
    await(&fake.under_way, true);
    cr_assert_str_eq(fake.options.host, "there");
    cr_assert_eq(fake.options.port, 99);
    cr_assert_eq(fake.options.downtime_limit_ns, 7000000);
    cr_assert_eq(fake.options.bandwidth_bps, 1000000000);
    cr_assert_eq(fake.options.lanes, 2);
    cr_assert_eq(fake.options.transport, TERN_TRANSPORT_TCP);
    cr_assert_eq(fake.options.on_no_converge, TERN_NO_CONVERGE_ABORT);
    cr_assert_eq(fake.options.deadline_ns, 60000000000);
    cr_assert_eq(fake.options.gid_index, 0);
    cr_assert_str_eq(fake.options.device, "rxe0");
    cr_assert(fake.options.verify);
    request_close(&request);
    quit(0);
}

Test(vm_process, migrated_away_it_ends_and_is_gone_when_told, .timeout = 30)
{
    struct request request;
    struct json_object *done;
    unsigned seen[4] = {0};

    start(false);
    request = migrate("");
    await(&fake.under_way, true);
    expect("status", "active", NULL); /* served while the migration runs */
    expect("pause", NULL, "cannot pause: the guest is being migrated (active)");
    expect("migrate", NULL, "cannot migrate: the guest is being migrated (active)");
    atomic_store(&fake.outcome, TERN_OUTCOME_MIGRATED);
    atomic_store(&fake.proceed, true);
    done = follow(&request, seen);
    cr_assert(json_member_flag(done, "ok"));
    cr_assert_str_eq(json_member_text(done, "outcome"), "migrated");
    cr_assert_eq(json_member_number(done, "lanes"), 3);
    cr_assert_eq(seen[0], 1);
    cr_assert_eq(seen[1], 1);
    cr_assert_geq(seen[2], 1);
    cr_assert_eq(seen[3], 0);
    cr_assert_eq(access(bench.path, F_OK), -1, "told before the socket was gone");
    json_object_put(done);
    expect_end(0);
}

Test(vm_process, a_failure_leaves_the_guest_here, .timeout = 30)
{
    struct request request;
    struct json_object *done;
    unsigned seen[4] = {0};

    start(false);
    request = migrate("");
    await(&fake.under_way, true);
    atomic_store(&fake.outcome, TERN_OUTCOME_FAILED);
    atomic_store(&fake.proceed, true);
    done = follow(&request, seen);
    cr_assert_not(json_member_flag(done, "ok"));
    cr_assert_str_eq(json_member_text(done, "outcome"), "failed");
    cr_assert_str_eq(json_member_text(done, "state"), "active");
    cr_assert_eq(seen[3], 1);
    json_object_put(done);
    expect("status", "active", NULL);
    quit(0);
}

Test(vm_process, a_refused_start_is_answered_and_forgotten, .timeout = 30)
{
    struct json_object *members = json_tokener_parse("{\"to\":\"nowhere:1\"}");
    struct json_object *done;
    struct tern_error error;

    start(false);
    cr_assert_eq(request_simple(bench.path, "migrate", members, PATIENCE_MS, &done, &error), -EINVAL);
    cr_assert_str_eq(error.message, "no way");
    json_object_put(done);
    json_object_put(members);
    members = json_tokener_parse("{\"to\":\"h\",\"downtime-limit\":\"50\"}");
    cr_assert_eq(request_simple(bench.path, "migrate", members, PATIENCE_MS, &done, &error), -EINVAL);
    cr_assert_str_eq(error.message, "option --downtime-limit: duration '50' has no unit");
    json_object_put(done);
    json_object_put(members);
    members = json_tokener_parse("{\"to\":\"h\",\"postcopy\":true}");
    cr_assert_eq(request_simple(bench.path, "migrate", members, PATIENCE_MS, &done, &error), -EINVAL);
    cr_assert_str_eq(error.message, "unknown member 'postcopy'");
    json_object_put(done);
    json_object_put(members);
    expect("pause", "paused", NULL);
    quit(0);
}

Test(vm_process, cancel_is_answered_at_the_migrations_end, .timeout = 30)
{
    struct request request;
    struct json_object *done;
    unsigned seen[4] = {0};

    start(false);
    request = migrate("");
    await(&fake.under_way, true);
    expect("cancel", NULL, NULL);
    cr_assert_not(atomic_load(&fake.under_way));
    done = follow(&request, seen);
    cr_assert_not(json_member_flag(done, "ok"));
    cr_assert_eq(seen[3], 1);
    json_object_put(done);
    expect("status", "active", NULL);
    quit(0);
}

Test(vm_process, a_vanished_client_cancels_its_migration, .timeout = 30)
{
    struct request request;

    start(false);
    request = migrate("");
    await(&fake.under_way, true);
    request_close(&request);
    await(&fake.cancelled, true);
    await(&fake.under_way, false);
    expect("status", "active", NULL);
    quit(0);
}

Test(vm_process, a_vanished_client_of_another_kind_cancels_nothing, .timeout = 30)
{
    struct request request, status;

    start(false);
    request = migrate("");
    await(&fake.under_way, true);
    cr_assert_eq(request_open(bench.path, "status", NULL, &status, NULL), 0);
    request_close(&status);
    expect("status", "active", NULL);
    expect("status", "active", NULL);
    cr_assert_not(atomic_load(&fake.cancelled));
    request_close(&request);
    quit(0);
}

static void come_in_doubt(void)
{
    struct request request;
    struct json_object *done;
    unsigned seen[4] = {0};

    start(false);
    request = migrate("");
    await(&fake.under_way, true);
    atomic_store(&fake.outcome, TERN_OUTCOME_IN_DOUBT);
    atomic_store(&fake.proceed, true);
    done = follow(&request, seen);
    cr_assert_str_eq(json_member_text(done, "outcome"), "in-doubt");
    cr_assert_str_eq(json_member_text(done, "state"), "paused");
    json_object_put(done);
    expect("status", "paused", NULL);
    expect("cont", NULL, "cannot continue: the guest is paused and its handover is in doubt");
    expect("migrate", NULL, "cannot migrate: the guest is paused and its handover is in doubt");
    expect("quit", NULL, "cannot quit: this may be the only copy of a guest whose handover is in doubt");
}

Test(vm_process, in_doubt_until_resolved_here, .timeout = 30)
{
    come_in_doubt();
    resolve("here");
    expect("status", "active", NULL);
    quit(0);
}

Test(vm_process, in_doubt_until_resolved_there, .timeout = 30)
{
    come_in_doubt();
    resolve("there");
    expect_end(0);
    cr_assert_not(atomic_load(&fake.runs));
}

Test(vm_process, receive_then_run, .timeout = 30)
{
    start(true);
    await(&fake.under_way, true);
    expect("status", "inactive", NULL);
    expect("pause", NULL, "cannot pause: the guest is being received (inactive)");
    atomic_store(&fake.outcome, TERN_OUTCOME_MIGRATED);
    atomic_store(&fake.proceed, true);
    await(&fake.runs, true);
    await(&fake.under_way, false);
    expect("verify", "active", NULL);
    expect("pause", "paused", NULL);
    expect("verify", "paused", "page 5 is not as it was written");
    quit(0);
}

Test(vm_process, a_failed_receive_ends_with_1, .timeout = 30)
{
    start(true);
    await(&fake.under_way, true);
    atomic_store(&fake.outcome, TERN_OUTCOME_FAILED);
    atomic_store(&fake.proceed, true);
    expect_end(1);
}

Test(vm_process, a_receive_can_be_cancelled, .timeout = 30)
{
    start(true);
    await(&fake.under_way, true);
    expect("cancel", NULL, NULL);
    expect_end(1);
}

Test(vm_process, sigterm_cancels_and_ends, .timeout = 30)
{
    struct request request;
    struct json_object *done;
    unsigned seen[4] = {0};

    start(false);
    request = migrate("");
    await(&fake.under_way, true);
    kill(getpid(), SIGTERM);
    done = follow(&request, seen);
    cr_assert_not(json_member_flag(done, "ok"));
    json_object_put(done);
    expect_end(0);
}

Test(vm_process, a_signal_does_not_end_it_in_doubt_at_once, .timeout = 30)
{
    struct request request;
    struct json_object *done;
    unsigned seen[4] = {0};

    start(false);
    atomic_store(&fake.deaf, true);
    request = migrate("");
    await(&fake.under_way, true);
    kill(getpid(), SIGTERM);
    await(&fake.cancelled, true);
    atomic_store(&fake.outcome, TERN_OUTCOME_IN_DOUBT);
    atomic_store(&fake.proceed, true);
    done = follow(&request, seen);
    json_object_put(done);
    expect("status", "paused", NULL);
    kill(getpid(), SIGTERM); /* the operator insists */
    expect_end(0);
}

Test(vm_process, the_guests_own_end_ends_it, .timeout = 30)
{
    struct tern_error failure = {.code = -EIO, .message = "the guest broke"};

    start(false);
    expect("status", "active", NULL);
    vm_process_guest_ended(bench.process, &failure);
    expect_end(1);
}

Test(vm_process, suspended_it_ends_and_is_gone_when_told, .timeout = 30)
{
    struct request request;
    struct json_object *done;
    unsigned seen[4] = {0};

    start(false);
    expect("suspend", NULL, "option --to FILE is missing");
    expect("pause", "paused", NULL);
    request = begin("suspend", "{\"to\":\"/img\"}");
    done = follow(&request, seen);
    cr_assert_not(json_member_flag(done, "ok"), "a paused guest was suspended");
    json_object_put(done);
    expect("cont", "active", NULL);
    request = begin("suspend", "{\"to\":\"/img\",\"downtime-limit\":\"7ms\"}");
    await(&fake.under_way, true);
    cr_assert_eq(fake.options.downtime_limit_ns, 7000000);
    expect("pause", NULL, "cannot pause: the guest is being suspended (active)");
    expect("migrate", NULL, "cannot migrate: the guest is being suspended (active)");
    atomic_store(&fake.outcome, TERN_OUTCOME_SUSPENDED);
    atomic_store(&fake.proceed, true);
    done = follow(&request, seen);
    cr_assert(json_member_flag(done, "ok"));
    cr_assert_str_eq(json_member_text(done, "outcome"), "suspended");
    cr_assert_str_eq(json_member_text(done, "state"), "suspended");
    cr_assert_eq(access(bench.path, F_OK), -1, "told before the socket was gone");
    json_object_put(done);
    expect_end(0);
}

Test(vm_process, a_client_that_goes_away_cancels_its_suspend, .timeout = 30)
{
    struct request request;

    start(false);
    request = begin("suspend", "{\"to\":\"/img\"}");
    await(&fake.under_way, true);
    request_close(&request);
    await(&fake.cancelled, true);
    await(&fake.under_way, false);
    expect("status", "active", NULL);
    quit(0);
}

/* It runs before all of it is there: pause and cont are as ever, what needs a job waits. */
Test(vm_process, resumed_it_is_active_and_jobs_wait, .timeout = 30)
{
    struct request request;
    struct json_object *done;
    unsigned seen[4] = {0};

    start_as(VM_PROCESS_RESUME);
    await(&fake.under_way, true);
    expect("status", "active", NULL);
    expect("pause", "paused", NULL);
    expect("status", "paused", NULL);
    expect("cont", "active", NULL);
    expect("cancel", NULL, "nothing to cancel: no migration is under way, the guest is active");
    request = begin("verify", "{}");
    atomic_store(&fake.outcome, TERN_OUTCOME_RESUMED);
    expect("status", "active", NULL); /* so the verification waits by now */
    atomic_store(&fake.proceed, true);
    done = follow(&request, seen);
    cr_assert(json_member_flag(done, "ok"));
    cr_assert_eq(json_member_number(done, "pages"), 9);
    json_object_put(done);
    expect("status", "active", NULL);
    quit(0);
}

Test(vm_process, a_resume_that_fails_ends_it, .timeout = 30)
{
    start_as(VM_PROCESS_RESUME);
    await(&fake.under_way, true);
    atomic_store(&fake.outcome, TERN_OUTCOME_FAILED);
    atomic_store(&fake.proceed, true);
    expect_end(1);
}

Test(vm_process, quitting_ends_a_resume, .timeout = 30)
{
    start_as(VM_PROCESS_RESUME);
    await(&fake.under_way, true);
    quit(0);
}
