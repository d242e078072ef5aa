/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/side.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/process_guest.h"
#include "tools/common/report.h"
#include "transport/clock.h"
#include "transport/error.h"

#define LATE_PEER_MS  15000u
#define LATE_PEER_NAP 100000u
#define GUEST_SEED    20

/* What a child says first. */
struct ready {
    int code;
    struct tern_error error;
    uint16_t port;
};

/* ---- the child ---- */

/* All of it into the pipe. */
static void tell(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;

    while (length) {
        ssize_t n = write(fd, at, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(PERF_EXIT_FAILED); /* nobody hears */
        at += n;
        length -= (size_t)n;
    }
}

static void on_event(void *opaque, const struct tern_event *event)
{
    struct side_report *report = opaque;

    if (event->kind == TERN_EVENT_WARNING)
        fprintf(stderr, "tern-perf: %s: %s\n", side_name(event->side), event->text);
    if (event->kind != TERN_EVENT_ROUND)
        return;
    report->sent_bytes = event->bytes_sent;
    if (report->n_rounds < SIDE_ROUNDS_MAX)
        report->rounds[report->n_rounds++] =
            (struct side_round){event->round_bytes, event->round_ns, event->bytes_left, event->throttle_percent};
}

static void fill_options(const struct side_config *config, struct side_report *report, struct tern_options *options)
{
    const struct perf_values *values = config->values;

    tern_options_init(options);
    options->host = config->host;
    options->port = config->port;
    migration_values_apply(&values->migration, options);
    options->on_event = on_event;
    options->event_opaque = report;
}

static int make_guest(const struct side_config *config, struct process_guest **out, struct tern_vm *vm,
                      struct tern_error *error)
{
    const struct perf_values *values = config->values;
    struct process_guest_config guest = {
        .memory_bytes = values->memory_bytes,
        .page_bytes = perf_page_bytes[values->page_choice],
        .random_bytes = values->random_bytes,
        .zero_bytes = values->zero_bytes,
        .working_set_bytes = values->working_set_bytes,
        .dirty_pages_ps = values->dirty_pages_ps,
        .pattern = (enum process_guest_pattern)values->pattern,
        .seed = GUEST_SEED,
    };
    int r = process_guest_create(&guest, config->side == TERN_SIDE_SOURCE, out, error);

    if (r && !error->message[0])
        error_set(error, r, NULL, "no memory for the guest");
    error->code = r;
    if (r)
        return r;
    process_guest_describe(*out, vm);
    for (uint32_t i = 0; values->populate && config->side == TERN_SIDE_DESTINATION && i < vm->n_regions; i++)
        if (madvise(vm->regions[i].base, vm->regions[i].length_bytes, MADV_POPULATE_WRITE))
            return error_set(error, -errno, NULL, "cannot populate the guest's memory: %s", strerror(errno));
    return 0;
}

/* Not reached at all, or hung up on before the first page: the destination's process is not there yet. */
static bool too_early(const struct side_report *report)
{
    return (report->code == -ECONNREFUSED || report->code == -ECONNRESET) && !report->result.setup_ns;
}

static int migrate(const struct side_config *config, const struct tern_vm *vm, const struct tern_options *options,
                   struct side_report *report)
{
    uint64_t deadline_ns = clock_after_ms(LATE_PEER_MS);

    for (;;) {
        struct tern_source *source;
        int r = tern_source_create(vm, options, &source, &report->error);

        if (r)
            return r;
        report->code = tern_source_run(source, &report->result, &report->error);
        tern_source_destroy(source);
        if (!report->code || !config->alone || !too_early(report) || !clock_left_ms(deadline_ns))
            return report->code;
        usleep(LATE_PEER_NAP);
    }
}

static void run_source(const struct side_config *config, struct process_guest *guest, const struct tern_vm *vm, int fd,
                       struct side_report *report)
{
    struct ready ready = {0};
    struct tern_options options;
    uint64_t begin_ns;

    fill_options(config, report, &options);
    tell(fd, &ready, sizeof(ready));
    begin_ns = clock_now_ns();
    process_guest_start(guest);
    report->code = migrate(config, vm, &options, report);
    report->steps_ps = (uint64_t)((double)process_guest_steps(guest) * NS_PER_S / (double)(clock_now_ns() - begin_ns));
}

static void run_destination(const struct side_config *config, const struct tern_vm *vm, int fd,
                            struct side_report *report)
{
    struct tern_destination *destination;
    struct tern_options options;
    struct ready ready = {0};

    fill_options(config, report, &options);
    ready.code = tern_destination_create(vm, &options, &destination, &ready.error);
    if (!ready.code)
        ready.port = tern_destination_port(destination);
    tell(fd, &ready, sizeof(ready));
    if (ready.code)
        _exit(PERF_EXIT_FAILED);
    report->code = tern_destination_run(destination, &report->result, &report->error);
    tern_destination_destroy(destination);
}

static _Noreturn void child(const struct side_config *config, int fd, pid_t parent)
{
    struct side_report report = {.result.struct_bytes = sizeof(report.result)};
    struct process_guest *guest = NULL;
    struct ready ready = {0};
    struct tern_vm vm;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(PERF_EXIT_FAILED);
    ready.code = make_guest(config, &guest, &vm, &ready.error);
    if (ready.code) {
        tell(fd, &ready, sizeof(ready));
        _exit(PERF_EXIT_FAILED);
    }
    if (config->side == TERN_SIDE_SOURCE)
        run_source(config, guest, &vm, fd, &report);
    else
        run_destination(config, &vm, fd, &report);
    if (!report.code)
        report.code = memory_use_read(vm.regions, vm.n_regions, &report.memory, &report.error);
    tell(fd, &report, sizeof(report));
    _exit(PERF_EXIT_OK);
}

/* ---- the parent ---- */

/* What ended a child that did not say how it went. */
static int died(struct side *side, struct tern_error *error)
{
    int status = 0;

    waitpid(side->pid, &status, 0);
    close(side->fd);
    side->pid = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
        return error_set(error, -ECHILD,
                         "with --page-size 2M, /proc/sys/vm/nr_hugepages must hold --memory of each side",
                         "this side had no page left for the guest");
    if (WIFSIGNALED(status))
        return error_set(error, -ECHILD, NULL, "the process of this side was ended by signal %d (%s)", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    return error_set(error, -ECHILD, NULL, "the process of this side ended with exit status %d", WEXITSTATUS(status));
}

/* Exactly length bytes, or what ended the child. */
static int hear(struct side *side, void *bytes, size_t length, struct tern_error *error)
{
    char *at = bytes;

    while (length) {
        ssize_t n = read(side->fd, at, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return died(side, error);
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

int side_start(const struct side_config *config, struct side *out, uint16_t *port_out, struct tern_error *error)
{
    pid_t parent = getpid();
    struct ready ready;
    int fds[2], r;

    out->which = config->side;
    if (pipe2(fds, O_CLOEXEC))
        return error_set(error, -errno, NULL, "cannot make a pipe: %s", strerror(errno));
    out->pid = fork();
    if (out->pid < 0) {
        r = -errno;
        out->pid = 0;
        close(fds[0]);
        close(fds[1]);
        return error_set(error, r, NULL, "cannot start a process: %s", strerror(-r));
    }
    if (!out->pid) {
        close(fds[0]);
        child(config, fds[1], parent);
    }
    close(fds[1]);
    out->fd = fds[0];
    r = hear(out, &ready, sizeof(ready), error);
    if (!r && ready.code) {
        *error = ready.error;
        r = ready.code;
    }
    if (r)
        side_kill(out);
    else if (port_out)
        *port_out = ready.port;
    if (r)
        error_side(error, config->side);
    return r;
}

int side_finish(struct side *side, struct side_report *out, struct tern_error *error)
{
    enum tern_side which = side->which;
    int r = hear(side, out, sizeof(*out), error);

    if (r)
        error_side(error, which);
    side_kill(side); /* it ends by itself; this is for one that died in some other way */
    return r;
}

void side_kill(struct side *side)
{
    if (!side->pid)
        return;
    kill(side->pid, SIGKILL);
    waitpid(side->pid, NULL, 0);
    close(side->fd);
    side->pid = 0;
}

int side_run_both(const struct perf_values *values, struct side_report reports[2], struct tern_error *error)
{
    struct side_config config = {
        .values = values, .side = TERN_SIDE_DESTINATION, .host = values->host.host, .port = UINT16_MAX};
    struct side source = {0}, destination = {0};
    int r = side_start(&config, &destination, &config.port, error);

    config.side = TERN_SIDE_SOURCE;
    if (!r)
        r = side_start(&config, &source, NULL, error);
    if (!r)
        r = side_finish(&source, &reports[0], error);
    if (!r && !reports[0].code) /* else the destination may wait for ever */
        r = side_finish(&destination, &reports[1], error);
    side_kill(&source);
    side_kill(&destination);
    for (int i = 0; i < 2 && !r; i++)
        if (reports[i].code) {
            *error = reports[i].error;
            r = reports[i].code;
        }
    return r;
}
