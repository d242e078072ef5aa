/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/lab/verbs_child.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MIB (1ull << 20)

const struct process_guest_config small_guest = {
    .memory_bytes = 64 * MIB, .random_bytes = 32 * MIB, .working_set_bytes = 8 * MIB, .dirty_pages_ps = 2000};

struct child child_destination(const char *host, void (*set_up)(struct pair *pair))
{
    struct child child;
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    child.pid = fork();
    if (!child.pid) {
        struct pair own;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pair_init(&own, &small_guest, NULL, host);
        set_up(&own);
        pair_start_destination(&own);
        if (write(fds[1], &own.source_options.port, sizeof(uint16_t)) < 0)
            _exit(1);
        pair_join_destination(&own);
        _exit(own.destination_code ? 1 : 0);
    }
    close(fds[1]);
    child.port_fd = fds[0];
    return child;
}

struct child child_source(const char *host, void (*set_up)(struct pair *pair))
{
    struct child child;
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    child.pid = fork();
    if (!child.pid) {
        struct pair own;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pair_init(&own, &small_guest, NULL, host);
        set_up(&own);
        if (read(fds[0], &own.source_options.port, sizeof(uint16_t)) != sizeof(uint16_t))
            _exit(1);
        process_guest_start(own.source);
        own.source_result.struct_bytes = sizeof(own.source_result);
        if (tern_source_create(&own.source_vm, &own.source_options, &own.source_session, NULL))
            _exit(1);
        _exit(tern_source_run(own.source_session, &own.source_result, NULL) ? 1 : 0);
    }
    close(fds[0]);
    child.port_fd = fds[1];
    return child;
}

int run_source(struct pair *pair, const struct child *destination)
{
    cr_assert_eq(read(destination->port_fd, &pair->source_options.port, sizeof(uint16_t)), sizeof(uint16_t));
    process_guest_start(pair->source);
    pair->source_result.struct_bytes = sizeof(pair->source_result);
    cr_assert_eq(tern_source_create(&pair->source_vm, &pair->source_options, &pair->source_session, NULL), 0);
    pair->source_code = tern_source_run(pair->source_session, &pair->source_result, &pair->source_error);
    tern_source_destroy(pair->source_session);
    return pair->source_code;
}
