/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf bw and lat with --read, against a server that is a program: what comes is the server's memory, byte for
 * byte. Over tcp on this machine; suite_verbs.sh names a device's address. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "perf/link_lanes.h"
#include "perf/link_server.h"
#include "tests/common/pair.h"
#include "tests/common/perf_program.h"
#include "tools/common/report.h"

#define MIB     (1ull << 20)
#define UNREAD  0x5a
#define N_LANES 2u

static struct link_client *open_client(const struct server *server, const char *command, uint64_t memory_bytes)
{
    struct link_values values;
    struct link_client *client;
    struct tern_error error = {0};
    const char *transport = getenv("TERN_TEST_TRANSPORT");

    link_values_init(&values);
    snprintf(values.server.host, sizeof(values.server.host), "%s", pair_host(false));
    values.port = server->port;
    values.read = true;
    values.transport = transport && !strcmp(transport, "verbs") ? TERN_TRANSPORT_VERBS : TERN_TRANSPORT_TCP;
    cr_assert_eq(link_client_open(command, &values, N_LANES, memory_bytes, &client, &error), 0, "%s", error.message);
    return client;
}

/* The client's memory holds the server's where it was read (pieces of size_bytes, the even ones if scattered), and is
 * as it was elsewhere. */
static void check_memory(const struct link_client *client, const struct link_load *load)
{
    for (uint64_t i = 0; i < client->memory_bytes; i++) {
        bool was_read = !load->scattered || i / load->size_bytes % 2 == 0;
        uint64_t word = (i / 8 + 1) * LINK_PATTERN;
        uint8_t expected = was_read ? (uint8_t)(word >> i % 8 * 8) : UNREAD;

        cr_assert_eq(client->memory[i], expected, "byte %lu", (unsigned long)i);
    }
}

/* Every piece of each lane's share is read at least once. */
static void reads_arrive(uint64_t memory_bytes, uint64_t size_bytes, bool scattered)
{
    struct link_load load = {.size_bytes = size_bytes, .scattered = scattered};
    struct tern_error error = {0};
    struct link_client *client;
    struct link_round round;
    struct server server;
    struct output far;

    load.iterations = memory_bytes / size_bytes + N_LANES;
    serve(&server, "bw");
    client = open_client(&server, "bw", memory_bytes);
    cr_assert_eq(link_lanes_round(client, &load, &round, &error), 0, "%s", error.message);
    cr_assert_eq(round.operations, load.iterations);
    check_memory(client, &load);
    cr_assert_eq(link_client_finish(client, &error), 0, "%s", error.message);
    link_client_close(client);
    served(&server, &far);
    expect_done(&far);
    cr_assert_eq(json_member_number(far.lines[0], "rounds"), 1);
    release(&far);
}

Test(read, what_the_server_has_is_here, .timeout = 60)
{
    reads_arrive(8 * MIB, 64 << 10, false);
}

Test(read, gaps_between_are_left_alone, .timeout = 60)
{
    reads_arrive(4 * MIB, 4096, true);
}

Test(read, longer_than_the_longest_read, .timeout = 60)
{
    reads_arrive(12 * MIB, 3 * MIB, false);
}

/* ---- the programs ---- */

static void run_here(const struct server *server, const char *command, const char *more, struct output *output)
{
    const char *transport = getenv("TERN_TEST_TRANSPORT");
    char arguments[512];

    snprintf(arguments, sizeof(arguments), "%s %s -p %u --json --transport %s --read %s", command, pair_host(false),
             server->port, transport ? transport : "tcp", more);
    run(arguments, output);
}

Test(bw, says_that_it_reads, .timeout = 60)
{
    char file[] = "/tmp/tern-plot-XXXXXX", options[128], *text;
    struct output client, far;
    struct server server;
    FILE *drawn;

    close(mkstemp(file));
    serve(&server, "bw");
    snprintf(options, sizeof(options), "-q 3 -s 8192 -n 1000 --repeat 2 --memory 2M --plot %s", file);
    run_here(&server, "bw", options, &client);
    expect_done(&client);
    cr_assert_str_eq(json_member_text(client.lines[0], "operation"), "read");
    cr_assert_eq(json_member_number(client.lines[0], "reads"), 2 * 1000);
    cr_assert_gt(json_member_number(client.lines[0], "reads_ps"), 0);
    cr_assert_null(json_object_object_get(client.lines[0], "writes"));
    drawn = fopen(file, "r");
    text = calloc(1, MIB);
    cr_assert_gt(fread(text, 1, MIB - 1, drawn), 1000);
    cr_assert_not_null(strstr(text, "One-sided reads: bandwidth"));
    fclose(drawn);
    unlink(file);
    served(&server, &far);
    expect_done(&far);
    cr_assert_eq(json_member_number(far.lines[0], "rounds"), 3); /* one to warm up */
    free(text);
    release(&client);
    release(&far);
}

/* A read has come when it has completed: over tcp too. */
Test(lat, ends_with_the_completion, .timeout = 60)
{
    struct output client, far;
    struct server server;

    serve(&server, "lat");
    run_here(&server, "lat", "-n 200", &client);
    expect_done(&client);
    cr_assert_str_eq(json_member_text(client.lines[0], "operation"), "read");
    cr_assert_str_eq(json_member_text(client.lines[0], "until"), "completion");
    cr_assert_eq(json_member_number(client.lines[0], "reads"), 200);
    cr_assert_geq(json_member_double(client.lines[0], "max_us"), json_member_double(client.lines[0], "p50_us"));
    served(&server, &far);
    expect_done(&far);
    cr_assert_eq(json_member_number(far.lines[0], "rounds"), 1);
    release(&client);
    release(&far);
}

Test(lat, or_with_the_far_hosts_answer, .timeout = 60)
{
    struct output client, far;
    struct server server;

    serve(&server, "lat");
    run_here(&server, "lat", "-n 20 --until answer", &client);
    expect_done(&client);
    cr_assert_str_eq(json_member_text(client.lines[0], "until"), "answer");
    served(&server, &far);
    cr_assert_eq(json_member_number(far.lines[0], "rounds"), 22);
    release(&client);
    release(&far);
}
