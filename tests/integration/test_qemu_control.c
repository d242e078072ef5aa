/* SPDX-License-Identifier: BSD-2-Clause */
/* The command at two QEMUs that nobody patched: asked, cancelled and killed (SIGKILL) in every phase. After each the
 * guest runs on, QEMU is set as before, no socket of tern's is left, and the next migration succeeds. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/qemu_side.h"
#include "transport/clock.h"

#define WAIT_MS     20000
#define GUEST_PAGES 8192 /* the guest writes one after the other */

enum act { KILL_SOURCE, KILL_DESTINATION, CANCEL_SOURCE, CANCEL_DESTINATION };

struct bench {
    struct qemu_side a, b; /* a has the guest, b waits */
    pid_t receiver, migrator;
    char to[64];
};

/* Once the guest has written all that it writes, its first round over a slow link takes seconds. */
static void start(struct bench *bench)
{
    *bench = (struct bench){0};
    qemu_side_start(&bench->a, QEMU_WRITER);
    qemu_side_start(&bench->b, NULL);
    qemu_side_await_counter(&bench->a, GUEST_PAGES);
}

static void end(struct bench *bench)
{
    qemu_side_end(&bench->a);
    qemu_side_end(&bench->b);
}

static void receive(struct bench *bench)
{
    char *rest;

    bench->receiver = qemu_side_spawn(&bench->b, "receive", "--listen 127.0.0.1:0 --transport tcp");
    rest = qemu_side_hear(&bench->b, "receive", "waiting at ");
    snprintf(bench->to, sizeof(bench->to), "%.*s", (int)strcspn(rest, " \n"), rest);
    free(rest);
}

static void migrate(struct bench *bench, const char *more)
{
    char options[256];

    snprintf(options, sizeof(options), "--to %s --transport tcp --json %s", bench->to, more);
    bench->migrator = qemu_side_spawn(&bench->a, "migrate", options);
}

static void hear_phase(const struct bench *bench, const char *phase)
{
    char text[96];

    snprintf(text, sizeof(text), "\"event\":\"phase\",\"side\":\"source\",\"phase\":\"%s\"", phase);
    free(qemu_side_hear(&bench->a, "migrate", text));
}

static void expect_no_socket(const struct qemu_side *side, const char *name)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);
    char path[128];

    snprintf(path, sizeof(path), "%s.tern", side->socket);
    while (!access(path, F_OK)) {
        cr_assert(clock_left_ms(deadline_ns), "%s: %s is still there", name, path);
        poll(NULL, 0, 5);
    }
}

/* ---- hold it in a phase: by what stands still, or by a link that is slow for what the guest writes ---- */

static void hold(struct bench *bench, const char *phase)
{
    bool initiate = !strcmp(phase, "initiate"), commit = !strcmp(phase, "commit");

    receive(bench);
    if (initiate)
        kill(bench->receiver, SIGSTOP);
    migrate(bench, !strcmp(phase, "pre-copy") ? "--bandwidth 50Mb/s" : "--bandwidth 100Mb/s --deadline 1s");
    if (commit) {
        hear_phase(bench, "stop-and-copy");
        kill(bench->b.qemu.pid, SIGSTOP); /* it does not load */
    }
    hear_phase(bench, phase);
}

static void release(struct bench *bench)
{
    kill(bench->receiver, SIGCONT);
    kill(bench->b.qemu.pid, SIGCONT);
}

static void expect_failed(pid_t pid, bool killed, const char *name)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (killed)
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: %x", name, status);
    else
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%s: %x", name, status);
}

/* What has begun to load a guest can take no other. */
static void renew(struct bench *bench, const char *phase, enum act act, const char *name)
{
    if (strcmp(phase, "commit")) {
        qemu_side_expect(&bench->b, "inmigrate", name);
        qemu_side_expect_settings(&bench->b, name);
        return;
    }
    if (act != KILL_DESTINATION)
        qemu_side_expect_ended(&bench->b, name);
    qemu_side_end(&bench->b);
    qemu_side_start(&bench->b, NULL);
}

