/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of commands: from it come dispatch and --help. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "migrate/tern.h"
#include "tools/tern/cli.h"
#include "tools/tern/say.h"
#include "transport/error.h"

struct command {
    const char *name;
    const char *usage;
    const char *summary;
    const char *more; /* further text of its --help, or NULL */
    int (*run)(const struct cli_invocation *invocation);
};

static const struct command commands[CLI_COMMANDS] = {
    [CLI_VM_RUN] = {"vm run", "--control SOCK [options]", "run a guest in the reference VMM",
                    "The process is the VM: it serves SOCK until the guest ends or has migrated away (exit status 0).\n"
                    "Without --kernel the guest is a built-in payload that dirties memory and checks itself.\n",
                    cmd_vm_run},
    [CLI_VM_RECEIVE] =
        {"vm receive", "--control SOCK --listen [HOST]:PORT [options]", "wait for a migration, then run that guest",
         "Give the same --memory, --low-memory and --backing as the source has; the guest itself comes over.\n",
         cmd_vm_receive},
    [CLI_VM_RESUME] =
        {"vm resume", "--control SOCK --from FILE [options]", "run a guest that was suspended",
         "The process is the VM, as with 'vm run'; how much memory it has is in the image. The guest runs\n"
         "at once, and what it touches is read as it does: do not change or move FILE before all is read.\n",
         cmd_vm_resume},
    [CLI_MIGRATE] = {"migrate", "--vm SOCK | --qmp SOCK --to HOST:PORT [options]",
                     "migrate a running VM to another host",
                     "Exit status: 0 migrated; 1 failed, the source still has its VM as before; 2 usage;\n"
                     "3 handover in doubt, both ends paused: 'tern resolve' names the owner.\n"
                     "Interrupt (Ctrl-C) cancels; the guest then runs on at the source.\n",
                     cmd_migrate},
    [CLI_RECEIVE] =
        {"receive", "--qmp SOCK --listen [HOST]:PORT [options]",
         "wait for a QEMU's guest to arrive, then let a QEMU here run it",
         "Start that QEMU as at the source, with -incoming defer and RAM of its own. Exit status as of migrate.\n",
         cmd_receive},
    [CLI_SUSPEND] =
        {"suspend", "--vm SOCK | --qmp SOCK --to FILE [options]", "save a running VM to a file and end it",
         "Memory is written while the guest runs, the rest when it is stopped; it goes on unless the image is\n"
         "whole and on the disk. Exit status: 0 suspended; 1 failed, the VM runs on; 2 usage.\n"
         "Interrupt (Ctrl-C) cancels.\n",
         cmd_suspend},
    [CLI_RESUME] =
        {"resume", "--qmp SOCK --from FILE [options]", "let a QEMU run a guest that was suspended",
         "Start that QEMU as the suspended one, with -incoming defer and RAM of its own. The guest runs at once, and\n"
         "what it touches is read as it does; this command ends when all is read: do not change or move FILE before.\n"
         "For the reference VMM: 'tern vm resume'.\n",
         cmd_resume},
    [CLI_IMAGE] = {"image", "FILE [--json]", "say what is in an image, and check all of it",
                   "Exit status: 0 it is whole; 1 it is not, and which section is damaged.\n", cmd_image},
    [CLI_STATUS] = {"status", "--vm SOCK | --qmp SOCK [--json]",
                    "say whether a VM is inactive, active, paused or suspended, and how its migration goes", NULL,
                    cmd_status},
    [CLI_PAUSE] = {"pause", "--vm SOCK | --qmp SOCK", "stop the guest's virtual CPUs", NULL, cmd_pause},
    [CLI_CONT] = {"cont", "--vm SOCK | --qmp SOCK", "let a paused guest go on", NULL, cmd_cont},
    [CLI_CANCEL] = {"cancel", "--vm SOCK | --qmp SOCK", "give a migration or a suspend up; the guest stays", NULL,
                    cmd_cancel},
    [CLI_RESOLVE] = {"resolve", "--vm SOCK | --qmp SOCK --owner here|there",
                     "say who owns a guest whose handover is in doubt",
                     "Ask 'tern status' at both ends first. If the other side runs the guest, the owner is there.\n"
                     "Running it at both ends destroys it: say 'here' at one end only.\n"
                     "Of a QEMU: here lets it run its guest, there ends it.\n",
                     cmd_resolve},
    [CLI_VERIFY] = {"verify", "--vm SOCK", "check the whole memory of a payload guest", NULL, cmd_verify},
    [CLI_QUIT] = {"quit", "--vm SOCK", "end a VM process and its guest", NULL, cmd_quit},
    [CLI_DOCTOR] =
        {"doctor", "[--plan [--memory SIZE] [--lanes N] [--device NAME,NAME]] [--json]",
         "say what this host can do for tern",
         "NUMA nodes, RDMA devices, limits and what the kernel offers, with hints where something is missing.\n"
         "With --plan: which worker would send what from where.\n",
         cmd_doctor},
};

