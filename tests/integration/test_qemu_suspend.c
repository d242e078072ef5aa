/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest of a QEMU that nobody patched into an image and back into another QEMU: its memory byte for byte, the
 * command, a QEMU of another size, and tern killed (SIGKILL) at every step: an image is whole or not there. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/qemu_side.h"

enum step { IN_PRE_COPY, IN_PAUSE, AFTER_PAUSE, AFTER_SAVE, IN_COMMIT, AFTER_COMMIT, DONE };

static const char *const step_names[] = {"in pre-copy", "about to pause",   "paused", "saved",
                                         "in commit",   "after the commit", "done"};

struct bench {
    struct qemu_side a, b;
    char image[128];
    struct tern_vm of_vm; /* of the one that is being wrapped */
    enum step doom;
    bool compared;
    uint64_t differing_pages;
};

static struct bench bench; /* the wrapped callbacks' */

static void start(void)
{
    qemu_side_start(&bench.a, QEMU_WRITER);
    snprintf(bench.image, sizeof(bench.image), "%s/image", bench.a.qemu.folder);
}

/* ---- byte for byte ---- */

static int compare_and_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    const struct guest_ram *a = qemu_vm_ram(bench.a.vm), *b = qemu_vm_ram(bench.b.vm);

    bench.compared = true;
    for (uint32_t i = 0; i < a->n_regions; i++)
        for (uint64_t at = 0; at < a->regions[i].length_bytes; at += TERN_PAGE_BYTES)
            bench.differing_pages +=
                memcmp((char *)a->regions[i].base + at, (char *)b->regions[i].base + at, TERN_PAGE_BYTES) != 0;
    return bench.of_vm.load_state(opaque, buffer, length_bytes, error);
}

Test(qemu_suspend, a_busy_guest_there_and_back, .timeout = 90)
{
    struct tern_resume *session;
    uint32_t at;

    start();
    qemu_side_open(&bench.a, TERN_SIDE_SOURCE);
    cr_assert_eq(qemu_side_suspend(&bench.a, bench.image), 0, "%s", bench.a.error.message);
    qemu_side_expect(&bench.a, "postmigrate", "suspended");
    at = qemu_side_counter(&bench.a);
    qemu_side_start(&bench.b, NULL);
    qemu_side_open(&bench.b, TERN_SIDE_DESTINATION);
    bench.of_vm = bench.b.description;
    bench.b.description.load_state = compare_and_load;
    bench.b.options.eager = true;
    cr_assert_eq(tern_resume_create(&bench.b.description, bench.image, &bench.b.options, &session, &bench.b.error), 0,
                 "%s", bench.b.error.message);
    cr_assert_eq(tern_resume_run(session, &bench.b.result, &bench.b.error), 0, "%s", bench.b.error.message);
    tern_resume_destroy(session);
    cr_assert(bench.compared);
    cr_assert_eq(bench.differing_pages, 0, "%lu pages differ", bench.differing_pages);
    qemu_side_await_counter(&bench.b, at + 1000);
    cr_assert_eq(qemu_side_counter(&bench.a), at, "the suspended guest runs");
    qemu_side_close(&bench.b);
    qemu_side_expect_as_before(&bench.b, "resumed");
    qemu_side_end(&bench.b);
    qemu_side_end(&bench.a);
}

/* ---- the command ---- */

static void expect_status(struct qemu_side *side, const char *state)
{
    char text[64];

    snprintf(text, sizeof(text), "\"state\":\"%s\"", state);
    cr_assert_eq(qemu_side_tern(side, "status", "--json"), 0);
    cr_assert(qemu_side_said(side, "status", text), "not %s", state);
}

static void start_of_other_size(struct qemu_side *side)
{
    *side = (struct qemu_side){0};
    qemu_start(&side->qemu, "-machine q35,memory-backend=ram -m 48M -object "
                            "memory-backend-file,id=ram,size=48M,share=on,mem-path=@/ram "
                            "-qmp unix:@/tern,server=on,wait=off -incoming defer");
    snprintf(side->socket, sizeof(side->socket), "%s/tern", side->qemu.folder);
}

static void expect_refused(struct qemu_side *side, const char *command, const char *options, const char *text)
{
    cr_assert_eq(qemu_side_tern(side, command, options), 1, "%s was not refused", command);
    cr_assert(qemu_side_said(side, command, text), "tern %s did not say '%s'", command, text);
}

