/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/common/qemu_side.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/qemu/doubt.h"
#include "tools/qemu/migration_status.h"
#include "transport/clock.h"

#define HEARTBEAT 0x180000
#define WAIT_MS   20000
#define LOOK_MS   5

static char *settings_of(struct qemu_side *side)
{
    struct json_object *capabilities = qemu_do(&side->qemu, "query-migrate-capabilities", NULL);
    struct json_object *parameters = qemu_do(&side->qemu, "query-migrate-parameters", NULL);
    char *text;

    cr_assert_geq(
        asprintf(&text, "%s %s", json_object_to_json_string(capabilities), json_object_to_json_string(parameters)), 0);
    json_object_put(capabilities);
    json_object_put(parameters);
    return text;
}

void qemu_side_start(struct qemu_side *side, const char *kernel)
{
    char words[1024];

    *side = (struct qemu_side){0};
    snprintf(words, sizeof(words),
             "-machine q35,memory-backend=ram -m 64M -object "
             "memory-backend-file,id=ram,size=64M,share=on,mem-path=@/ram -qmp unix:@/tern,server=on,wait=off %s %s",
             kernel ? "-kernel" : "-incoming defer", kernel ? kernel : "");
    qemu_start(&side->qemu, words);
    snprintf(side->socket, sizeof(side->socket), "%s/tern", side->qemu.folder);
    side->settings = settings_of(side);
    if (kernel)
        qemu_side_await_counter(side, 100);
}

void qemu_side_open(struct qemu_side *side, enum tern_side which)
{
    side->error = (struct tern_error){0};
    cr_assert_eq(qemu_vm_open(side->socket, which, false, &side->vm, &side->error), 0, "%s", side->error.message);
    side->description = *qemu_vm_describe(side->vm);
    side->result = (struct tern_result){.struct_bytes = sizeof(side->result)};
    tern_options_init(&side->options);
    side->options.host = "127.0.0.1";
    side->options.transport = TERN_TRANSPORT_TCP;
    side->options.downtime_limit_ns = 2 * NS_PER_S; /* tests judge no speed */
    if (which == TERN_SIDE_DESTINATION)
        side->options.port = UINT16_MAX;
}

void qemu_side_close(struct qemu_side *side)
{
    qemu_vm_close(side->vm);
    side->vm = NULL;
}

void qemu_side_end(struct qemu_side *side)
{
    qemu_side_close(side);
    free(side->settings);
    qemu_end(&side->qemu);
    *side = (struct qemu_side){0};
}

void qemu_side_expect(struct qemu_side *side, const char *run_state, const char *name)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);
    struct tern_error error = {0};
    char state[32] = "";

    while (strcmp(state, run_state)) {
        cr_assert(clock_left_ms(deadline_ns), "%s: the guest is '%s', not '%s'", name, state, run_state);
        cr_assert_eq(qemu_run_state(side->qemu.qmp, state, &error), 0, "%s: %s", name, error.message);
        poll(NULL, 0, LOOK_MS);
    }
}

void qemu_side_expect_doubt(struct qemu_side *side, bool doubt, const char *name)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);
    bool stands = !doubt;

    while (stands != doubt) {
        cr_assert(clock_left_ms(deadline_ns), "%s: %s doubt", name, doubt ? "no" : "in");
        cr_assert_eq(doubt_stands(side->qemu.qmp, "paused", &stands, NULL), 0);
        poll(NULL, 0, LOOK_MS);
    }
}

void qemu_side_expect_settings(struct qemu_side *side, const char *name)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);
    bool same = false;

    while (!same) {
        char *now = settings_of(side);

        same = !strcmp(now, side->settings);
        cr_assert(same || clock_left_ms(deadline_ns), "%s: the settings are %s, were %s", name, now, side->settings);
        free(now);
        poll(NULL, 0, LOOK_MS);
    }
}

void qemu_side_expect_ended(struct qemu_side *side, const char *name)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);

    while (waitpid(side->qemu.pid, NULL, WNOHANG) != side->qemu.pid) {
        cr_assert(clock_left_ms(deadline_ns), "%s: QEMU is still there", name);
        poll(NULL, 0, LOOK_MS);
    }
    side->qemu.pid = 0;
}

uint32_t qemu_side_counter(const struct qemu_side *side)
{
    char path[96];
    uint32_t value;
    int fd;

    snprintf(path, sizeof(path), "%s/ram", side->qemu.folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pread(fd, &value, sizeof(value), HEARTBEAT), sizeof(value));
    close(fd);
    return value;
}