static void next_one_succeeds(struct bench *bench, const char *name)
{
    receive(bench);
    migrate(bench, "--verify");
    cr_assert_eq(qemu_side_wait(bench->migrator, name), 0, "%s", name);
    cr_assert_eq(qemu_side_wait(bench->receiver, name), 0, "%s", name);
    qemu_side_expect_as_before(&bench->b, name);
    qemu_side_expect_ended(&bench->a, name);
    expect_no_socket(&bench->a, name);
    expect_no_socket(&bench->b, name);
    qemu_side_end(&bench->a);
    bench->a = bench->b;
    qemu_side_start(&bench->b, NULL);
}

static void interrupted(struct bench *bench, const char *phase, enum act act)
{
    static const char *const acts[] = {"source killed", "destination killed", "cancelled", "cancelled at destination"};
    char name[64];

    snprintf(name, sizeof(name), "%s in %s", acts[act], phase);
    hold(bench, phase);
    if (act == KILL_SOURCE || act == KILL_DESTINATION)
        kill(act == KILL_SOURCE ? bench->migrator : bench->receiver, SIGKILL);
    else
        cr_assert_eq(qemu_side_tern(act == CANCEL_SOURCE ? &bench->a : &bench->b, "cancel", ""), 0, "%s", name);
    expect_failed(bench->migrator, act == KILL_SOURCE, name);
    qemu_side_expect_as_before(&bench->a, name); /* whatever becomes of the other side */
    expect_no_socket(&bench->a, name);
    release(bench);
    if (!strcmp(phase, "initiate") && act != KILL_DESTINATION) /* it waits for another source */
        cr_assert_eq(qemu_side_tern(&bench->b, "cancel", ""), 0, "%s", name);
    expect_failed(bench->receiver, act == KILL_DESTINATION, name);
    expect_no_socket(&bench->b, name);
    renew(bench, phase, act, name);
    next_one_succeeds(bench, name);
}

Test(qemu_control, source_killed_in_every_phase, .timeout = 90)
{
    struct bench bench;

    start(&bench);
    interrupted(&bench, "initiate", KILL_SOURCE);
    interrupted(&bench, "pre-copy", KILL_SOURCE);
    interrupted(&bench, "stop-and-copy", KILL_SOURCE);
    interrupted(&bench, "commit", KILL_SOURCE);
    end(&bench);
}

Test(qemu_control, destination_killed_in_every_phase, .timeout = 90)
{
    struct bench bench;

    start(&bench);
    interrupted(&bench, "initiate", KILL_DESTINATION);
    interrupted(&bench, "pre-copy", KILL_DESTINATION);
    interrupted(&bench, "stop-and-copy", KILL_DESTINATION);
    interrupted(&bench, "commit", KILL_DESTINATION);
    end(&bench);
}

Test(qemu_control, cancelled_in_every_phase, .timeout = 90)
{
    struct bench bench;

    start(&bench);
    interrupted(&bench, "initiate", CANCEL_SOURCE);
    interrupted(&bench, "pre-copy", CANCEL_SOURCE);
    interrupted(&bench, "pre-copy", CANCEL_DESTINATION);
    interrupted(&bench, "stop-and-copy", CANCEL_SOURCE);
    interrupted(&bench, "stop-and-copy", CANCEL_DESTINATION);
    interrupted(&bench, "commit", CANCEL_SOURCE);
    end(&bench);
}

/* ---- what it answers ---- */

static void says(const struct qemu_side *side, int status, const char *command, const char *options, const char *text)
{
    cr_assert_eq(qemu_side_tern(side, command, options), status, "tern %s %s", command, options);
    cr_assert(qemu_side_said(side, command, text), "tern %s %s: no '%s'", command, options, text);
}

