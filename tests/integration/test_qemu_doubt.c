/* SPDX-License-Identifier: BSD-2-Clause */
/* A handover of a QEMU that is cut after the commit, at either side: tern's exit status is 3, QEMU set as before, the
 * guest paused and in doubt until 'tern resolve' names its owner. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/common/qemu_doomed.h"

/* Two at once: each seeks the other side, or waits for it, for a while. */
struct cut {
    struct doomed_bench bench;
    pid_t doomed, command;
};

/* The destination hears the commit and is gone. */
static void cut_at_destination(struct cut *cut)
{
    char options[96];

    doomed_start(&cut->bench, QEMU_WRITER);
    cut->doomed = doomed_spawn(&cut->bench.b, TERN_SIDE_DESTINATION, (struct moment){IN_RESUME, 0, "resume"}, SIGKILL);
    snprintf(options, sizeof(options), "--to 127.0.0.1:%u --transport tcp --downtime-limit 2s --json", doomed_port());
    cut->command = qemu_side_spawn(&cut->bench.a, "migrate", options);
    cr_assert_eq(waitpid(cut->doomed, NULL, 0), cut->doomed);
}

/* The source stands still when it may have committed. */
static void cut_at_source(struct cut *cut)
{
    char *at;

    doomed_start(&cut->bench, QEMU_WRITER);
    cut->command = qemu_side_spawn(&cut->bench.b, "receive", "--listen 127.0.0.1:0 --transport tcp");
    at = qemu_side_hear(&cut->bench.b, "receive", "waiting at 127.0.0.1:");
    cut->doomed = doomed_spawn(&cut->bench.a, TERN_SIDE_SOURCE, (struct moment){AFTER_COMMIT, 0, "commit"}, SIGSTOP);
    doomed_set_port((uint16_t)atoi(at));
    free(at);
}

static void ended_in_doubt(struct cut *cut, struct qemu_side *side, const char *command, const char *run_state)
{
    cr_assert_eq(qemu_side_wait(cut->command, command), 3, "tern %s", command);
    cr_assert(qemu_side_said(side, command, "the handover is in doubt"));
    if (!strcmp(command, "migrate"))
        cr_assert(qemu_side_said(side, command, "\"state\":\"paused\""));
    doomed_expect_doubt(side, run_state, command);
    cr_assert_eq(qemu_side_tern(side, "status", ""), 0);
    cr_assert(qemu_side_said(side, "status", "paused\nin doubt "));
    cr_assert_eq(qemu_side_tern(side, "status", "--json"), 0);
    cr_assert(qemu_side_said(side, "status", "\"in_doubt\":true"));
}

Test(qemu_doubt, cut_after_the_commit, .timeout = 120)
{
    struct cut destination = {0}, source = {0};

    cut_at_destination(&destination);
    cut_at_source(&source);
    ended_in_doubt(&source, &source.bench.b, "receive", "paused");
    ended_in_doubt(&destination, &destination.bench.a, "migrate", "postmigrate");

    kill(source.doomed, SIGKILL);
    cr_assert_eq(waitpid(source.doomed, NULL, 0), source.doomed);
    doomed_expect_doubt(&source.bench.a, "postmigrate", "killed in doubt");
    doomed_resolve(&source.bench.a, false, "source");
    doomed_resolve(&source.bench.b, true, "source");
    doomed_end(&source.bench);

    doomed_expect_doubt(&destination.bench.b, "paused", "destination");
    doomed_resolve(&destination.bench.b, false, "destination");
    doomed_resolve(&destination.bench.a, true, "destination");
    doomed_end(&destination.bench);
}
