/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf bw and lat as programs: a server at any free port, a client, and what they print. Asserts. */
#ifndef TESTS_COMMON_PERF_PROGRAM_H
#define TESTS_COMMON_PERF_PROGRAM_H

#include <json-c/json.h>
#include <stdio.h>
#include <sys/types.h>

#define LINES_MAX 16

struct output {
    struct json_object *lines[LINES_MAX];
    int n_lines, status;
};

struct server {
    pid_t pid;
    FILE *said; /* its stderr */
    FILE *out;
    unsigned port;
};

/* Path of build/bin/tern-perf: this program is build/tests/NAME. */
const char *program(void);

/* serve: start a server, and learn its port. */
void serve(struct server *server, const char *command);
/* served: the server has ended by itself. */
void served(struct server *server, struct output *output);

/* run: the program with these arguments, to its end. */
void run(const char *arguments, struct output *output);
/* run_at: a client of the server. */
void run_at(const struct server *server, const char *command, const char *options, struct output *output);

void expect_done(const struct output *output);
void release(struct output *output);

#endif
