/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf: what a migration costs, measured. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "migrate/tern.h"
#include "perf/cli.h"
#include "transport/error.h"

struct command {
    const char *name;
    const char *summary;
    const char *more;
    int (*run)(const struct perf_values *values, const struct option_texts *texts);
};

static const struct command commands[PERF_COMMANDS] = {
    [PERF_MIGRATE] =
        {"migrate", "migrate a synthetic guest and report rates, downtime and memory",
         "Both sides run here, each in a process of its own, unless --listen or --to makes this one side of two "
         "hosts.\n"
         "Rates are payload bits a second. The first round's ends when the destination has acknowledged all of it; "
         "the\n"
         "mean is all that was sent, from the first page until the guest runs at the destination. A side's memory "
         "beyond\n"
         "the guest is the peak of its process's resident memory (VmHWM in /proc/self/status, program and libraries\n"
         "included) less what is resident of the guest's mappings at the end (Rss in /proc/self/smaps). Pages that "
         "the\n"
         "kernel pins or uses for itself (page tables, socket buffers) are in neither.\n",
         cmd_migrate},
    [PERF_WEB] =
        {"web", "migrate a guest that serves files to 100 clients, and report what they see of it",
         "A Linux guest of an unmodified QEMU serves files of 512 KiB (lighttpd) to clients that check every body, "
         "while\n"
         "it moves between two hosts: network namespaces of this machine, or virtual hosts with soft-RoCE (--lab). "
         "Shown\n"
         "are the throughput of each phase and its ratio to 'before', the downtime, and the longest time in which a\n"
         "connection heard nothing: at the switchover, and in the seconds before. Needs tern's source tree, and root.\n"
         "With --url only the clients: each asks anew when a body has come, which must be like the first one that "
         "came\n"
         "whole. Silence is the longest time in which a connection heard nothing, time to connect and to ask "
         "included.\n",
         cmd_web},
    [PERF_SCAN] = {"scan", "measure how fast zero pages are found, beside plain reading of the same memory",
                   "One core reads memory that is larger than its caches. Each way that this CPU has is measured in\n"
                   "turns with the others; 'migration' is what a migration uses. The ratio is to plain reading.\n",
                   cmd_scan},
    [PERF_HARVEST] =
        {"harvest", "measure how fast a guest's dirty bitmap becomes runs of pages",
         "One core does what a round of a migration does before it sends anything: it surveys the bitmap,\n"
         "takes each unit (512 pages) that has dirty pages, and makes runs of them, with short gaps filled\n"
         "as for tcp. The guests are not there, only their bitmaps: 16 TiB need 1 GiB of memory. First how\n"
         "it grows with the guest, then with the share that is dirty. Clusters are of 64 pages.\n",
         cmd_harvest},
    [PERF_BW] =
        {"bw",
         "bandwidth of one-sided writes, or reads, between two hosts, over tern's own lanes (as ib_write_bw and "
         "ib_read_bw do)",
         "Without HOST this is the server: it serves one client and ends; the client decides what is measured.\n"
         "A repetition ends with the far host's word that it has seen the fences behind all writes, or reads.\n"
         "Shown are the median of the repetitions, the worst, and the spread: (best - worst) / median.\n"
         "'man tern-perf' sets options and units beside perftest's.\n",
         cmd_bw},
    [PERF_LAT] =
        {"lat", "latency of one-sided writes, or reads, between two hosts, over one of tern's lanes",
         "Without HOST this is the server: it serves one client and ends; the client decides what is measured.\n"
         "One write is under way at a time. Its time ends when its completion was reaped (verbs), or when the\n"
         "far host has answered to the fence behind it (--until answer; over tcp always): what the end of a\n"
         "migration's round costs. A read's time ends when its bytes are here. 'typical' is what most took.\n",
         cmd_lat},
    [PERF_MODEL] =
        {"model", "predict rounds, total time and downtime of a migration, and say how near that came",
         "The prediction takes the guest's memory, what it writes, and what the network carries\n"
         "(--bandwidth, or measured with --measure); it goes from round to round by the decisions of tern\n"
         "itself. A page that is written twice in a round is sent once. Set-up counts as measured, else not.\n",
         cmd_model},
    [PERF_REGISTER] =
        {"register", "time to register memory with an RDMA device, by chunk size and number of threads",
         "Fresh: registering brings every page. Populated: the pages are there before. Deregistering comes\n"
         "after the guest runs, and is shown for who plans memory to be free again.\n",
         cmd_register},
};

static int help(void)
{
    printf("tern-perf " TERN_VERSION ": what a migration costs, measured\n\nusage:\n");
    for (int i = 0; i < PERF_COMMANDS; i++)
        printf("  tern-perf %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\n'tern-perf COMMAND --help' lists a command's options.\n");
    return PERF_EXIT_OK;
}

static int help_command(int command)
{
    printf("usage: tern-perf %s [options]\n%s\n\n%s", commands[command].name, commands[command].summary,
           commands[command].more);
    options_print_help(&perf_options, (unsigned)command, stdout);
    return PERF_EXIT_OK;
}

/* tern-perf __options man: what the man page is built from. */
static int dump(void)
{
    for (int i = 0; i < PERF_COMMANDS; i++) {
        printf("## tern-perf %s\n\n%c%s.\n\n", commands[i].name, commands[i].summary[0] & ~0x20,
               commands[i].summary + 1);
        options_print_man(&perf_options, (unsigned)i, stdout);
    }
    return PERF_EXIT_OK;
}

static int run_command(int command, int argc, char **argv)
{
    struct perf_values values;
    struct option_texts texts;
    struct tern_error error = {0};

    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help"))
            return help_command(command);
    perf_values_init(&values);
    if (options_read(&perf_options, (unsigned)command, argc, argv, &texts, &error) ||
        options_apply(&perf_options, (unsigned)command, &texts, &values, &error))
        return perf_usage(&error);
    return commands[command].run(&values, &texts);
}

int main(int argc, char **argv)
{
    struct tern_error error;

    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error of write, not the end */
    if (argc == 2 && !strcmp(argv[1], "--help"))
        return help();
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        puts("tern-perf " TERN_VERSION);
        return PERF_EXIT_OK;
    }
    if (argc == 3 && !strcmp(argv[1], "__options") && !strcmp(argv[2], "man"))
        return dump();
    for (int i = 0; argc >= 2 && i < PERF_COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name))
            return run_command(i, argc - 1, argv + 1);
    error_set(&error, -EINVAL, "'tern-perf --help' lists the commands",
              argc < 2 ? "no command" : "unknown command '%.40s'", argv[1]);
    error.side = TERN_SIDE_NONE;
    return perf_usage(&error);
}