Test(qemu_control, a_migration_is_seen_and_not_disturbed, .timeout = 90)
{
    struct bench bench;

    start(&bench);
    receive(&bench);
    says(&bench.b, 0, "status", "", "inactive\nwaiting      for a source to connect");
    migrate(&bench, "--bandwidth 50Mb/s");
    hear_phase(&bench, "pre-copy");
    free(qemu_side_hear(&bench.a, "migrate", "\"event\":\"progress\""));
    says(&bench.a, 0, "status", "", "active\nmigration    pre-copy, round 1, ");
    says(&bench.a, 0, "status", "--json", "\"predicted_downtime_ms\":");
    says(&bench.b, 0, "status", "", "inactive\nmigration    pre-copy");
    says(&bench.a, 1, "pause", "", "cannot pause: the guest is being migrated (active)");
    says(&bench.a, 1, "cont", "", "cannot continue: the guest is being migrated (active)");
    says(&bench.a, 1, "resolve", "--owner here", "cannot resolve: the guest is being migrated");
    says(&bench.b, 1, "resolve", "--owner there", "cannot resolve: the guest is being received (inactive)");
    says(&bench.a, 1, "receive", "--listen 127.0.0.1:0", "a tern process is migrating the QEMU at ");
    says(&bench.b, 1, "receive", "--listen 127.0.0.1:0", "already; 'tern status --qmp' shows how it goes");
    says(&bench.a, 0, "cancel", "", "cancelled; the guest stays at the source");
    expect_failed(bench.migrator, false, "cancelled");
    expect_failed(bench.receiver, false, "cancelled");
    qemu_side_expect_as_before(&bench.a, "cancelled");
    end(&bench);
}

Test(qemu_control, a_paused_guest_goes_on_but_not_away, .timeout = 90)
{
    struct bench bench;

    start(&bench);
    says(&bench.a, 1, "cont", "", "cannot continue: the guest is active");
    says(&bench.a, 0, "pause", "", "paused");
    says(&bench.a, 1, "pause", "", "cannot pause: the guest is paused (QEMU says 'paused')");
    says(&bench.a, 0, "status", "", "paused\nqemu         paused");
    says(&bench.a, 1, "migrate", "--to 127.0.0.1:1", "cannot migrate: the guest does not run");
    qemu_side_expect(&bench.a, "paused", "not migrated");
    says(&bench.a, 0, "cont", "", "active");
    says(&bench.b, 1, "pause", "", "cannot pause: the guest is inactive");
    says(&bench.b, 1, "cont", "", "it waits for a guest to arrive");
    says(&bench.a, 1, "cancel", "", "nothing to cancel: no tern process is migrating");
    says(&bench.a, 1, "resolve", "--owner there", "nothing to resolve: no handover is in doubt, the guest is active");
    qemu_side_expect_as_before(&bench.a, "resolved nothing");
    end(&bench);
}

Test(qemu_control, a_guest_that_has_left_is_not_run_again, .timeout = 90)
{
    struct bench bench;

    start(&bench);
    receive(&bench);
    migrate(&bench, "--keep-source");
    cr_assert_eq(qemu_side_wait(bench.migrator, "kept"), 0);
    cr_assert_eq(qemu_side_wait(bench.receiver, "kept"), 0);
    says(&bench.a, 0, "status", "", "inactive\nqemu         postmigrate");
    says(&bench.a, 1, "cont", "", "the guest has been migrated to another QEMU");
    says(&bench.a, 1, "resolve", "--owner here", "nothing to resolve");
    qemu_side_expect(&bench.a, "postmigrate", "kept");
    qemu_side_expect_settings(&bench.a, "kept");
    qemu_side_expect_as_before(&bench.b, "kept");
    end(&bench);
}

/* A page that is zero at the source is not sent: it has to be zero at the destination already. */
Test(qemu_control, what_an_earlier_source_left_is_cleared, .timeout = 90)
{
    static const uint64_t address = 0x3000000; /* the guest never writes there */
    struct bench bench;
    uint32_t word = 0xdeadbeef;
    char path[96];
    FILE *ram;

    start(&bench);
    snprintf(path, sizeof(path), "%s/ram", bench.b.qemu.folder);
    ram = fopen(path, "r+");
    cr_assert_not_null(ram);
    cr_assert_eq(fseek(ram, (long)address, SEEK_SET), 0);
    cr_assert_eq(fwrite(&word, sizeof(word), 1, ram), 1);
    fclose(ram);
    receive(&bench);
    migrate(&bench, "");
    cr_assert_eq(qemu_side_wait(bench.migrator, "left"), 0);
    cr_assert_eq(qemu_side_wait(bench.receiver, "left"), 0);
    qemu_read(&bench.b.qemu, address, &word, sizeof(word));
    cr_assert_eq(word, 0);
    end(&bench);
}
