/* SPDX-License-Identifier: BSD-2-Clause */
/* What must not happen: bad peers, misfits, kills and cancels. In each the source's guest runs on. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate/wire.h"
#include "tests/common/pair.h"
#include "transport/address.h"
#include "transport/control.h"
#include "transport/preamble.h"

#define MIB (1ull << 20)

static const struct process_guest_config busy = {
    .memory_bytes = 96 * MIB,
    .high_bytes = 16 * MIB,
    .random_bytes = 48 * MIB,
    .working_set_bytes = 16 * MIB,
    .dirty_pages_ps = 20000,
    .seed = 3,
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- misfits: refused during initiate, with both values ---- */

static void refused(const struct process_guest_config *destination, const char *one, const char *other)
{
    struct pair pair;

    pair_init(&pair, &busy, destination, pair_host(false));
    pair_run(&pair);
    pair_check_stayed(&pair);
    cr_assert_not_null(strstr(pair.source_error.message, one), "%s", pair.source_error.message);
    cr_assert_not_null(strstr(pair.source_error.message, other), "%s", pair.source_error.message);
    cr_assert_eq(pair.source_error.side, TERN_SIDE_DESTINATION);
    cr_assert_eq(pair.source_result.bytes_sent, 0);
    pair_free(&pair);
}

Test(misfit, less_memory, .timeout = 60)
{
    struct process_guest_config smaller = busy;

    smaller.memory_bytes = 64 * MIB;
    refused(&smaller, "96 MiB", "64 MiB");
}

Test(misfit, other_layout, .timeout = 60)
{
    struct process_guest_config other = busy;

    other.high_bytes = 32 * MIB;
    refused(&other, "80 MiB", "64 MiB");
}

Test(misfit, other_number_of_regions, .timeout = 60)
{
    struct process_guest_config other = busy;

    other.high_bytes = 0;
    refused(&other, "2 memory regions", "1 ");
}

static void kind_differs(struct pair *pair)
{
    strcpy(pair->destination_vm.kind, "another vmm 7");
}

Test(misfit, other_vmm_and_page_size, .timeout = 60)
{
    struct tern_region regions[2];
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    kind_differs(&pair);
    pair_run(&pair);
    pair_check_stayed(&pair);
    cr_assert_not_null(strstr(pair.source_error.message, "another vmm 7"), "%s", pair.source_error.message);
    pair_free(&pair);

    pair_init(&pair, &busy, NULL, pair_host(false));
    memcpy(regions, pair.source_vm.regions, sizeof(regions)); /* says 2 MiB; the destination has 4 KiB */
    regions[0].base = (void *)(((uintptr_t)regions[0].base + 2 * MIB - 1) & ~(2 * MIB - 1));
    regions[0].length_bytes -= 2 * MIB;
    regions[0].page_bytes = 2 * MIB;
    pair.source_vm.regions = regions;
    pair.source_vm.n_regions = 1;
    struct tern_region here = pair.destination_vm.regions[0];
    here.length_bytes = regions[0].length_bytes;
    pair.destination_vm.regions = &here;
    pair.destination_vm.n_regions = 1;
    pair_run(&pair);
    pair_check_stayed(&pair);
    cr_assert_not_null(strstr(pair.source_error.message, "2 MiB"), "%s", pair.source_error.message);
    cr_assert_not_null(strstr(pair.source_error.message, "4 KiB"), "%s", pair.source_error.message);
    pair_free(&pair);
}

/* ---- verify ---- */

static void flip_a_bit(struct pair *pair, const struct tern_event *event)
{
    if (event->kind == TERN_EVENT_ROUND && event->round == 1) {
        uint8_t *byte = process_guest_at(pair->destination, 40 * MIB + 5 * TERN_PAGE_BYTES + 123);

        *byte ^= 0x10;
    }
}

Test(verify, one_flipped_bit_is_refused_by_region_and_page, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.on_destination_event = flip_a_bit;
    pair_run(&pair);
    pair_check_stayed(&pair);
    cr_assert(!pair.compared, "the destination ran it");
    cr_assert_not_null(strstr(pair.source_error.message, "page 10245 of region 'low'"), "%s",
                       pair.source_error.message);
    pair_free(&pair);
}