const char *cli_command_name(unsigned command)
{
    return commands[command].name;
}

int cli_find_command(int argc, char **argv, int *n_words_out)
{
    for (int i = 0; i < CLI_COMMANDS; i++) {
        const char *space = strchr(commands[i].name, ' ');
        size_t first = space ? (size_t)(space - commands[i].name) : strlen(commands[i].name);

        if (argc < 2 || strlen(argv[1]) != first || memcmp(argv[1], commands[i].name, first))
            continue;
        if (space && (argc < 3 || strcmp(argv[2], space + 1)))
            continue;
        *n_words_out = space ? 2 : 1;
        return i;
    }
    return -1;
}

static int help(void)
{
    printf("tern " TERN_VERSION ": live migration of running virtual machines over RDMA or TCP\n\nusage:\n");
    for (int i = 0; i < CLI_COMMANDS; i++)
        printf("  tern %-11s %s\n", commands[i].name, commands[i].summary);
    printf("\n'tern COMMAND --help' lists a command's options. Sizes are binary (512M, 1.5G), rates are bits or bytes\n"
           "a second as written (10Gb/s, 1.5GiB/s), durations take ms or s (50ms, 60s).\n");
    return CLI_EXIT_OK;
}

static int help_command(int command)
{
    printf("usage: tern %s %s\n%s\n", commands[command].name, commands[command].usage, commands[command].summary);
    if (commands[command].more)
        printf("\n%s", commands[command].more);
    options_print_help(&cli_options, (unsigned)command, stdout);
    return CLI_EXIT_OK;
}

/* tern __options man|completion: what the man page and the completion are built from. */
static int dump(const char *what)
{
    for (int i = 0; i < CLI_COMMANDS; i++) {
        if (!strcmp(what, "man")) {
            printf("## tern %s %s\n\n%c%s.\n\n", commands[i].name, "", commands[i].summary[0] & ~0x20,
                   commands[i].summary + 1);
            options_print_man(&cli_options, (unsigned)i, stdout);
        } else {
            printf("command %s\n", commands[i].name);
            options_print_completion(&cli_options, (unsigned)i, stdout);
        }
    }
    return CLI_EXIT_OK;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help"))
            return true;
    return false;
}

static int run_command(int command, int argc, char **argv)
{
    struct cli_values values;
    struct option_texts texts;
    struct tern_error error = {0};
    struct cli_invocation invocation = {&values, &texts};
    char hint[64];

    if (asks_for_help(argc, argv))
        return help_command(command);
    cli_values_init(&values);
    if (options_read(&cli_options, (unsigned)command, argc, argv, &texts, &error) ||
        options_apply(&cli_options, (unsigned)command, &texts, &values, &error) ||
        migration_values_check(&values.migration, &error)) {
        snprintf(hint, sizeof(hint), "'tern %s --help' lists the options", commands[command].name);
        if (!*error.hint || !strncmp(error.hint, "--help", 6))
            snprintf(error.hint, sizeof(error.hint), "%s", hint);
        return say_usage(&error);
    }
    return commands[command].run(&invocation);
}

int cli_run(int argc, char **argv)
{
    struct tern_error error;
    int n_words = 0;
    int command = cli_find_command(argc, argv, &n_words);

    if (command >= 0)
        return run_command(command, argc - n_words, argv + n_words);
    if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")))
        return help();
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        puts("tern " TERN_VERSION);
        return CLI_EXIT_OK;
    }
    if (argc == 3 && !strcmp(argv[1], "__options"))
        return dump(argv[2]);
    if (argc >= 3 && !strcmp(argv[1], "vm"))
        error_set(&error, -EINVAL, "'tern --help' lists the commands", "unknown command 'vm %.40s'", argv[2]);
    else
        error_set(&error, -EINVAL, "'tern --help' lists the commands",
                  argc < 2 ? "no command" : "unknown command '%.40s'", argv[1]);
    return say_usage(&error);
}
