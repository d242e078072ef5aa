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

#include "tools/common/report.h"
#include "tools/tern/request.h"
#include "tools/tern/vm_process.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PATIENCE_MS 5000

/* One bench a test, each test a process of its own; the engine's functions have no opaque pointer to it. */
static struct {
    char folder[64];
    char path[96];
    struct cli_values values;
    struct vm_process *process;
    pthread_t thread;
    int status;
    atomic_bool receive;
    enum vm_process_start start;
    atomic_bool runs;
    atomic_bool cancelled;
    atomic_bool proceed; /* the fake migration may end, as outcome says */
    atomic_int outcome;  /* enum tern_outcome */
    atomic_bool under_way;
    atomic_bool deaf;            /* cancelling comes too late */
    struct tern_options options; /* as the engine was given them */
} bench;

static bool guest_runs(void *guest)
{
    (void)guest;
    return atomic_load(&bench.runs);
}

static int guest_pause(void *guest, struct tern_error *error)
{
    (void)guest;
    (void)error;
    atomic_store(&bench.runs, false);
    return 0;
}

static int guest_resume(void *guest, struct tern_error *error)
{
    (void)guest;
    (void)error;
    atomic_store(&bench.runs, true);
    return 0;
}

static const struct tern_vm *guest_describe(void *guest)
{
    static const struct tern_vm vm = {.struct_bytes = sizeof(vm)};

    (void)guest;
    return &vm;
}

static void guest_status(void *guest, struct json_object *into)
{
    (void)guest;
    json_object_object_add(into, "heartbeat", json_object_new_int(7));
}

static int guest_verify(void *guest, struct json_object *into, struct tern_error *error)
{
    (void)guest;
    json_object_object_add(into, "pages", json_object_new_int(9));
    return atomic_load(&bench.runs) ? 0 : error_set(error, -EILSEQ, NULL, "page 5 is not as it was written");
}

static const struct guest_ops guest_ops = {guest_runs,     guest_pause,  guest_resume,
                                           guest_describe, guest_status, guest_verify};

static void options_init(struct tern_options *options)
{
    *options = (struct tern_options){.struct_bytes = sizeof(*options), .gid_index = -1};
}

static int source_create(const struct tern_vm *vm, const struct tern_options *options, struct tern_source **out,
                         struct tern_error *error)
{
    (void)vm;
    if (!strcmp(options->host, "nowhere"))
        return error_set(error, -EINVAL, "go elsewhere", "no way");
    bench.options = *options;
    *out = (struct tern_source *)&bench;
    return 0;
}

static void tell(enum tern_event_kind kind, const char *text)
{
    struct tern_event event = {.kind = kind,
                               .side = TERN_SIDE_SOURCE,
                               .phase = TERN_PHASE_PRE_COPY,
                               .round = 2,
                               .rate_bps = 1000000000,
                               .transport = "tcp",
                               .device = "tcp",
                               .text = text};

    bench.options.on_event(bench.options.event_opaque, &event);
}

/* Runs until it is let go or cancelled. */
static int fake_run(struct tern_result *result, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms(4 * PATIENCE_MS);

    tell(TERN_EVENT_PHASE, NULL);
    tell(TERN_EVENT_WARNING, "mind the gap");
    atomic_store(&bench.under_way, true);
    while (!atomic_load(&bench.proceed) && (atomic_load(&bench.deaf) || !atomic_load(&bench.cancelled)) &&
           clock_left_ms(deadline_ns)) {
        tell(TERN_EVENT_PROGRESS, NULL);
        poll(NULL, 0, 2);
    }
    atomic_store(&bench.under_way, false);
    snprintf(result->transport, sizeof(result->transport), "tcp");
    result->lanes = 3;
    if (!atomic_load(&bench.proceed))
        return error_set(error, -ECANCELED, NULL, "cancelled");
    result->outcome = (enum tern_outcome)atomic_load(&bench.outcome);
    switch (result->outcome) {
    case TERN_OUTCOME_MIGRATED:
        atomic_store(&bench.runs, atomic_load(&bench.receive));
        return 0;
    case TERN_OUTCOME_SUSPENDED:
        atomic_store(&bench.runs, false);
        return 0;
    case TERN_OUTCOME_RESUMED:
        return 0;
    case TERN_OUTCOME_IN_DOUBT:
        atomic_store(&bench.runs, false);
        return error_set(error, -EINPROGRESS, NULL, "the peer is gone");
    default:
        error_set(error, -ECONNRESET, "look there", "the peer is gone");
        error->side = TERN_SIDE_DESTINATION;
        return -ECONNRESET;
    }
}

