/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf bw and lat as programs: a server and a client over tcp on this machine. How fast is not asked. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/common/perf_program.h"
#include "tools/common/report.h"
#include "transport/preamble.h"

Test(bw, counts_its_writes_and_ends_the_server, .timeout = 60)
{
    struct output client, far;
    struct server server;

    serve(&server, "bw");
    run_at(&server, "bw", "-q 3 -s 8192 -n 1000 --repeat 2 --memory 2M", &client);
    expect_done(&client);
    cr_assert_eq(client.n_lines, 2);
    cr_assert_str_eq(json_member_text(client.lines[0], "event"), "bw");
    cr_assert_str_eq(json_member_text(client.lines[0], "transport"), "tcp");
    cr_assert_eq(json_member_number(client.lines[0], "lanes"), 3);
    cr_assert_eq(json_member_number(client.lines[0], "size_bytes"), 8192);
    cr_assert_eq(json_member_number(client.lines[0], "memory_bytes"), 2 << 20);
    cr_assert_str_eq(json_member_text(client.lines[0], "operation"), "write");
    cr_assert_eq(json_member_number(client.lines[0], "writes"), 2 * 1000);
    cr_assert_geq(json_member_number(client.lines[0], "median_bps"), json_member_number(client.lines[0], "worst_bps"));
    cr_assert_geq(json_member_number(client.lines[0], "best_bps"), json_member_number(client.lines[0], "median_bps"));
    cr_assert_gt(json_member_number(client.lines[0], "worst_bps"), 0);
    served(&server, &far);
    expect_done(&far);
    cr_assert_eq(json_member_number(far.lines[0], "rounds"), 3); /* one to warm up */
    release(&client);
    release(&far);
}

Test(bw, all_sizes_and_scattered, .timeout = 60)
{
    struct output client, far;
    struct server server;

    serve(&server, "bw");
    run_at(&server, "bw", "--all --scattered -D 10ms --repeat 1", &client);
    expect_done(&client);
    cr_assert_eq(client.n_lines, 13);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(json_member_number(client.lines[i], "size_bytes"), 4096u << i);
        cr_assert(json_member_flag(client.lines[i], "scattered"));
        cr_assert_gt(json_member_number(client.lines[i], "writes"), 0);
    }
    served(&server, &far);
    release(&client);
    release(&far);
}

Test(lat, figures_are_in_order, .timeout = 60)
{
    static const char *const members[] = {"p50_us", "p99_us", "p999_us", "max_us"};
    struct output client, far;
    struct server server;
    double last = 0;

    serve(&server, "lat");
    run_at(&server, "lat", "-n 200 -s 4K", &client);
    expect_done(&client);
    cr_assert_eq(client.n_lines, 2);
    cr_assert_str_eq(json_member_text(client.lines[0], "event"), "lat");
    cr_assert_str_eq(json_member_text(client.lines[0], "until"), "answer");
    cr_assert_eq(json_member_number(client.lines[0], "writes"), 200);
    for (int i = 0; i < 4; i++) {
        cr_assert_geq(json_member_double(client.lines[0], members[i]), last);
        last = json_member_double(client.lines[0], members[i]);
    }
    cr_assert_gt(json_member_double(client.lines[0], "typical_us"), 0);
    served(&server, &far);
    expect_done(&far);
    cr_assert_eq(json_member_number(far.lines[0], "rounds"), 220);
    release(&client);
    release(&far);
}

Test(bw, gaps_need_their_memory, .timeout = 60)
{
    struct output client, far;
    struct server server;

    serve(&server, "bw");
    run_at(&server, "bw", "-s 1M -n 4 --memory 2M --scattered", &client);
    cr_assert_eq(client.status, 1);
    cr_assert_not_null(strstr(json_member_text(client.lines[0], "message"), "need 4194304 bytes"));
    release(&client);
    run_at(&server, "bw", "-s 1M -n 4 --memory 2M", &client);
    expect_done(&client);
    served(&server, &far);
    release(&client);
    release(&far);
}

