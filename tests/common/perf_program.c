/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/common/perf_program.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/common/report.h"

/* This program is build/tests/NAME, the other one build/bin/tern-perf. */
const char *program(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
    char *slash;

    cr_assert_gt(n, 0);
    path[n] = 0;
    slash = strrchr(path, '/');
    *slash = 0;
    slash = strrchr(path, '/');
    strcpy(slash, "/bin/tern-perf");
    return path;
}

/* A server at any free port, and where that is. */
void serve(struct server *server, const char *command)
{
    int said[2], out[2];
    char line[256];

    cr_assert_eq(pipe(said), 0);
    cr_assert_eq(pipe(out), 0);
    server->pid = fork();
    if (!server->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(said[1], STDERR_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(said[0]);
        close(out[0]);
        execl(program(), "tern-perf", command, "-p", "0", "--json", (char *)NULL);
        _exit(127);
    }
    close(said[1]);
    close(out[1]);
    server->said = fdopen(said[0], "r");
    server->out = fdopen(out[0], "r");
    cr_assert_not_null(fgets(line, sizeof(line), server->said));
    cr_assert_eq(sscanf(strstr(line, "port "), "port %u", &server->port), 1, "%s", line);
}

static void read_lines(FILE *from, struct output *output)
{
    char line[8192];

    *output = (struct output){0};
    while (fgets(line, sizeof(line), from)) {
        cr_assert_lt(output->n_lines, LINES_MAX);
        output->lines[output->n_lines] = json_tokener_parse(line);
        cr_assert_not_null(output->lines[output->n_lines], "no JSON: %s", line);
        output->n_lines++;
    }
}

/* The server has ended by itself. */
void served(struct server *server, struct output *output)
{
    int status;

    read_lines(server->out, output);
    cr_assert_eq(waitpid(server->pid, &status, 0), server->pid);
    cr_assert(WIFEXITED(status));
    output->status = WEXITSTATUS(status);
    fclose(server->out);
    fclose(server->said);
}

void run(const char *arguments, struct output *output)
{
    char command[PATH_MAX + 512];
    FILE *out;
    int status;

    snprintf(command, sizeof(command), "exec '%s' %s 2>/dev/null", program(), arguments);
    out = popen(command, "r");
    cr_assert_not_null(out);
    read_lines(out, output);
    status = pclose(out);
    cr_assert(WIFEXITED(status));
    output->status = WEXITSTATUS(status);
}

void run_at(const struct server *server, const char *command, const char *options, struct output *output)
{
    char arguments[512];

    snprintf(arguments, sizeof(arguments), "%s 127.0.0.1 -p %u --json %s", command, server->port, options);
    run(arguments, output);
}

void release(struct output *output)
{
    for (int i = 0; i < output->n_lines; i++)
        json_object_put(output->lines[i]);
}

void expect_done(const struct output *output)
{
    cr_assert_eq(output->status, 0);
    cr_assert_str_eq(json_member_text(output->lines[output->n_lines - 1], "event"), "done");
    cr_assert(json_member_flag(output->lines[output->n_lines - 1], "ok"));
}