void qemu_side_await_counter(const struct qemu_side *side, uint32_t at_least)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);

    while (qemu_side_counter(side) < at_least) {
        cr_assert(clock_left_ms(deadline_ns), "the guest does not write");
        poll(NULL, 0, LOOK_MS);
    }
}

int qemu_side_suspend(struct qemu_side *side, const char *image)
{
    struct tern_suspend *session;

    cr_assert_eq(tern_suspend_create(&side->description, image, &side->options, &session, &side->error), 0, "%s",
                 side->error.message);
    side->code = tern_suspend_run(session, &side->result, &side->error);
    tern_suspend_destroy(session);
    return side->code;
}

static bool file_has(pid_t pid, const char *file, const char *text)
{
    char path[64], line[512];
    bool found = false;
    FILE *stream;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    stream = fopen(path, "r");
    cr_assert_not_null(stream);
    while (fgets(line, sizeof(line), stream))
        found |= strstr(line, text) != NULL;
    fclose(stream);
    return found;
}

void qemu_side_expect_as_before(struct qemu_side *side, const char *name)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);
    uint32_t counter;

    qemu_side_expect(side, "running", name);
    qemu_side_expect_settings(side, name);
    qemu_side_expect_doubt(side, false, name);
    cr_assert(file_has(side->qemu.pid, "status", "TracerPid:\t0"), "%s: QEMU is traced", name);
    while (file_has(side->qemu.pid, "smaps", " uw ")) {
        cr_assert(clock_left_ms(deadline_ns), "%s: its memory is still write-protected", name);
        poll(NULL, 0, LOOK_MS);
    }
    counter = qemu_side_counter(side);
    while (qemu_side_counter(side) == counter) {
        cr_assert(clock_left_ms(deadline_ns), "%s: the guest stands still at %u", name, counter);
        poll(NULL, 0, LOOK_MS);
    }
}

/* This program is build/tests/NAME, the command build/bin/tern. */
static void find_tern(char *path, size_t bytes)
{
    ssize_t n = readlink("/proc/self/exe", path, bytes - 1);

    cr_assert_gt(n, 0);
    path[n] = 0;
    for (int i = 0; i < 2; i++)
        *strrchr(path, '/') = 0;
    cr_assert_lt(strlen(path) + sizeof("/bin/tern"), bytes);
    strcat(path, "/bin/tern");
}

pid_t qemu_side_spawn(const struct qemu_side *side, const char *command, const char *options)
{
    char path[512], words[512], output[96], *list[32] = {path, NULL}, *rest = words;
    pid_t parent = getpid(), pid;
    int n = 1, fd;

    find_tern(path, sizeof(path));
    snprintf(words, sizeof(words), "%s --qmp %s %s", command, side->socket, options);
    while (n < 31 && (list[n] = strtok_r(NULL, " ", &rest)))
        n++;
    snprintf(output, sizeof(output), "%s/%s", side->qemu.folder, command);
    unlink(output); /* an earlier one's */
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fd = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    if (fd >= 0 && getppid() == parent)
        execv(path, list);
    _exit(127);
}

int qemu_side_tern(const struct qemu_side *side, const char *command, const char *options)
{
    return qemu_side_wait(qemu_side_spawn(side, command, options), command);
}

int qemu_side_wait(pid_t pid, const char *name)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "%s: signal %d", name, WTERMSIG(status));
    return WEXITSTATUS(status);
}

static char *output_after(const struct qemu_side *side, const char *command, const char *text)
{
    char path[96], bytes[65536], *at;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", side->qemu.folder, command);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, bytes, sizeof(bytes) - 1);
    if (fd >= 0)
        close(fd);
    bytes[n > 0 ? n : 0] = 0;
    at = strstr(bytes, text);
    return at ? strdup(at + strlen(text)) : NULL;
}

bool qemu_side_said(const struct qemu_side *side, const char *command, const char *text)
{
    char *rest = output_after(side, command, text);

    free(rest);
    return rest != NULL;
}

char *qemu_side_hear(const struct qemu_side *side, const char *command, const char *text)
{
    uint64_t deadline_ns = clock_after_ms(WAIT_MS);
    char *rest;

    while (!(rest = output_after(side, command, text))) {
        cr_assert(clock_left_ms(deadline_ns), "tern %s never said '%s'", command, text);
        poll(NULL, 0, LOOK_MS);
    }
    return rest;
}