/* While a client measures: what it says of a stranger's lane. */
static void send_lane(const struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server->port)};
    struct preamble preamble = {.kind = PREAMBLE_LANE, .n_lanes = 1};
    uint8_t bytes[PREAMBLE_BYTES];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    preamble_encode(&preamble, bytes);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    cr_assert_leq(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

Test(server, turns_away_a_lane_without_the_token, .timeout = 60)
{
    char command[PATH_MAX + 128], line[1024];
    struct server server;
    struct output far;
    FILE *client;

    serve(&server, "bw");
    snprintf(command, sizeof(command), "'%s' bw 127.0.0.1:%u -a -D 200ms --repeat 1 --json 2>/dev/null", program(),
             server.port);
    client = popen(command, "r");
    cr_assert_not_null(fgets(line, sizeof(line), client)); /* one size is done: the link stands */
    send_lane(&server);
    cr_assert_not_null(fgets(line, sizeof(line), server.said));
    cr_assert_not_null(strstr(line, "wrong token"), "%s", line);
    while (fgets(line, sizeof(line), client))
        ;
    cr_assert_eq(pclose(client), 0);
    served(&server, &far);
    expect_done(&far);
    release(&far);
}

/* A client of the other command, a migration's source and one who asks for what tcp has not are told so; the server
 * goes on to wait, and serves the right one. */
Test(server, turns_away_who_is_not_its_client, .timeout = 90)
{
    struct output client, far;
    struct server server;
    char arguments[256];

    serve(&server, "lat");
    run_at(&server, "bw", "-n 10", &client);
    cr_assert_eq(client.status, 1);
    cr_assert_str_eq(json_member_text(client.lines[0], "side"), "destination");
    cr_assert_not_null(strstr(json_member_text(client.lines[0], "message"), "'tern-perf lat' server"));
    cr_assert_str_eq(json_member_text(client.lines[0], "hint"), "start the same command on both hosts");
    release(&client);
    snprintf(arguments, sizeof(arguments), "migrate --to 127.0.0.1:%u --memory 4M --random 1M --json", server.port);
    run(arguments, &client);
    cr_assert_eq(client.status, 1);
    cr_assert_not_null(strstr(json_member_text(client.lines[0], "message"), "'tern-perf lat' server"));
    release(&client);
    run_at(&server, "lat", "--until completion", &client);
    cr_assert_eq(client.status, 1);
    release(&client);
    run_at(&server, "lat", "-n 10", &client);
    if (client.status) /* the one before it may not be gone yet */
        run_at(&server, "lat", "-n 10", &client);
    expect_done(&client);
    served(&server, &far);
    expect_done(&far);
    release(&client);
    release(&far);
}

Test(client, without_a_server_says_what_to_do, .timeout = 60)
{
    struct output client;

    run("bw 127.0.0.1:9 --json", &client);
    cr_assert_eq(client.status, 1);
    cr_assert_not_null(strstr(json_member_text(client.lines[0], "hint"), "without HOST there first"));
    release(&client);
}

Test(client, that_dies_ends_the_server_as_failed, .timeout = 60)
{
    char command[PATH_MAX + 128], line[1024];
    struct server server;
    struct output far;
    FILE *client;
    int pid;

    serve(&server, "bw");
    snprintf(command, sizeof(command), "echo $$; exec '%s' bw 127.0.0.1:%u -a -D 200ms --repeat 1 --json 2>/dev/null",
             program(), server.port);
    client = popen(command, "r");
    cr_assert_not_null(fgets(line, sizeof(line), client));
    cr_assert_eq(sscanf(line, "%d", &pid), 1);
    cr_assert_not_null(fgets(line, sizeof(line), client)); /* one size is done */
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_neq(pclose(client), 0);
    served(&server, &far);
    cr_assert_eq(far.status, 1);
    cr_assert_str_eq(json_member_text(far.lines[0], "event"), "error");
    release(&far);
}

Test(plot, is_drawn_or_says_what_to_install, .timeout = 60)
{
    char file[] = "/tmp/tern-plot-XXXXXX", options[64];
    struct output client, far;
    struct server server;
    struct stat status;

    close(mkstemp(file));
    serve(&server, "bw");
    snprintf(options, sizeof(options), "-n 10 --plot %s", file);
    cr_assert_eq(setenv("PATH", "/nowhere", 1), 0);
    run_at(&server, "bw", options, &client);
    cr_assert_eq(client.status, 1);
    cr_assert_not_null(strstr(json_member_text(client.lines[0], "hint"), "gnuplot-nox"));
    release(&client);
    cr_assert_eq(setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1), 0);
    run_at(&server, "bw", options, &client);
    expect_done(&client);
    cr_assert_eq(stat(file, &status), 0);
    cr_assert_gt(status.st_size, 1000);
    unlink(file);
    served(&server, &far);
    release(&client);
    release(&far);
}

Test(usage, what_does_not_go_together, .timeout = 30)
{
    static const char *const wrong[] = {
        "bw h --all -s 4K", "bw h -n 5 -D 5", "bw h -p 0",   "bw h -q 65",
        "lat h -q 2",       "lat h -t 5",     "bw h -D 1ms", "bw h k",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct output output;

        run(wrong[i], &output);
        cr_assert_eq(output.status, 2, "'%s': %d", wrong[i], output.status);
    }
}
