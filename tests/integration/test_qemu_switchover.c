/* SPDX-License-Identifier: BSD-2-Clause */
/* QEMU's part of the switchover, with real QEMUs under TCG that nobody patched (SeaBIOS is the guest): it stops, hands
 * out its device state, goes on at the other side, or at its own if that fails; its settings are put back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/qemu/migration_status.h"
#include "tools/qemu/switchover.h"
#include "transport/clock.h"

#define STATE_BYTES (32u << 20)
#define START_MS    30000

struct machine {
    char folder[64], ram[96], socket[96];
    pid_t pid;
    struct qmp *qmp;
};

static void start(struct machine *machine, bool incoming, const char *extra_device)
{
    char memory[256], qmp[160];
    struct tern_error error = {0};
    uint64_t deadline_ns = clock_after_ms(START_MS);

    strcpy(machine->folder, "/dev/shm/tern-test-XXXXXX");
    cr_assert(mkdtemp(machine->folder));
    snprintf(machine->ram, sizeof(machine->ram), "%s/ram", machine->folder);
    snprintf(machine->socket, sizeof(machine->socket), "%s/qmp", machine->folder);
    snprintf(memory, sizeof(memory), "memory-backend-file,id=ram,size=64M,share=on,mem-path=%s", machine->ram);
    snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", machine->socket);
    machine->pid = fork();
    cr_assert_geq(machine->pid, 0);
    if (!machine->pid) {
        const char *arguments[32] = {
            "qemu-system-x86_64",     "-accel", "tcg", "-nodefaults", "-display", "none", "-machine",
            "q35,memory-backend=ram", "-m",     "64M", "-object",     memory,     "-qmp", qmp};
        int n = 14, null = open("/dev/null", O_RDWR);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        if (incoming) {
            arguments[n++] = "-incoming";
            arguments[n++] = "defer";
        }
        if (extra_device) {
            arguments[n++] = "-device";
            arguments[n++] = extra_device;
        }
        execvp(arguments[0], (char **)(uintptr_t)arguments);
        _exit(127);
    }
    while (qmp_connect(machine->socket, 5000, &machine->qmp, &error)) {
        cr_assert(clock_left_ms(deadline_ns), "%s", error.message);
        usleep(20000);
    }
}

static void end(struct machine *machine)
{
    qmp_close(machine->qmp);
    if (machine->pid > 0) {
        kill(machine->pid, SIGKILL);
        waitpid(machine->pid, NULL, 0);
    }
    unlink(machine->ram);
    unlink(machine->socket);
    rmdir(machine->folder);
}

static void expect_state(struct machine *machine, const char *wanted)
{
    struct tern_error error = {0};
    char state[32];

    cr_assert_eq(qemu_run_state(machine->qmp, state, &error), 0, "%s", error.message);
    cr_assert_str_eq(state, wanted);
}

static void copy_ram(const struct machine *from, const struct machine *to)
{
    static char bytes[1 << 20];
    int in = open(from->ram, O_RDONLY), out = open(to->ram, O_WRONLY);
    ssize_t n;

    while ((n = read(in, bytes, sizeof(bytes))) > 0)
        cr_assert_eq(write(out, bytes, (size_t)n), n);
    close(in);
    close(out);
}

/* What the settings are, as text. */
static char *settings_of(struct machine *machine)
{
    struct json_object *capabilities, *parameters;
    char *text;

    cr_assert_eq(qmp_command(machine->qmp, "query-migrate-capabilities", NULL, 5000, &capabilities, NULL), 0);
    cr_assert_eq(qmp_command(machine->qmp, "query-migrate-parameters", NULL, 5000, &parameters, NULL), 0);
    cr_assert_geq(
        asprintf(&text, "%s %s", json_object_to_json_string(capabilities), json_object_to_json_string(parameters)), 0);
    json_object_put(capabilities);
    json_object_put(parameters);
    return text;
}

static struct qemu_source *source_of(struct machine *machine)
{
    struct qemu_source *source;
    struct tern_error error = {0};

    cr_assert_eq(qemu_source_create(machine->qmp, NULL, STATE_BYTES, &source, &error), 0, "%s", error.message);
    return source;
}

