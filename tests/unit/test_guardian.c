/* SPDX-License-Identifier: BSD-2-Clause */
/* The guardian as a process: it acknowledges its duty or is known not to have it, holds nothing of tern's, goes when it
 * is not needed, and removes tern's socket when tern has vanished. What it does to a QEMU: tests/integration. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/common/control_socket.h"
#include "tools/qemu/guardian.h"
#include "transport/clock.h"

#define WAIT_MS 5000

static struct qemu_settings settings; /* none is enough here */

/* The one child that this process has. */
static pid_t find_child(void)
{
    char path[64];
    int pid = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    file = fopen(path, "r");
    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%d", &pid), 1);
    fclose(file);
    return pid;
}

static struct guardian *create(const char *path)
{
    struct tern_error error = {0};
    struct guardian *guardian;

    cr_assert_eq(guardian_create(path, &guardian, &error), 0, "%s", error.message);
    return guardian;
}

Test(guardian, takes_its_duty_and_goes_without, .timeout = 30)
{
    struct guardian *guardian = create("/nowhere/qmp");
    pid_t pid = find_child();

    cr_assert_eq(guardian_charge(guardian, GUARDIAN_GUEST, true, &settings, NULL), 0);
    cr_assert_eq(guardian_charge(guardian, GUARDIAN_SETTINGS, false, &settings, NULL), 0);
    cr_assert_eq(guardian_charge(guardian, GUARDIAN_NONE, false, NULL, NULL), 0);
    guardian_destroy(guardian);
    cr_assert_eq(kill(pid, 0), -1, "it is still there");
    guardian_destroy(NULL);
    cr_assert_eq(guardian_charge(NULL, GUARDIAN_GUEST, true, &settings, NULL), 0);
}

Test(guardian, left_with_a_duty_it_ends_where_qemu_has, .timeout = 30)
{
    struct guardian *guardian = create("/nowhere/qmp");
    pid_t pid = find_child();

    cr_assert_eq(guardian_charge(guardian, GUARDIAN_GUEST, true, &settings, NULL), 0);
    guardian_destroy(guardian);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* Who is gone runs no guest any more; but nobody is to begin without one. */
Test(guardian, one_that_was_killed_is_missed_only_at_the_beginning, .timeout = 30)
{
    struct guardian *guardian = create("/nowhere/qmp");
    struct tern_error error = {0};
    pid_t pid = find_child();

    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert_eq(guardian_charge(guardian, GUARDIAN_GUEST, true, &settings, &error), -EPIPE);
    cr_assert_not_null(strstr(error.message, "has ended"), "%s", error.message);
    cr_assert_eq(guardian_charge(guardian, GUARDIAN_SETTINGS, false, &settings, &error), 0);
    cr_assert_eq(guardian_charge(guardian, GUARDIAN_NONE, false, NULL, &error), 0);
    guardian_destroy(guardian);
}

Test(guardian, one_that_does_not_answer_has_no_duty_for_sure, .timeout = 30)
{
    struct guardian *guardian = create("/nowhere/qmp");
    struct tern_error error = {0};
    pid_t pid = find_child();

    cr_assert_eq(guardian_charge(guardian, GUARDIAN_GUEST, true, &settings, &error), 0);
    kill(pid, SIGSTOP);
    cr_assert_eq(guardian_charge(guardian, GUARDIAN_SETTINGS, false, &settings, &error), -ETIMEDOUT);
    cr_assert_not_null(strstr(error.message, "does not answer"), "%s", error.message);
    kill(pid, SIGCONT);
    cr_assert_eq(guardian_charge(guardian, GUARDIAN_NONE, false, NULL, &error), 0);
    guardian_destroy(guardian);
}

static bool in_time(const char *path, bool exists)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);

    while (clock_left_ms(deadline_ns) && !access(path, F_OK) != exists)
        poll(NULL, 0, 5);
    return !access(path, F_OK) == exists;
}

/* A tern that serves its socket and is killed. The pipe's end tells whether the guardian kept it open. */
static pid_t start_tern(const char *qmp, const char *control, int fd)
{
    pid_t pid = fork();

    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    {
        struct control_socket socket;
        struct guardian *guardian = NULL;

        if (control_socket_listen(control, &socket, NULL) || guardian_create(qmp, &guardian, NULL))
            _exit(1);
        if (write(fd, "", 1) == 1)
            pause();
        _exit(1);
    }
}

Test(guardian, removes_the_socket_of_a_tern_that_was_killed, .timeout = 30)
{
    char folder[] = "/tmp/tern_guardian_XXXXXX", qmp[64], control[72], byte;
    struct pollfd p;
    int ends[2];
    pid_t pid;

    cr_assert_not_null(mkdtemp(folder));
    snprintf(qmp, sizeof(qmp), "%s/qmp", folder);
    snprintf(control, sizeof(control), "%s" QEMU_CONTROL_SUFFIX, qmp);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid = start_tern(qmp, control, ends[1]);
    close(ends[1]);
    cr_assert_eq(read(ends[0], &byte, 1), 1);
    cr_assert(in_time(control, true));
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    p = (struct pollfd){.fd = ends[0], .events = POLLIN};
    cr_assert_eq(poll(&p, 1, WAIT_MS), 1);
    cr_assert_eq(read(ends[0], &byte, 1), 0, "the guardian holds tern's pipe");
    cr_assert(in_time(control, false), "%s is still there", control);
    close(ends[0]);
    rmdir(folder);
}
