/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration between two hosts as far as TCP can tell: two network namespaces joined by a veth pair, with nothing else
 * between them. The namespaces have no name and are held by this process alone, so they end with it, however it ends.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/pair.h"

#define MIB (1ull << 20)

static const struct process_guest_config busy = {
    .memory_bytes = 64 * MIB,
    .random_bytes = 32 * MIB,
    .working_set_bytes = 8 * MIB,
    .dirty_pages_ps = 5000,
    .seed = 11,
};

/* A socket belongs to the namespace in which its thread was when it made it: this thread moves between them. */
static struct {
    int home, source, destination;
} spaces;

static void enter(int space)
{
    cr_assert_eq(setns(space, CLONE_NEWNET), 0, "%s", strerror(errno));
}

__attribute__((format(printf, 1, 2))) static void command(const char *format, ...)
{
    char line[256];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    cr_assert_eq(system(line), 0, "%s", line);
}

static int new_space(void)
{
    if (unshare(CLONE_NEWNET))
        cr_skip_test("no network namespaces for this user");
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static void configure(int space, const char *device, int number)
{
    enter(space);
    command("ip link set lo up");
    command("ip addr add 10.77.0.%d/24 dev %s", number, device);
    command("ip addr add fd77::%d/64 dev %s nodad", number, device);
    command("ip link set %s up", device);
}

/* source (10.77.0.1) ==== destination (10.77.0.2) */
static void join(void)
{
    spaces.home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    spaces.destination = new_space();
    spaces.source = new_space();
    command("ip link add to-far type veth peer name to-near netns /proc/%d/fd/%d", getpid(), spaces.destination);
    configure(spaces.destination, "to-near", 2);
    configure(spaces.source, "to-far", 1);
}

static void part(void)
{
    enter(spaces.home);
    close(spaces.source);
    close(spaces.destination);
    close(spaces.home);
}

/* Bytes that went out through a device of the present namespace. */
static uint64_t bytes_out(const char *device)
{
    FILE *f = fopen("/proc/thread-self/net/dev", "r");
    uint64_t bytes = 0;
    char line[512];

    cr_assert_not_null(f);
    while (fgets(line, sizeof(line), f)) {
        char *name = line + strspn(line, " ");

        if (!strncmp(name, device, strlen(device)) && name[strlen(device)] == ':')
            cr_assert_eq(sscanf(name + strlen(device) + 1, "%*u %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &bytes), 1);
    }
    fclose(f);
    return bytes;
}

static void migrate(struct pair *pair)
{
    struct tern_error error = {0};

    enter(spaces.destination);
    pair_start_destination(pair);
    enter(spaces.source);
    process_guest_start(pair->source);
    cr_assert_eq(tern_source_create(&pair->source_vm, &pair->source_options, &pair->source_session, &error), 0, "%s",
                 error.message);
    pair->source_result.struct_bytes = sizeof(pair->source_result);
    pair->source_code = tern_source_run(pair->source_session, &pair->source_result, &pair->source_error);
    tern_source_destroy(pair->source_session);
    pair_join_destination(pair);
}

static void moves_to(const char *host)
{
    struct pair pair;

    join();
    pair_init(&pair, &busy, NULL, host);
    pair.source_options.transport = pair.destination_options.transport = TERN_TRANSPORT_TCP;
    migrate(&pair);
    pair_check_moved(&pair);
    cr_assert_gt(bytes_out("to-far"), busy.random_bytes, "the guest's memory did not take the wire");
    pair_free(&pair);
    part();
}

Test(namespaces, a_guest_moves_over_ipv4, .timeout = 90)
{
    moves_to("10.77.0.2");
}

Test(namespaces, a_guest_moves_over_ipv6, .timeout = 90)
{
    moves_to("fd77::2");
}

/* ---- the wire is cut ---- */

static void cut_in_round_1(struct pair *pair, const struct tern_event *event)
{
    (void)pair;
    if (event->kind == TERN_EVENT_ROUND && event->round == 1)
        command("ip link set to-far down");
}

/* No reset, no end of the connection: just silence. Both sides notice, and the guest stays. */
Test(namespaces, the_wire_is_cut_for_good, .timeout = 120)
{
    struct pair pair;

    join();
    pair_init(&pair, &busy, NULL, "10.77.0.2");
    pair.source_options.transport = TERN_TRANSPORT_TCP;
    pair.source_options.peer_timeout_ms = pair.destination_options.peer_timeout_ms = 3000;
    pair.on_source_event = cut_in_round_1;
    migrate(&pair);
    pair_check_stayed(&pair);
    cr_assert_lt(pair.destination_code, 0);
    cr_assert_gt(strlen(pair.destination_error.message), 0);
    pair_free(&pair);
    part();
}

static void cut_for_a_moment(struct pair *pair, const struct tern_event *event)
{
    const uint32_t *moment_us = pair->hook_opaque;

    if (event->kind != TERN_EVENT_ROUND || event->round != 1)
        return;
    command("ip link set to-far down");
    usleep(*moment_us); /* shorter than the time-out: what is tested */
    command("ip link set to-far up");
}

static void outlives_a_cut_of(uint32_t moment_us)
{
    struct pair pair;

    join();
    pair_init(&pair, &busy, NULL, "10.77.0.2");
    pair.source_options.transport = TERN_TRANSPORT_TCP;
    pair.source_options.peer_timeout_ms = pair.destination_options.peer_timeout_ms = 20000;
    pair.on_source_event = cut_for_a_moment;
    pair.hook_opaque = &moment_us;
    migrate(&pair);
    pair_check_moved(&pair);
    pair_free(&pair);
    part();
}

Test(namespaces, the_wire_is_cut_for_a_moment, .timeout = 120)
{
    outlives_a_cut_of(500000);
}

/* Longer than the default, shorter than what was asked for: that holds for the lanes too. */
Test(namespaces, the_wire_is_cut_for_a_long_moment, .timeout = 120)
{
    outlives_a_cut_of(7000000);
}

/* Nobody there at all: the address has no host. */
Test(namespaces, no_host_answers, .timeout = 90)
{
    struct pair pair;

    join();
    pair_init(&pair, &busy, NULL, "10.77.0.9");
    enter(spaces.source);
    process_guest_start(pair.source);
    pair.source_options.port = 7471;
    cr_assert_eq(tern_source_create(&pair.source_vm, &pair.source_options, &pair.source_session, NULL), 0);
    pair.source_result.struct_bytes = sizeof(pair.source_result);
    pair.source_code = tern_source_run(pair.source_session, &pair.source_result, &pair.source_error);
    tern_source_destroy(pair.source_session);
    pair_check_stayed(&pair);
    cr_assert_not_null(strstr(pair.source_error.message, "10.77.0.9"), "%s", pair.source_error.message);
    pair_free(&pair);
    part();
}
