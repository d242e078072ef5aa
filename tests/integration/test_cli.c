/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line over the real engine: two VM processes (with a guest that needs no KVM) and tern as their client,
 * each a process of its own, judged by output and exit status as a script would. */
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

#include "perf/process_guest.h"
#include "tools/common/report.h"
#include "tools/tern/vm_process.h"
#include "transport/clock.h"

#define PATIENCE_MS  20000
#define OUTPUT_BYTES 65536

struct scene {
    char folder[64];
    char source_path[80], destination_path[80];
    pid_t source, destination;
    char to[64];
};

struct outcome {
    int status; /* exit status, or 128 + signal */
    char out[OUTPUT_BYTES];
    char err[OUTPUT_BYTES];
};

/* ---- a VM process around a process_guest ---- */

struct vm {
    struct process_guest *guest;
    struct tern_vm description;
};

static bool vm_runs(void *guest)
{
    return process_guest_runs(((struct vm *)guest)->guest);
}

static int vm_pause(void *guest, struct tern_error *error)
{
    struct vm *vm = guest;

    return vm->description.pause(vm->description.opaque, error);
}

static int vm_resume(void *guest, struct tern_error *error)
{
    struct vm *vm = guest;

    return vm->description.resume(vm->description.opaque, error);
}

static const struct tern_vm *vm_describe(void *guest)
{
    return &((struct vm *)guest)->description;
}

static void vm_status(void *guest, struct json_object *into)
{
    json_object_object_add(into, "steps", json_object_new_uint64(process_guest_steps(((struct vm *)guest)->guest)));
}

static int vm_verify(void *guest, struct json_object *into, struct tern_error *error)
{
    (void)guest;
    (void)into;
    (void)error;
    return 0;
}

static const struct guest_ops vm_ops = {vm_runs, vm_pause, vm_resume, vm_describe, vm_status, vm_verify};

