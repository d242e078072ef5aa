/* SPDX-License-Identifier: BSD-2-Clause */
/* tern's commands, the options they take, and its exit statuses. */
#ifndef TOOLS_TERN_CLI_H
#define TOOLS_TERN_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/common/host_port.h"
#include "tools/common/migration_options.h"
#include "tools/common/options.h"

/* Positions in the table of commands, and bits in the option table. */
enum cli_command {
    CLI_VM_RUN,
    CLI_VM_RECEIVE,
    CLI_VM_RESUME,
    CLI_MIGRATE,
    CLI_RECEIVE,
    CLI_SUSPEND,
    CLI_RESUME,
    CLI_IMAGE,
    CLI_STATUS,
    CLI_PAUSE,
    CLI_CONT,
    CLI_CANCEL,
    CLI_RESOLVE,
    CLI_VERIFY,
    CLI_QUIT,
    CLI_DOCTOR,
    CLI_COMMANDS,
    CLI_REQUEST_MIGRATE = CLI_COMMANDS, /* members of a migrate request on a control socket */
    CLI_REQUEST_RESOLVE,
    CLI_REQUEST_SUSPEND,
    CLI_REQUEST_PLAIN, /* a request without members */
};

enum cli_exit {
    CLI_EXIT_OK = 0,
    CLI_EXIT_FAILED = 1, /* a migration: the source still has its VM as before */
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_IN_DOUBT = 3, /* the handover was cut, both ends are paused */
};

#define CLI_UNSET UINT64_MAX

enum cli_owner { CLI_OWNER_HERE, CLI_OWNER_THERE };

/* Every option of every command; those not given hold cli_values_init's values. Texts are borrowed. */
struct cli_values {
    const char *vm;
    const char *qmp;
    bool keep_source;
    const char *control;
    const char *image;
    bool eager;
    struct host_port to;
    struct host_port listen;
    uint64_t port;
    struct migration_values migration;
    bool json;
    bool quiet;
    int owner;     /* enum cli_owner */
    uint64_t nice; /* or CLI_UNSET */

    uint64_t memory_bytes;
    uint64_t low_bytes;
    int payload;
    uint64_t fill_bytes;        /* or CLI_UNSET */
    uint64_t working_set_bytes; /* likewise */
    uint64_t dirty_pages_ps;
    int pattern; /* enum payload_pattern */
    uint64_t seed;
    const char *kernel;
    const char *initrd;
    const char *append;
    int backing; /* enum vmm_backing */
    int tracker; /* enum vmm_tracker */
    const char *serial;

    bool plan;
};

extern const struct option_table cli_options;

void cli_values_init(struct cli_values *values);

/* cli_find_command: the command that argv[1] (or argv[1] and argv[2]: "vm run") names.
 * n_words_out  how many words the name has; returns its number or -1 */
int cli_find_command(int argc, char **argv, int *n_words_out);
const char *cli_command_name(unsigned command);
/* cli_run: read the options and run the command; returns its exit status. */
int cli_run(int argc, char **argv);

/* A file each, cmd_NAME.c; texts hold the options as given. */
struct cli_invocation {
    const struct cli_values *values;
    const struct option_texts *texts;
};

int cmd_vm_run(const struct cli_invocation *invocation);
int cmd_vm_receive(const struct cli_invocation *invocation);
int cmd_vm_resume(const struct cli_invocation *invocation);
int cmd_suspend(const struct cli_invocation *invocation);
int cmd_resume(const struct cli_invocation *invocation);
int cmd_image(const struct cli_invocation *invocation);
int cmd_migrate(const struct cli_invocation *invocation);
int cmd_receive(const struct cli_invocation *invocation);
int cmd_status(const struct cli_invocation *invocation);
int cmd_pause(const struct cli_invocation *invocation);
int cmd_cont(const struct cli_invocation *invocation);
int cmd_cancel(const struct cli_invocation *invocation);
int cmd_resolve(const struct cli_invocation *invocation);
int cmd_verify(const struct cli_invocation *invocation);
int cmd_quit(const struct cli_invocation *invocation);
int cmd_doctor(const struct cli_invocation *invocation);

#endif