Test(qemu_switchover, guest_goes_on_at_the_destination, .timeout = 90)
{
    struct machine a = {0}, b = {0};
    struct qemu_destination *destination;
    struct qemu_source *source;
    struct tern_error error = {0};
    uint8_t *state = malloc(STATE_BYTES);
    struct announce announce;
    size_t length;
    char *before, *after;

    announce_read(&announce, NULL);
    start(&a, false, NULL);
    start(&b, true, NULL);
    before = settings_of(&a);
    source = source_of(&a);
    cr_assert_eq(qemu_destination_create(b.qmp, NULL, &destination, &error), 0, "%s", error.message);
    expect_state(&a, "running");
    cr_assert_eq(qemu_source_pause(source, &error), 0, "%s", error.message);
    expect_state(&a, "finish-migrate");
    copy_ram(&a, &b);
    cr_assert_eq(qemu_source_save(source, state, STATE_BYTES, &length, &error), 0, "%s", error.message);
    expect_state(&a, "postmigrate");
    cr_assert_gt(length, 1000);
    cr_assert_eq(qemu_destination_load(destination, state, length, &error), 0, "%s", error.message);
    expect_state(&b, "paused");
    cr_assert_eq(qemu_destination_resume(destination, &announce, &error), 0, "%s", error.message);
    expect_state(&b, "running");
    expect_state(&a, "postmigrate");
    qemu_source_destroy(source);
    qemu_destination_destroy(destination);
    expect_state(&a, "postmigrate");
    after = settings_of(&a);
    cr_assert_str_eq(before, after, "QEMU's settings were not put back");
    free(before);
    free(after);
    free(state);
    end(&a);
    end(&b);
}

Test(qemu_switchover, guest_goes_on_at_the_source_from_every_step, .timeout = 90)
{
    struct machine a = {0};
    struct tern_error error = {0};
    uint8_t *state = malloc(STATE_BYTES);
    size_t length;
    char *before, *after;

    start(&a, false, "VGA");
    before = settings_of(&a);
    for (int turn = 0; turn < 3; turn++) {
        struct qemu_source *source = source_of(&a);

        cr_assert_eq(qemu_source_pause(source, &error), 0, "%s", error.message);
        if (turn == 1)
            cr_assert_eq(qemu_source_save(source, state, STATE_BYTES, &length, &error), 0, "%s", error.message);
        if (turn == 2)
            cr_assert_eq(qemu_source_save(source, state, 100, &length, &error), -ENOSPC, "too large is said");
        cr_assert_eq(qemu_source_resume(source, &error), 0, "%s", error.message);
        expect_state(&a, "running");
        qemu_source_destroy(source);
        expect_state(&a, "running");
    }
    qemu_source_destroy(source_of(&a));
    after = settings_of(&a);
    cr_assert_str_eq(before, after, "QEMU's settings were not put back");
    free(before);
    free(after);
    free(state);
    end(&a);
}

Test(qemu_switchover, a_forgotten_pause_is_undone, .timeout = 90)
{
    struct machine a = {0};
    struct qemu_source *source;

    start(&a, false, NULL);
    source = source_of(&a);
    cr_assert_eq(qemu_source_pause(source, NULL), 0);
    qemu_source_destroy(source);
    expect_state(&a, "running");
    end(&a);
}

Test(qemu_switchover, other_devices_are_refused, .timeout = 90)
{
    struct machine a = {0}, b = {0};
    struct qemu_destination *destination;
    struct qemu_source *source;
    struct tern_error error = {0};
    uint8_t *state = malloc(STATE_BYTES);
    size_t length;

    start(&a, false, "virtio-rng-pci");
    start(&b, true, NULL);
    source = source_of(&a);
    cr_assert_eq(qemu_destination_create(b.qmp, NULL, &destination, &error), 0, "%s", error.message);
    cr_assert_eq(qemu_source_pause(source, &error), 0, "%s", error.message);
    copy_ram(&a, &b);
    cr_assert_eq(qemu_source_save(source, state, STATE_BYTES, &length, &error), 0, "%s", error.message);
    cr_assert_neq(qemu_destination_load(destination, state, length, &error), 0);
    cr_assert_gt(strlen(error.message), 0);
    cr_assert_eq(qemu_source_resume(source, &error), 0, "%s", error.message);
    expect_state(&a, "running");
    qemu_destination_destroy(destination);
    qemu_source_destroy(source);
    free(state);
    end(&a);
    end(&b);
}

Test(qemu_switchover, who_is_no_destination_is_told, .timeout = 90)
{
    struct machine a = {0};
    struct qemu_destination *destination;
    struct tern_error error = {0};

    start(&a, false, NULL);
    cr_assert_eq(qemu_destination_create(a.qmp, NULL, &destination, &error), -EBUSY);
    cr_assert(strstr(error.message, "running"), "%s", error.message);
    cr_assert(strstr(error.hint, "-incoming defer"), "%s", error.hint);
    end(&a);
}