static int source_run(struct tern_source *source, struct tern_result *result, struct tern_error *error)
{
    (void)source;
    return fake_run(result, error);
}

static void source_cancel(struct tern_source *source)
{
    (void)source;
    atomic_store(&bench.cancelled, true);
}

static void source_destroy(struct tern_source *source)
{
    (void)source;
}

static int destination_create(const struct tern_vm *vm, const struct tern_options *options,
                              struct tern_destination **out, struct tern_error *error)
{
    (void)vm;
    (void)error;
    bench.options = *options;
    *out = (struct tern_destination *)&bench;
    return 0;
}

static uint16_t destination_port(const struct tern_destination *destination)
{
    (void)destination;
    return 4242;
}

static int destination_run(struct tern_destination *destination, struct tern_result *result, struct tern_error *error)
{
    (void)destination;
    return fake_run(result, error);
}

static void destination_cancel(struct tern_destination *destination)
{
    (void)destination;
    atomic_store(&bench.cancelled, true);
}

static void destination_destroy(struct tern_destination *destination)
{
    (void)destination;
}

static int suspend_create(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                          struct tern_suspend **out, struct tern_error *error)
{
    (void)vm;
    bench.options = *options;
    *out = (struct tern_suspend *)&bench;
    return strcmp(path, "/full") ? 0 : error_set(error, -ENOSPC, NULL, "no room");
}

static int suspend_run(struct tern_suspend *suspend, struct tern_result *result, struct tern_error *error)
{
    (void)suspend;
    return fake_run(result, error);
}

static void suspend_cancel(struct tern_suspend *suspend)
{
    (void)suspend;
    atomic_store(&bench.cancelled, true);
}

static void suspend_destroy(struct tern_suspend *suspend)
{
    (void)suspend;
}

static int resume_create(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                         struct tern_resume **out, struct tern_error *error)
{
    (void)vm;
    (void)path;
    (void)error;
    bench.options = *options;
    *out = (struct tern_resume *)&bench;
    return 0;
}

/* Its guest runs at once, and the rest of its memory is read until the test says so. */
static int resume_run(struct tern_resume *resume, struct tern_result *result, struct tern_error *error)
{
    struct tern_event event = {.kind = TERN_EVENT_PHASE, .phase = TERN_PHASE_ACTIVATE};

    (void)resume;
    atomic_store(&bench.runs, true);
    bench.options.on_event(bench.options.event_opaque, &event);
    return fake_run(result, error);
}

static void resume_cancel(struct tern_resume *resume)
{
    (void)resume;
    atomic_store(&bench.cancelled, true);
}

static void resume_destroy(struct tern_resume *resume)
{
    (void)resume;
}

static const struct engine_ops engine = {
    .options_init = options_init,
    .source_create = source_create,
    .source_run = source_run,
    .source_cancel = source_cancel,
    .source_destroy = source_destroy,
    .destination_create = destination_create,
    .destination_port = destination_port,
    .destination_run = destination_run,
    .destination_cancel = destination_cancel,
    .destination_destroy = destination_destroy,
    .suspend_create = suspend_create,
    .suspend_run = suspend_run,
    .suspend_cancel = suspend_cancel,
    .suspend_destroy = suspend_destroy,
    .resume_create = resume_create,
    .resume_run = resume_run,
    .resume_cancel = resume_cancel,
    .resume_destroy = resume_destroy,
};

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
    atomic_store(&bench.receive, receive);
    atomic_store(&bench.runs, !receive);
    cr_assert_eq(vm_process_create(&bench.values, &engine, &bench.process, &error), 0, "%s", error.message);
    vm_process_set_guest(bench.process, &guest_ops, NULL, "fake");
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
    await(&bench.under_way, true);
    cr_assert_str_eq(bench.options.host, "there");
    cr_assert_eq(bench.options.port, 99);
    cr_assert_eq(bench.options.downtime_limit_ns, 7000000);
    cr_assert_eq(bench.options.bandwidth_bps, 1000000000);
    cr_assert_eq(bench.options.lanes, 2);
    cr_assert_eq(bench.options.transport, TERN_TRANSPORT_TCP);
    cr_assert_eq(bench.options.on_no_converge, TERN_NO_CONVERGE_ABORT);
    cr_assert_eq(bench.options.deadline_ns, 60000000000);
    cr_assert_eq(bench.options.gid_index, 0);
    cr_assert_str_eq(bench.options.device, "rxe0");
    cr_assert(bench.options.verify);
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
    await(&bench.under_way, true);
    expect("status", "active", NULL); /* served while the migration runs */
    expect("pause", NULL, "cannot pause: the guest is being migrated (active)");
    expect("migrate", NULL, "cannot migrate: the guest is being migrated (active)");
    atomic_store(&bench.outcome, TERN_OUTCOME_MIGRATED);
    atomic_store(&bench.proceed, true);
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
    await(&bench.under_way, true);
    atomic_store(&bench.outcome, TERN_OUTCOME_FAILED);
    atomic_store(&bench.proceed, true);
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
    await(&bench.under_way, true);
    expect("cancel", NULL, NULL);
    cr_assert_not(atomic_load(&bench.under_way));
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
    await(&bench.under_way, true);
    request_close(&request);
    await(&bench.cancelled, true);
    await(&bench.under_way, false);
    expect("status", "active", NULL);
    quit(0);
}

