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
#include <sys/socket.h>
#include <sys/un.h>
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

/* ---- whose socket it is ---- */

struct scene {
    char folder[64], qmp[80];
    int listener;
    pid_t qemu; /* a process that the guardian is told of */
};

static void set_up(struct scene *scene)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(scene->folder, "/tmp/tern_guardian_XXXXXX");
    cr_assert_not_null(mkdtemp(scene->folder));
    snprintf(scene->qmp, sizeof(scene->qmp), "%s/qmp", scene->folder);
    strcpy(address.sun_path, scene->qmp);
    scene->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(scene->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(scene->listener, 1), 0);
    scene->qemu = fork();
    cr_assert_geq(scene->qemu, 0);
    if (!scene->qemu) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
}

static void end_qemu(struct scene *scene)
{
    kill(scene->qemu, SIGKILL);
    waitpid(scene->qemu, NULL, 0);
}

static void tear_down(struct scene *scene)
{
    close(scene->listener);
    unlink(scene->qmp);
    rmdir(scene->folder);
}

/* A duty for the process; tern has gone then. */
static void leave_duty(const char *qmp, pid_t qemu, void (*before)(struct scene *scene), struct scene *scene)
{
    struct guardian *guardian = create(qmp);

    guardian_watch(guardian, qemu);
    cr_assert_eq(guardian_charge(guardian, GUARDIAN_GUEST, true, &settings, NULL), 0);
    if (before)
        before(scene);
    guardian_destroy(guardian);
}

/* All that is said, after the greeting and the negotiation. returns its length */
static ssize_t hear_more(int listener)
{
    static const char greeting[] = "{\"QMP\": {\"version\": {}}}\r\n", agreed[] = "{\"return\": {}, \"id\": 1}\r\n";
    int fd = accept(listener, NULL, NULL);
    char line[256];
    ssize_t n;

    cr_assert_eq(write(fd, greeting, strlen(greeting)), (ssize_t)strlen(greeting));
    for (size_t i = 0; i == 0 || line[i - 1] != '\n'; line[++i] = 0)
        cr_assert(i < sizeof(line) - 2 && read(fd, line + i, 1) == 1);
    cr_assert_not_null(strstr(line, "qmp_capabilities"), "%s", line);
    cr_assert_eq(write(fd, agreed, strlen(agreed)), (ssize_t)strlen(agreed));
    n = read(fd, line, sizeof(line));
    close(fd);
    return n;
}

Test(guardian, another_qemu_at_the_path_is_told_nothing, .timeout = 30)
{
    struct scene scene;

    set_up(&scene);
    leave_duty(scene.qmp, scene.qemu, NULL, NULL);
    cr_assert_leq(hear_more(scene.listener), 0, "it told a stranger");
    leave_duty(scene.qmp, getpid(), NULL, NULL);
    cr_assert_gt(hear_more(scene.listener), 0, "it did not tell whom it should");
    end_qemu(&scene);
    tear_down(&scene);
}

Test(guardian, for_a_qemu_that_has_ended_it_does_nothing, .timeout = 30)
{
    struct scene scene;
    struct pollfd p;

    set_up(&scene);
    leave_duty(scene.qmp, scene.qemu, end_qemu, &scene);
    cr_assert_gt(waitpid(-1, NULL, 0), 0); /* the guardian */
    p = (struct pollfd){.fd = scene.listener, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 0), 0, "it has spoken to its successor");
    tear_down(&scene);
}
