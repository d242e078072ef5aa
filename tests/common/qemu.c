/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/common/qemu.h"

#include <criterion/criterion.h>
#include <dirent.h>
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

#include "transport/clock.h"

#define START_MS  20000
#define WORDS_MAX 128
#define TEXT_MAX  4096

static const char always[] = "qemu-system-x86_64 -accel %s -nodefaults -no-user-config -display none "
                             "-chardev socket,id=qmp0,path=@/qmp,server=on,wait=off -mon chardev=qmp0,mode=control ";

static void fill_in(const struct qemu *qemu, const char *text, char *out, size_t bytes)
{
    size_t n = 0;

    for (; *text; text++) {
        cr_assert_lt(n + sizeof(qemu->folder), bytes);
        if (*text == '@')
            n += (size_t)sprintf(out + n, "%s", qemu->folder);
        else
            out[n++] = *text;
    }
    out[n] = 0;
}

void qemu_folder(struct qemu *qemu)
{
    if (qemu->folder[0])
        return;
    snprintf(qemu->folder, sizeof(qemu->folder), "/dev/shm/tern_qemu_XXXXXX");
    cr_assert_not_null(mkdtemp(qemu->folder), "%s", strerror(errno));
}

static void child(const struct qemu *qemu, char *words, pid_t parent)
{
    char *list[WORDS_MAX + 1] = {0}, *rest = words, log[96];
    int n = 0, fd;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(log, sizeof(log), "%s/log", qemu->folder);
    fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (getppid() != parent || fd < 0)
        _exit(127);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    while (n < WORDS_MAX && (list[n] = strtok_r(NULL, " ", &rest)))
        n++;
    execvp(list[0], list);
    _exit(127);
}

static void show_log(const struct qemu *qemu, const char *why)
{
    char path[96], text[2048] = "";
    int fd;

    snprintf(path, sizeof(path), "%s/log", qemu->folder);
    fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
        text[0] = 0;
    cr_assert_fail("%s: %s", why, text);
}

void qemu_start(struct qemu *qemu, const char *words)
{
    uint64_t deadline_ns = clock_after_ms(START_MS);
    char text[TEXT_MAX], line[TEXT_MAX], path[96];
    const char *accelerator = getenv("TERN_TEST_ACCELERATOR");
    struct tern_error error = {0};
    pid_t parent = getpid();

    qemu_folder(qemu);
    snprintf(text, sizeof(text), always, accelerator ? accelerator : "tcg");
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", words);
    fill_in(qemu, text, line, sizeof(line));
    snprintf(path, sizeof(path), "%s/qmp", qemu->folder);
    qemu->pid = fork();
    cr_assert_geq(qemu->pid, 0);
    if (!qemu->pid)
        child(qemu, line, parent);
    while (qmp_connect(path, START_MS, &qemu->qmp, &error)) {
        if (waitpid(qemu->pid, NULL, WNOHANG) == qemu->pid)
            show_log(qemu, "QEMU has ended");
        if (!clock_left_ms(deadline_ns))
            show_log(qemu, error.message);
        poll(NULL, 0, 10);
    }
}

void qemu_end(struct qemu *qemu)
{
    DIR *folder = opendir(qemu->folder);
    struct dirent *entry;

    qmp_close(qemu->qmp);
    if (qemu->pid > 0) {
        kill(qemu->pid, SIGKILL);
        waitpid(qemu->pid, NULL, 0);
    }
    while (folder && (entry = readdir(folder)))
        unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(qemu->folder);
    *qemu = (struct qemu){0};
}

struct json_object *qemu_do(struct qemu *qemu, const char *command, const char *json)
{
    struct json_object *reply = NULL, *arguments = NULL;
    struct tern_error error = {0};
    char text[TEXT_MAX];

    if (json) {
        fill_in(qemu, json, text, sizeof(text));
        arguments = json_tokener_parse(text);
        cr_assert_not_null(arguments, "not JSON: %s", text);
    }
    cr_assert_eq(qmp_command(qemu->qmp, command, arguments, QMP_TIMEOUT_MS, &reply, &error), 0, "%s", error.message);
    return reply;
}

void qemu_read(struct qemu *qemu, uint64_t guest_address, void *buffer, size_t length)
{
    char json[256], path[96];
    size_t at = 0;
    int fd;

    snprintf(json, sizeof(json), "{\"val\": %lu, \"size\": %zu, \"filename\": \"@/pmem\"}", guest_address, length);
    json_object_put(qemu_do(qemu, "pmemsave", json));
    snprintf(path, sizeof(path), "%s/pmem", qemu->folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    for (ssize_t n; at < length && (n = read(fd, (char *)buffer + at, length - at)) > 0;)
        at += (size_t)n;
    close(fd);
    cr_assert_eq(at, length, "pmemsave gave %zu bytes of %zu", at, length);
    unlink(path);
}
