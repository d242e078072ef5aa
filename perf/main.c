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
    for (int i = 0; argc >= 2 && i < PERF_COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name))
            return run_command(i, argc - 1, argv + 1);
    error_set(&error, -EINVAL, "'tern-perf --help' lists the commands",
              argc < 2 ? "no command" : "unknown command '%.40s'", argv[1]);
    error.side = TERN_SIDE_NONE;
    return perf_usage(&error);
}