Test(vm_process, a_vanished_client_of_another_kind_cancels_nothing, .timeout = 30)
{
    struct request request, status;

    start(false);
    request = migrate("");
    await(&bench.under_way, true);
    cr_assert_eq(request_open(bench.path, "status", NULL, &status, NULL), 0);
    request_close(&status);
    expect("status", "active", NULL);
    expect("status", "active", NULL);
    cr_assert_not(atomic_load(&bench.cancelled));
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
    await(&bench.under_way, true);
    atomic_store(&bench.outcome, TERN_OUTCOME_IN_DOUBT);
    atomic_store(&bench.proceed, true);
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
    cr_assert_not(atomic_load(&bench.runs));
}

Test(vm_process, receive_then_run, .timeout = 30)
{
    start(true);
    await(&bench.under_way, true);
    expect("status", "inactive", NULL);
    expect("pause", NULL, "cannot pause: the guest is being received (inactive)");
    atomic_store(&bench.outcome, TERN_OUTCOME_MIGRATED);
    atomic_store(&bench.proceed, true);
    await(&bench.runs, true);
    await(&bench.under_way, false);
    expect("verify", "active", NULL);
    expect("pause", "paused", NULL);
    expect("verify", "paused", "page 5 is not as it was written");
    quit(0);
}

Test(vm_process, a_failed_receive_ends_with_1, .timeout = 30)
{
    start(true);
    await(&bench.under_way, true);
    atomic_store(&bench.outcome, TERN_OUTCOME_FAILED);
    atomic_store(&bench.proceed, true);
    expect_end(1);
}

Test(vm_process, a_receive_can_be_cancelled, .timeout = 30)
{
    start(true);
    await(&bench.under_way, true);
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
    await(&bench.under_way, true);
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
    atomic_store(&bench.deaf, true);
    request = migrate("");
    await(&bench.under_way, true);
    kill(getpid(), SIGTERM);
    await(&bench.cancelled, true);
    atomic_store(&bench.outcome, TERN_OUTCOME_IN_DOUBT);
    atomic_store(&bench.proceed, true);
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
    await(&bench.under_way, true);
    cr_assert_eq(bench.options.downtime_limit_ns, 7000000);
    expect("pause", NULL, "cannot pause: the guest is being suspended (active)");
    expect("migrate", NULL, "cannot migrate: the guest is being suspended (active)");
    atomic_store(&bench.outcome, TERN_OUTCOME_SUSPENDED);
    atomic_store(&bench.proceed, true);
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
    await(&bench.under_way, true);
    request_close(&request);
    await(&bench.cancelled, true);
    await(&bench.under_way, false);
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
    await(&bench.under_way, true);
    expect("status", "active", NULL);
    expect("pause", "paused", NULL);
    expect("status", "paused", NULL);
    expect("cont", "active", NULL);
    expect("cancel", NULL, "nothing to cancel: no migration is under way, the guest is active");
    request = begin("verify", "{}");
    atomic_store(&bench.outcome, TERN_OUTCOME_RESUMED);
    expect("status", "active", NULL); /* so the verification waits by now */
    atomic_store(&bench.proceed, true);
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
    await(&bench.under_way, true);
    atomic_store(&bench.outcome, TERN_OUTCOME_FAILED);
    atomic_store(&bench.proceed, true);
    expect_end(1);
}

Test(vm_process, quitting_ends_a_resume, .timeout = 30)
{
    start_as(VM_PROCESS_RESUME);
    await(&bench.under_way, true);
    quit(0);
}
