/* SPDX-License-Identifier: BSD-2-Clause */
/* A request to a VM process, as a client of its control socket. */
#ifndef TOOLS_TERN_REQUEST_H
#define TOOLS_TERN_REQUEST_H

#include <json-c/json.h>
#include <stdint.h>

#include "tools/common/lines.h"
#include "tools/tern/cli.h"

struct request {
    int fd; /* owned */
    struct line_reader reader;
};

/* request_open: connect and send {"command":command, ...members}; members may be NULL, stays the caller's. */
int request_open(const char *path, const char *command, struct json_object *members, struct request *out,
                 struct tern_error *error);
void request_close(struct request *request);

/* request_next: the next line, parsed, the caller's; *line_out (may be NULL) is its text, valid until the next call.
 * interrupt_fd  -1, or a descriptor whose readability ends the wait
 * returns  0; -EINTR interrupt_fd is readable; -ETIMEDOUT; -ECONNRESET the process ended without an answer */
int request_next(struct request *request, int interrupt_fd, uint64_t deadline_ns, struct json_object **out,
                 const char **line_out, struct tern_error *error);

/* request_simple: one request without events, in bounded time.
 * done_out  the done object, the caller's, also when it is not ok; NULL without an answer
 * returns   0 if done is ok, else -errno with the error that came */
int request_simple(const char *path, const char *command, struct json_object *members, uint32_t timeout_ms,
                   struct json_object **done_out, struct tern_error *error);

/* request_print_json: on stdout, the error's event unless NULL, then done; a missing done is made up. */
void request_print_json(const struct tern_error *error, struct json_object *done);

/* request_target: is it one of --vm and --qmp? Says so if not, and returns CLI_EXIT_USAGE; else 0.
 * what     "a migration is", "the status is" */
int request_target(const struct cli_values *values, const char *what);
/* request_tell: print the message or the state (or JSON); return the exit status. error NULL: it is done */
int request_tell(const struct cli_values *values, const struct tern_error *error, struct json_object *done);
/* request_command: what most subcommands are: ask, print the state (or JSON), return the exit status. */
int request_command(const struct cli_invocation *invocation, const char *command, struct json_object *members,
                    uint32_t timeout_ms);

#endif