Test(qemu_suspend, the_command_suspends_and_resumes, .timeout = 120)
{
    char to[160], from[160];
    uint32_t at;

    start();
    snprintf(to, sizeof(to), "--to %s", bench.image);
    snprintf(from, sizeof(from), "--from %s", bench.image);
    cr_assert_eq(qemu_side_tern(&bench.a, "pause", ""), 0);
    expect_refused(&bench.a, "suspend", to, "cannot suspend: the guest does not run, QEMU says it is 'paused'");
    cr_assert_eq(qemu_side_tern(&bench.a, "cont", ""), 0);
    cr_assert_eq(qemu_side_tern(&bench.a, "suspend", to), 0);
    at = qemu_side_counter(&bench.a);
    qemu_side_expect_ended(&bench.a, "suspended");
    expect_status(&bench.a, "suspended");
    expect_refused(&bench.a, "cont", "", "the VM is suspended, in /");

    start_of_other_size(&bench.b);
    expect_refused(&bench.b, "resume", from, "64 MiB at 0, this VM has 'ram' of 48 MiB");
    qemu_side_expect(&bench.b, "inmigrate", "another size");
    qemu_end(&bench.b.qemu);

    qemu_side_start(&bench.b, NULL);
    cr_assert_eq(qemu_side_tern(&bench.b, "resume", from), 0);
    qemu_side_await_counter(&bench.b, at + 100);
    qemu_side_expect_as_before(&bench.b, "resumed");
    expect_status(&bench.b, "active");
    expect_refused(&bench.b, "resume", from, "does not wait for a migration");
    cr_assert_eq(qemu_side_tern(&bench.b, "suspend", to), 0); /* over the older image */
    qemu_side_expect_ended(&bench.b, "suspended again");
    qemu_side_end(&bench.b);
    unlink(bench.image);
    expect_status(&bench.a, "inactive"); /* its image is gone */
    qemu_side_end(&bench.a);
}

/* ---- killed ---- */

static void die_at(enum step step)
{
    if (bench.doom == step)
        raise(SIGKILL);
}

static void on_event(void *opaque, const struct tern_event *event)
{
    (void)opaque;
    if (event->kind == TERN_EVENT_ROUND)
        die_at(IN_PRE_COPY);
}

static int doomed_pause(void *opaque, struct tern_error *error)
{
    int r;

    die_at(IN_PAUSE);
    r = bench.of_vm.pause(opaque, error);
    die_at(AFTER_PAUSE);
    return r;
}

static int doomed_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes,
                       struct tern_error *error)
{
    int r = bench.of_vm.save_state(opaque, buffer, capacity_bytes, length_bytes, error);

    die_at(AFTER_SAVE);
    return r;
}

static int doomed_commit(void *opaque, struct tern_error *error)
{
    int r;

    die_at(IN_COMMIT);
    r = bench.of_vm.commit(opaque, error);
    die_at(AFTER_COMMIT);
    return r;
}

static void die_suspending(enum step step)
{
    struct qemu_side *side = &bench.a;
    pid_t pid = fork();
    int status;

    cr_assert_geq(pid, 0);
    if (pid) {
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s was not reached", step_names[step]);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench.doom = step;
    qemu_side_open(side, TERN_SIDE_SOURCE);
    bench.of_vm = side->description;
    side->options.on_event = on_event;
    side->description.pause = doomed_pause;
    side->description.save_state = doomed_save;
    side->description.commit = doomed_commit;
    qemu_side_suspend(side, bench.image);
    die_at(DONE);
    _exit(0);
}

Test(qemu_suspend, killed_before_the_commit_the_guest_runs_on, .timeout = 120)
{
    start();
    for (enum step step = IN_PRE_COPY; step <= IN_COMMIT; step++) {
        die_suspending(step);
        qemu_side_expect_as_before(&bench.a, step_names[step]);
        cr_assert(access(bench.image, F_OK), "%s: an image is there", step_names[step]);
    }
    qemu_side_open(&bench.a, TERN_SIDE_SOURCE);
    cr_assert_eq(qemu_side_suspend(&bench.a, bench.image), 0, "%s", bench.a.error.message);
    cr_assert_eq(tern_image_check(bench.image, &bench.a.error), 0, "%s", bench.a.error.message);
    qemu_side_end(&bench.a);
}

/* From there on nobody but the operator runs it here: there may be an image, and if there is one, it is whole. */
Test(qemu_suspend, killed_after_the_commit_the_guest_is_in_doubt, .timeout = 120)
{
    struct tern_error error = {0};

    start();
    die_suspending(AFTER_COMMIT);
    qemu_side_expect_doubt(&bench.a, true, "after the commit");
    qemu_side_expect(&bench.a, "postmigrate", "after the commit");
    cr_assert(access(bench.image, F_OK), "there is an image");
    cr_assert_eq(qemu_side_tern(&bench.a, "resolve", "--owner here"), 0);
    qemu_side_expect_as_before(&bench.a, "resolved");
    die_suspending(DONE);
    qemu_side_expect_doubt(&bench.a, true, "done");
    cr_assert_eq(tern_image_check(bench.image, &error), 0, "%s", error.message);
    cr_assert_eq(qemu_side_tern(&bench.a, "resolve", "--owner there"), 0);
    qemu_side_expect_ended(&bench.a, "resolved");
    qemu_side_end(&bench.a);
}