static void flip_a_zero(struct pair *pair, const struct tern_event *event)
{
    if (event->kind == TERN_EVENT_ROUND && event->round == 1)
        *process_guest_at(pair->destination, 90 * MIB) = 1; /* region high, never sent */
}

Test(verify, data_in_a_page_that_was_never_sent_is_refused, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.on_destination_event = flip_a_zero;
    pair_run(&pair);
    pair_check_stayed(&pair);
    cr_assert_not_null(strstr(pair.source_error.message, "region 'high'"), "%s", pair.source_error.message);
    pair_free(&pair);
}

/* ---- strangers at the port, before a good source comes ---- */

static int dial(uint16_t port)
{
    struct timeval limit = {.tv_sec = 10};
    struct tern_error error = {0};
    int fd;

    cr_assert_eq(address_connect(pair_host(false), port, 5000, NULL, NULL, &fd, &error), 0, "%s", error.message);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

/* What comes back until the other end closes. */
static size_t read_to_end(int fd, uint8_t *to, size_t capacity)
{
    size_t have = 0;
    ssize_t n;

    while ((n = recv(fd, to + have, capacity - have, 0)) > 0)
        have += (size_t)n;
    cr_assert(n == 0 || errno == ECONNRESET, "the connection was not closed: %s", strerror(errno));
    close(fd);
    return have;
}

static void send_frame(int fd, uint32_t length, uint16_t type, const void *payload, size_t n)
{
    uint8_t header[8] = {0};

    memcpy(header, &length, 4);
    memcpy(header + 4, &type, 2);
    send(fd, header, 8, MSG_NOSIGNAL);
    send(fd, payload, n, MSG_NOSIGNAL);
}

static int dial_control(uint16_t port)
{
    struct preamble preamble = {.kind = PREAMBLE_CONTROL};
    uint8_t bytes[PREAMBLE_BYTES];
    int fd = dial(port);

    preamble_encode(&preamble, bytes);
    cr_assert_eq(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
    return fd;
}

/* It is told why, in words with both of these in them, before the connection ends. */
static void expect_refusal(int fd, const char *one, const char *other)
{
    static uint8_t reply[WIRE_BUFFER_BYTES];
    size_t n = read_to_end(fd, reply, sizeof(reply)), at = 0;
    struct wire_refuse refuse;
    uint32_t length;

    if (n >= 8 && reply[4] == CONTROL_PING)
        at = 8;
    cr_assert_geq(n, at + 8, "no word, but %zu bytes", n);
    cr_assert_eq(reply[at + 4], WIRE_REFUSE);
    memcpy(&length, reply + at, 4);
    cr_assert_leq(length, n - at - 8);
    cr_assert_eq(wire_get_refuse(reply + at + 8, length, &refuse), 0);
    cr_assert_not_null(strstr(refuse.message, one), "%s", refuse.message);
    cr_assert_not_null(strstr(refuse.message, other), "%s", refuse.message);
}

Test(stranger, all_are_turned_away_and_the_guest_still_moves, .timeout = 120)
{
    static uint8_t reply[WIRE_BUFFER_BYTES], junk[4096];
    struct preamble lane = {.kind = PREAMBLE_LANE, .lane = 0, .n_lanes = 1};
    struct pair pair;
    int fd;

    memset(junk, 0xa5, sizeof(junk));
    pair_init(&pair, &busy, NULL, pair_host(false));
    pair_start_destination(&pair);
    uint16_t port = pair.source_options.port;

    fd = dial(port); /* garbage instead of a preamble */
    send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n                                              ", 72, MSG_NOSIGNAL);
    read_to_end(fd, reply, sizeof(reply));

    fd = dial(port); /* another version: told so */
    preamble_encode(&lane, junk);
    junk[6] = 99; /* where the version is, in every version */
    send(fd, junk, PREAMBLE_BYTES, MSG_NOSIGNAL);
    expect_refusal(fd, "source speaks version 99", "destination version 3");

    fd = dial(port); /* a lane with a wrong token */
    memset(lane.token, 0x77, sizeof(lane.token));
    preamble_encode(&lane, junk);
    send(fd, junk, PREAMBLE_BYTES, MSG_NOSIGNAL);
    read_to_end(fd, reply, sizeof(reply));

    fd = dial_control(port); /* a frame longer than any */
    send_frame(fd, 0x7fffffff, WIRE_HELLO, junk, 100);
    read_to_end(fd, reply, sizeof(reply));

    fd = dial_control(port); /* a malformed HELLO: refused in words */
    memset(junk, 0xff, sizeof(junk));
    send_frame(fd, 300, WIRE_HELLO, junk, 300);
    expect_refusal(fd, "HELLO", "malformed");

    fd = dial_control(port); /* truncated: half a frame, then the end */
    send_frame(fd, 300, WIRE_HELLO, junk, 40);
    shutdown(fd, SHUT_WR);
    read_to_end(fd, reply, sizeof(reply));

    fd = dial_control(port); /* a message that has no place here */
    send_frame(fd, 0, WIRE_COMMIT, junk, 0);
    read_to_end(fd, reply, sizeof(reply));

    process_guest_start(pair.source);
    cr_assert_eq(tern_source_create(&pair.source_vm, &pair.source_options, &pair.source_session, NULL), 0);
    pair.source_result.struct_bytes = sizeof(pair.source_result);
    pair.source_code = tern_source_run(pair.source_session, &pair.source_result, &pair.source_error);
    tern_source_destroy(pair.source_session);
    if (pair.source_code)
        tern_destination_cancel(pair.destination_session);
    pair_join_destination(&pair);
    pair_check_moved(&pair);
    cr_assert_not_null(strstr(pair.warnings, "token"), "%s", pair.warnings);
    pair_free(&pair);
}

/* ---- cancel ---- */

static void cancel_in(struct pair *pair, const struct tern_event *event)
{
    enum tern_phase *phase = pair->hook_opaque;

    if (event->kind == TERN_EVENT_PHASE && event->phase == *phase)
        tern_source_cancel(pair->source_session);
}

Test(cancel, at_the_source_in_each_phase, .timeout = 120)
{
    static const enum tern_phase phases[] = {TERN_PHASE_INITIATE, TERN_PHASE_PRE_COPY, TERN_PHASE_STOP_AND_COPY};

    for (size_t i = 0; i < sizeof(phases) / sizeof(*phases); i++) {
        struct pair pair;
        enum tern_phase phase = phases[i];

        pair_init(&pair, &busy, NULL, pair_host(false));
        pair.on_source_event = cancel_in;
        pair.hook_opaque = &phase;
        pair_run(&pair);
        pair_check_stayed(&pair);
        cr_assert_eq(pair.source_code, -ECANCELED, "phase %d: %s", phase, pair.source_error.message);
        pair_free(&pair);
    }
}

static void cancel_destination(struct pair *pair, const struct tern_event *event)
{
    if (event->kind == TERN_EVENT_ROUND && event->round == 1)
        tern_destination_cancel(pair->destination_session);
}

Test(cancel, at_the_destination, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.on_destination_event = cancel_destination;
    pair_run(&pair);
    pair_check_stayed(&pair);
    cr_assert_not_null(strstr(pair.source_error.message, "cancelled at the destination"), "%s",
                       pair.source_error.message);
    pair_free(&pair);
}

Test(failure, destination_cannot_run_the_guest, .timeout = 60)
{
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.fail_resume = -EIO;
    pair_run(&pair);
    pair_check_stayed(&pair);
    pair_free(&pair);
}

Test(failure, nobody_listens, .timeout = 60)
{
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct tern_error error = {0};
    struct pair pair;

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair.source_options.port = 1;
    process_guest_start(pair.source);
    cr_assert_eq(tern_source_create(&pair.source_vm, &pair.source_options, &pair.source_session, NULL), 0);
    cr_assert_eq(tern_source_run(pair.source_session, &result, &error), -ECONNREFUSED);
    cr_assert_not_null(strstr(error.message, ":1"), "%s", error.message);
    cr_assert_gt(strlen(error.hint), 0);
    tern_source_destroy(pair.source_session);
    cr_assert(process_guest_runs(pair.source));
    pair_free(&pair);
}

/* ---- kills ---- */

/* Processes that die are made before this one has threads, and are told the rest through a pipe. */

static void die_in_round(struct pair *pair, const struct tern_event *event)
{
    const uint32_t *round = pair->hook_opaque;

    if (event->kind == (*round ? TERN_EVENT_ROUND : TERN_EVENT_PHASE) && event->round == *round)
        raise(SIGKILL);
}

/* A destination that dies when `round` has arrived. */
static pid_t doomed_destination(uint32_t round, uint16_t *port)
{
    int fds[2];
    pid_t pid;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    if (!pid) {
        struct pair own;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pair_init(&own, &busy, NULL, pair_host(false));
        own.on_destination_event = die_in_round;
        own.hook_opaque = &round;
        pair_start_destination(&own);
        if (write(fds[1], &own.source_options.port, sizeof(*port)) < 0)
            _exit(1);
        pthread_join(own.destination_thread, NULL);
        _exit(0);
    }
    cr_assert_eq(read(fds[0], port, sizeof(*port)), sizeof(*port));
    close(fds[0]);
    close(fds[1]);
    return pid;
}

Test(kill, destination_dies_in_initiate_and_in_early_rounds, .timeout = 120)
{
    for (uint32_t round = 0; round < 3; round++) {
        struct tern_result result = {.struct_bytes = sizeof(result)};
        struct tern_error error = {0};
        struct pair pair;
        uint64_t begin_ms;
        uint16_t port;
        int status;
        pid_t pid = doomed_destination(round, &port);

        pair_init(&pair, &busy, NULL, pair_host(false));
        pair.source_options.port = port;
        process_guest_start(pair.source);
        cr_assert_eq(tern_source_create(&pair.source_vm, &pair.source_options, &pair.source_session, NULL), 0);
        begin_ms = now_ms();
        pair.source_code = tern_source_run(pair.source_session, &result, &error);
        cr_assert_lt(now_ms() - begin_ms, 15000);
        cr_assert_lt(pair.source_code, 0, "round %u", round);
        cr_assert_eq(result.outcome, TERN_OUTCOME_FAILED);
        cr_assert_not_null(strstr(error.message, "destination"), "%s", error.message);
        cr_assert(process_guest_runs(pair.source));
        tern_source_destroy(pair.source_session);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFSIGNALED(status));
        pair_free(&pair);
    }
}

static void die_in_pre_copy(struct pair *pair, const struct tern_event *event)
{
    (void)pair;
    if (event->kind == TERN_EVENT_ROUND)
        raise(SIGKILL);
}

/* A source that dies after its first round; it begins when it is told the port. */
static pid_t doomed_source(int *port_pipe)
{
    int fds[2];
    pid_t pid;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    if (!pid) {
        struct pair own;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pair_init(&own, &busy, NULL, pair_host(false));
        if (read(fds[0], &own.source_options.port, sizeof(uint16_t)) != sizeof(uint16_t))
            _exit(1);
        own.on_source_event = die_in_pre_copy;
        process_guest_start(own.source);
        if (!tern_source_create(&own.source_vm, &own.source_options, &own.source_session, NULL))
            tern_source_run(own.source_session, &own.source_result, NULL);
        _exit(0);
    }
    close(fds[0]);
    *port_pipe = fds[1];
    return pid;
}

Test(kill, source_dies_in_pre_copy_and_the_destination_says_so, .timeout = 60)
{
    struct pair pair;
    int status, port_pipe;
    pid_t pid = doomed_source(&port_pipe);

    pair_init(&pair, &busy, NULL, pair_host(false));
    pair_start_destination(&pair);
    cr_assert_eq(write(port_pipe, &pair.source_options.port, sizeof(uint16_t)), sizeof(uint16_t));
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status));
    pair_join_destination(&pair);
    cr_assert_lt(pair.destination_code, 0);
    cr_assert_eq(pair.destination_result.outcome, TERN_OUTCOME_FAILED);
    cr_assert_not_null(strstr(pair.destination_error.message, "source"), "%s", pair.destination_error.message);
    cr_assert(!process_guest_runs(pair.destination));
    pair_free(&pair);
}