static int vm_main(const char *control, uint64_t memory_bytes, uint64_t dirty_pages_ps, bool receive)
{
    struct process_guest_config config = {.memory_bytes = memory_bytes,
                                          .page_bytes = 4096,
                                          .random_bytes = memory_bytes / 2,
                                          .working_set_bytes = memory_bytes / 4,
                                          .dirty_pages_ps = dirty_pages_ps,
                                          .seed = 7};
    struct cli_values values;
    struct vm_process *process;
    struct tern_error error = {0};
    struct vm vm;
    int status;

    cli_values_init(&values);
    values.control = control;
    values.memory_bytes = memory_bytes;
    host_port_parse("127.0.0.1:0", true, &values.listen, NULL);
    if (vm_process_create(&values, &engine_libtern, &process, &error) ||
        process_guest_create(&config, !receive, &vm.guest, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 99;
    }
    process_guest_describe(vm.guest, &vm.description);
    if (!receive)
        process_guest_start(vm.guest);
    vm_process_set_guest(process, &vm_ops, &vm, "process guest");
    status = vm_process_run(process, receive);
    process_guest_destroy(vm.guest);
    vm_process_destroy(process);
    return status;
}

/* ---- processes ---- */

static void redirect(const char *folder, const char *name, int fd)
{
    char path[128];
    int file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(file, fd);
    close(file);
}

static pid_t begin(const struct scene *scene, const char *name)
{
    char out[32], err[32];
    pid_t pid = fork();

    cr_assert_geq(pid, 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(out, sizeof(out), "%s.out", name);
    snprintf(err, sizeof(err), "%s.err", name);
    redirect(scene->folder, out, STDOUT_FILENO);
    redirect(scene->folder, err, STDERR_FILENO);
    return 0;
}

static void leave(int status)
{
    fflush(NULL);
    _exit(status);
}

static void read_file(const struct scene *scene, const char *name, const char *stream, char text[OUTPUT_BYTES])
{
    char path[128];
    FILE *file;
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/%s.%s", scene->folder, name, stream);
    file = fopen(path, "r");
    if (file) {
        n = fread(text, 1, OUTPUT_BYTES - 1, file);
        fclose(file);
    }
    text[n] = '\0';
}

static int await_exit(pid_t pid)
{
    uint64_t deadline_ns = clock_after_ms(PATIENCE_MS);
    int status;

    while (!waitpid(pid, &status, WNOHANG)) {
        cr_assert(clock_left_ms(deadline_ns), "process %d does not end", pid);
        poll(NULL, 0, 5);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define TERN(scene, name, ...) begin_tern(scene, name, (char *[]){"tern", __VA_ARGS__, NULL})

static pid_t begin_tern(const struct scene *scene, const char *name, char **argv)
{
    pid_t pid = begin(scene, name);
    int argc = 0;

    if (pid)
        return pid;
    while (argv[argc])
        argc++;
    leave(cli_run(argc, argv));
    return 0;
}

static void end_tern(const struct scene *scene, const char *name, pid_t pid, struct outcome *out)
{
    out->status = await_exit(pid);
    read_file(scene, name, "out", out->out);
    read_file(scene, name, "err", out->err);
}

/* Until the file that a process writes its output to has this text; what follows it, up to a space, is copied. */
static void await_text(const struct scene *scene, const char *name, const char *stream, const char *text, char *rest,
                       size_t rest_bytes)
{
    static char content[OUTPUT_BYTES];
    uint64_t deadline_ns = clock_after_ms(PATIENCE_MS);
    const char *at;

    for (;;) {
        read_file(scene, name, stream, content);
        at = strstr(content, text);
        if (at && strchr(at, '\n'))
            break;
        cr_assert(clock_left_ms(deadline_ns), "%s did not say '%s' but: %s", name, text, content);
        poll(NULL, 0, 5);
    }
    if (rest) {
        at += strlen(text);
        snprintf(rest, rest_bytes, "%.*s", (int)strcspn(at, " \n"), at);
    }
}

/* ---- scenes ---- */

static struct json_object *ask_status(const struct scene *scene, const char *path)
{
    static struct outcome outcome;
    struct json_object *done;

    end_tern(scene, "status", TERN(scene, "status", "status", "--vm", (char *)path, "--json"), &outcome);
    cr_assert_eq(outcome.status, 0, "%s", outcome.out);
    done = json_tokener_parse(outcome.out);
    cr_assert_not_null(done, "%s", outcome.out);
    return done;
}

static void expect_state(const struct scene *scene, const char *path, const char *state)
{
    struct json_object *done = ask_status(scene, path);

    cr_assert_str_eq(json_member_text(done, "state"), state);
    json_object_put(done);
}

static uint64_t ask_steps(const struct scene *scene, const char *path)
{
    struct json_object *done = ask_status(scene, path), *guest;
    uint64_t steps;

    cr_assert(json_object_object_get_ex(done, "guest", &guest));
    steps = json_member_number(guest, "steps");
    json_object_put(done);
    return steps;
}

static void expect_guest_goes_on(const struct scene *scene, const char *path, uint64_t from)
{
    uint64_t deadline_ns = clock_after_ms(PATIENCE_MS);

    while (ask_steps(scene, path) <= from)
        cr_assert(clock_left_ms(deadline_ns), "the guest does not go on");
}

static void open_scene(struct scene *scene, uint64_t source_bytes, uint64_t destination_bytes, uint64_t dirty_pages_ps)
{
    *scene = (struct scene){0};
    strcpy(scene->folder, "/tmp/tern-test.XXXXXX");
    cr_assert_not_null(mkdtemp(scene->folder));
    snprintf(scene->source_path, sizeof(scene->source_path), "%s/a", scene->folder);
    snprintf(scene->destination_path, sizeof(scene->destination_path), "%s/b", scene->folder);
    scene->source = begin(scene, "source");
    if (!scene->source)
        leave(vm_main(scene->source_path, source_bytes, dirty_pages_ps, false));
    scene->destination = begin(scene, "destination");
    if (!scene->destination)
        leave(vm_main(scene->destination_path, destination_bytes, dirty_pages_ps, true));
    await_text(scene, "destination", "out", "waiting at ", scene->to, sizeof(scene->to));
    while (access(scene->source_path, F_OK))
        poll(NULL, 0, 5);
}

static void close_scene(struct scene *scene, int source_status, int destination_status)
{
    char command[128];

    if (source_status >= 0)
        cr_assert_eq(await_exit(scene->source), source_status);
    if (destination_status >= 0)
        cr_assert_eq(await_exit(scene->destination), destination_status);
    snprintf(command, sizeof(command), "rm -r %s", scene->folder);
    cr_assert_eq(system(command), 0);
}

static void quit(const struct scene *scene, const char *path)
{
    static struct outcome outcome;

    end_tern(scene, "quit", TERN(scene, "quit", "quit", "--vm", (char *)path), &outcome);
    cr_assert_eq(outcome.status, 0, "%s", outcome.err);
    cr_assert_eq(access(path, F_OK), -1);
}

#define MIB (1ull << 20)

/* ---- tests ---- */

static double sum_of(struct json_object *downtime)
{
    double sum = 0;

    json_object_object_foreach(downtime, name, value)
    {
        (void)name;
        sum += json_object_get_double(value);
    }
    return sum;
}

/* Each line an object with an event; the last one done, which is returned. */
static struct json_object *last_of(char *lines, unsigned *n_events)
{
    struct json_object *event = NULL;

    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
        cr_assert(!event || strcmp(json_member_text(event, "event"), "done"), "something follows done: %s", line);
        json_object_put(event);
        event = json_tokener_parse(line);
        cr_assert(event && *json_member_text(event, "event"), "not an event: %s", line);
        (*n_events)++;
    }
    cr_assert_not_null(event);
    cr_assert_str_eq(json_member_text(event, "event"), "done");
    return event;
}

Test(cli, migrates_and_reports_in_json, .timeout = 90)
{
    static struct outcome outcome;
    struct json_object *done, *downtime;
    struct scene scene;
    unsigned n_events = 0;
    uint64_t steps;

    open_scene(&scene, 64 * MIB, 64 * MIB, 2000);
    expect_state(&scene, scene.source_path, "active");
    expect_state(&scene, scene.destination_path, "inactive");
    steps = ask_steps(&scene, scene.source_path);
    end_tern(&scene, "migrate",
             TERN(&scene, "migrate", "migrate", "--vm", scene.source_path, "--to", scene.to, "--transport", "tcp",
                  "--verify", "--json"),
             &outcome);
    cr_assert_eq(outcome.status, 0, "%s%s", outcome.out, outcome.err);
    cr_assert_str_empty(outcome.err);
    done = last_of(outcome.out, &n_events);
    cr_assert_geq(n_events, 4);
    cr_assert(json_member_flag(done, "ok") && json_member_flag(done, "verified"));
    cr_assert_str_eq(json_member_text(done, "transport"), "tcp");
    cr_assert_eq(json_member_number(done, "memory_bytes"), 64 * MIB);
    cr_assert(json_object_object_get_ex(done, "downtime", &downtime));
    cr_assert_float_eq(sum_of(downtime), json_member_double(done, "downtime_ms"), 0.0005);
    json_object_put(done);
    expect_state(&scene, scene.source_path, "inactive");
    expect_state(&scene, scene.destination_path, "active");
    expect_guest_goes_on(&scene, scene.destination_path, steps);
    expect_guest_goes_on(&scene, scene.destination_path, ask_steps(&scene, scene.destination_path));
    await_text(&scene, "source", "out", "migrated to 127.0.0.1:", NULL, 0);
    quit(&scene, scene.destination_path);
    close_scene(&scene, 0, 0);
}

Test(cli, tells_people_what_happened, .timeout = 90)
{
    static struct outcome outcome;
    char expected[128];
    struct scene scene;

    open_scene(&scene, 64 * MIB, 64 * MIB, 1000);
    end_tern(&scene, "migrate",
             TERN(&scene, "migrate", "migrate", "--vm", scene.source_path, "--to", scene.to, "--transport", "tcp"),
             &outcome);
    cr_assert_eq(outcome.status, 0, "%s%s", outcome.out, outcome.err);
    snprintf(expected, sizeof(expected), "migrated to %s\n", scene.to);
    cr_assert_eq(strncmp(outcome.out, expected, strlen(expected)), 0, "%s", outcome.out);
    cr_assert_not_null(strstr(outcome.out, "\n  downtime "));
    cr_assert_not_null(strstr(outcome.err, "round 1: "));
    cr_assert_null(strchr(outcome.err, '\r'), "overwritten lines where there is no terminal");
    kill(scene.destination, SIGTERM);
    close_scene(&scene, 0, 0);
}

/* A migration that lasts until somebody ends it. */
static pid_t begin_long(const struct scene *scene)
{
    pid_t pid = TERN(scene, "migrate", "migrate", "--vm", (char *)scene->source_path, "--to", (char *)scene->to,
                     "--transport", "tcp", "--bandwidth", "20Mb/s");

    await_text(scene, "migrate", "err", "pre-copy", NULL, 0);
    return pid;
}

Test(cli, an_interrupt_cancels, .timeout = 90)
{
    static struct outcome outcome;
    struct scene scene;
    pid_t pid;

    open_scene(&scene, 64 * MIB, 64 * MIB, 1000);
    pid = begin_long(&scene);
    kill(pid, SIGINT);
    end_tern(&scene, "migrate", pid, &outcome);
    cr_assert_eq(outcome.status, 1, "%s%s", outcome.out, outcome.err);
    cr_assert_not_null(strstr(outcome.err, "tern: cancelled; the guest runs on at the source\n"), "%s", outcome.err);
    expect_state(&scene, scene.source_path, "active");
    expect_guest_goes_on(&scene, scene.source_path, ask_steps(&scene, scene.source_path));
    quit(&scene, scene.source_path);
    close_scene(&scene, 0, 1);
}

Test(cli, a_killed_client_cancels, .timeout = 90)
{
    struct scene scene;
    pid_t pid;

    open_scene(&scene, 64 * MIB, 64 * MIB, 1000);
    pid = begin_long(&scene);
    kill(pid, SIGKILL);
    cr_assert_eq(await_exit(pid), 128 + SIGKILL);
    await_text(&scene, "source", "out", "not migrated to ", NULL, 0);
    expect_state(&scene, scene.source_path, "active");
    quit(&scene, scene.source_path);
    close_scene(&scene, 0, 1);
}

Test(cli, cancel_from_elsewhere, .timeout = 90)
{
    static struct outcome outcome;
    struct scene scene;
    pid_t pid;

    open_scene(&scene, 64 * MIB, 64 * MIB, 1000);
    pid = begin_long(&scene);
    end_tern(&scene, "cancel", TERN(&scene, "cancel", "cancel", "--vm", scene.source_path), &outcome);
    cr_assert_eq(outcome.status, 0, "%s", outcome.err);
    cr_assert_eq(await_exit(pid), 1);
    expect_state(&scene, scene.source_path, "active");
    quit(&scene, scene.source_path);
    close_scene(&scene, 0, 1);
}

Test(cli, a_dead_destination_leaves_the_guest_here, .timeout = 90)
{
    static struct outcome outcome;
    struct scene scene;
    pid_t pid;

    open_scene(&scene, 64 * MIB, 64 * MIB, 1000);
    pid = begin_long(&scene);
    kill(scene.destination, SIGKILL);
    end_tern(&scene, "migrate", pid, &outcome);
    cr_assert_eq(outcome.status, 1, "%s%s", outcome.out, outcome.err);
    cr_assert_not_null(strstr(outcome.err, "\ntern: "), "%s", outcome.err);
    cr_assert_not_null(strstr(outcome.err, "the guest runs on at the source\n"), "%s", outcome.err);
    expect_state(&scene, scene.source_path, "active");
    kill(scene.source, SIGINT);
    close_scene(&scene, 0, 128 + SIGKILL);
}

Test(cli, a_smaller_destination_is_refused_with_both_sizes, .timeout = 90)
{
    static struct outcome outcome;
    struct scene scene;

    open_scene(&scene, 64 * MIB, 32 * MIB, 1000);
    end_tern(&scene, "migrate",
             TERN(&scene, "migrate", "migrate", "--vm", scene.source_path, "--to", scene.to, "--transport", "tcp"),
             &outcome);
    cr_assert_eq(outcome.status, 1, "%s%s", outcome.out, outcome.err);
    cr_assert_not_null(strstr(outcome.err, "64 MiB"), "%s", outcome.err);
    cr_assert_not_null(strstr(outcome.err, "32 MiB"), "%s", outcome.err);
    expect_state(&scene, scene.source_path, "active");
    expect_state(&scene, scene.destination_path, "inactive"); /* it waits for one that fits */
    quit(&scene, scene.source_path);
    kill(scene.destination, SIGTERM);
    close_scene(&scene, 0, 1);
}

Test(cli, nobody_listens, .timeout = 90)
{
    static struct outcome outcome;
    struct scene scene;

    open_scene(&scene, 16 * MIB, 16 * MIB, 100);
    kill(scene.destination, SIGTERM);
    cr_assert_eq(await_exit(scene.destination), 1);
    end_tern(&scene, "migrate",
             TERN(&scene, "migrate", "migrate", "--vm", scene.source_path, "--to", scene.to, "--quiet"), &outcome);
    cr_assert_eq(outcome.status, 1);
    cr_assert_eq(strncmp(outcome.err, "tern: ", 6), 0, "%s", outcome.err);
    cr_assert_eq(strchr(outcome.err, '\n') - outcome.err, (long)strlen(outcome.err) - 1, "not one line: %s",
                 outcome.err);
    cr_assert_str_empty(outcome.out);
    quit(&scene, scene.source_path);
    close_scene(&scene, 0, -1);
}

Test(cli, usage_errors_exit_2, .timeout = 30)
{
    static struct outcome outcome;
    struct scene scene = {.folder = "/tmp/tern-test.XXXXXX"};

    cr_assert_not_null(mkdtemp(scene.folder));
    end_tern(&scene, "t", TERN(&scene, "t", "migrate", "--vm", "x", "--to", "h", "--postcopy"), &outcome);
    cr_assert_eq(outcome.status, 2);
    cr_assert_str_eq(outcome.err, "tern: unknown option '--postcopy'; 'tern migrate --help' lists the options\n");
    end_tern(&scene, "t", TERN(&scene, "t", "migrate", "--vm", "x", "--to", "h:1", "--port", "2"), &outcome);
    cr_assert_eq(outcome.status, 2);
    end_tern(&scene, "t", TERN(&scene, "t", "receive", "--qmp", "x", "--listen", ":1", "--numa-map", "0:1,0:2"),
             &outcome);
    cr_assert_eq(outcome.status, 2);
    cr_assert_not_null(strstr(outcome.err, "'0:1,0:2' is not a map of NUMA nodes"), "%s", outcome.err);
    end_tern(&scene, "t", TERN(&scene, "t", "doctor", "--plan", "--lanes", "0"), &outcome);
    cr_assert_eq(outcome.status, 2);
    end_tern(&scene, "t", TERN(&scene, "t", "doctor", "--plan", "--memory", "1G", "--lanes", "2"), &outcome);
    cr_assert_eq(outcome.status, 0);
    cr_assert_not_null(strstr(outcome.out, "plan for a guest of 1 GiB"), "%s", outcome.out);
    end_tern(&scene, "t", TERN(&scene, "t", "dance"), &outcome);
    cr_assert_eq(outcome.status, 2);
    end_tern(&scene, "t", TERN(&scene, "t", "migrate", "--help"), &outcome);
    cr_assert_eq(outcome.status, 0);
    cr_assert_not_null(strstr(outcome.out, "--downtime-limit TIME"));
    end_tern(&scene, "t", TERN(&scene, "t", "status", "--vm", "/nowhere"), &outcome);
    cr_assert_eq(outcome.status, 0);
    cr_assert_str_eq(outcome.out, "inactive\n");
    close_scene(&scene, -1, -1);
}
