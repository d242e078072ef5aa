/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/request.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/common/control_socket.h"
#include "tools/common/report.h"
#include "tools/tern/say.h"
#include "tools/tern/suspended_note.h"
#include "transport/clock.h"
#include "transport/error.h"

static int send_line(int fd, struct json_object *object, struct tern_error *error)
{
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    size_t length = strlen(text);
    char *line = malloc(length + 2);
    int r = 0;

    if (!line)
        return error_set(error, -ENOMEM, NULL, "no memory for the request");
    memcpy(line, text, length);
    line[length] = '\n';
    for (size_t sent = 0; sent <= length && !r;) {
        ssize_t n = send(fd, line + sent, length + 1 - sent, MSG_NOSIGNAL);

        if (n >= 0)
            sent += (size_t)n;
        else if (errno != EINTR)
            r = error_set(error, -errno, NULL, "cannot send to the VM process: %s", strerror(errno));
    }
    free(line);
    return r;
}

int request_open(const char *path, const char *command, struct json_object *members, struct request *out,
                 struct tern_error *error)
{
    struct request request = {.fd = -1};
    struct json_object *object;
    int r = control_socket_connect(path, &request.fd, error);

    if (r == -ENOENT || r == -ECONNREFUSED)
        suspended_note_explain(path, error);
    if (r)
        return r;
    object = json_object_new_object();
    json_object_object_add(object, "command", json_object_new_string(command));
    if (members) {
        json_object_object_foreach(members, name, value) json_object_object_add(object, name, json_object_get(value));
    }
    r = line_reader_init(&request.reader);
    if (!r)
        r = send_line(request.fd, object, error);
    json_object_put(object);
    if (r)
        request_close(&request);
    else
        *out = request;
    return r;
}

void request_close(struct request *request)
{
    if (request->fd >= 0)
        close(request->fd);
    line_reader_release(&request->reader);
    request->fd = -1;
}

static int wait_readable(struct request *request, int interrupt_fd, uint64_t deadline_ns, struct tern_error *error)
{
    struct pollfd fds[2] = {{.fd = request->fd, .events = POLLIN}, {.fd = interrupt_fd, .events = POLLIN}};
    int n = poll(fds, 2, deadline_ns == UINT64_MAX ? -1 : clock_left_ms(deadline_ns));

    if (n < 0 && errno != EINTR)
        return error_set(error, -errno, NULL, "cannot wait for the VM process: %s", strerror(errno));
    if (!n)
        return error_set(error, -ETIMEDOUT, "look whether it hangs", "the VM process does not answer");
    if (n > 0 && fds[1].revents)
        return -EINTR;
    return 0;
}

int request_next(struct request *request, int interrupt_fd, uint64_t deadline_ns, struct json_object **out,
                 const char **line_out, struct tern_error *error)
{
    size_t length;
    char *line;
    int r;

    while (!(line = line_reader_next(&request->reader, &length))) {
        if (request->reader.end_of_file)
            return error_set(error, -ECONNRESET, NULL, "the VM process ended without an answer");
        r = wait_readable(request, interrupt_fd, deadline_ns, error);
        if (r)
            return r;
        r = line_reader_fill(&request->reader, request->fd);
        if (r == -ECONNRESET)
            request->reader.end_of_file = true;
        else if (r && r != -EAGAIN)
            return error_set(error, r, NULL, "cannot read from the VM process: %s", strerror(-r));
    }
    *out = json_tokener_parse(line);
    if (!json_object_is_type(*out, json_type_object)) {
        json_object_put(*out);
        return error_set(error, -EPROTO, "look who listens there", "the answer is not that of a VM process");
    }
    if (line_out)
        *line_out = line;
    return 0;
}

int request_simple(const char *path, const char *command, struct json_object *members, uint32_t timeout_ms,
                   struct json_object **done_out, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms(timeout_ms);
    struct tern_error failed = {.code = -EIO, .message = "the VM process refused without a reason"};
    struct json_object *object = NULL;
    struct request request;
    bool done = false, ok = false;
    int r;

    *done_out = NULL;
    r = request_open(path, command, members, &request, error);
    if (r)
        return r;
    while (!r && !done) {
        r = request_next(&request, -1, deadline_ns, &object, NULL, error);
        if (r)
            break;
        done = !strcmp(json_member_text(object, "event"), "done");
        ok = done && json_member_flag(object, "ok");
        if (!strcmp(json_member_text(object, "event"), "error"))
            json_read_error(object, &failed);
        if (done)
            *done_out = object;
        else
            json_object_put(object);
    }
    request_close(&request);
    if (r || ok)
        return r;
    if (error)
        *error = failed;
    return failed.code;
}

static void print_line(struct json_object *object)
{
    puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

void request_print_json(const struct tern_error *error, struct json_object *done)
{
    struct json_object *event = error ? json_of_error(error) : NULL;
    struct json_object *last = done ? json_object_get(done) : json_of_done(!error, NULL);

    if (event)
        print_line(event);
    print_line(last);
    fflush(stdout);
    json_object_put(event);
    json_object_put(last);
}

int request_target(const struct cli_values *values, const char *what)
{
    struct tern_error error;

    if (!values->vm != !values->qmp)
        return 0;
    error_set(&error, -EINVAL, "give one of them", "%s of a --vm or of a QEMU at --qmp", what);
    return say_usage(&error);
}

int request_tell(const struct cli_values *values, const struct tern_error *error, struct json_object *done)
{
    if (values->json)
        request_print_json(error, done);
    else if (error)
        say_error(error);
    else if (!values->quiet)
        puts(json_member_text(done, *json_member_text(done, "message") ? "message" : "state"));
    return error ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}

int request_command(const struct cli_invocation *invocation, const char *command, struct json_object *members,
                    uint32_t timeout_ms)
{
    struct tern_error error = {0};
    struct json_object *done = NULL;
    int r = request_simple(invocation->values->vm, command, members, timeout_ms, &done, &error);
    int status = request_tell(invocation->values, r ? &error : NULL, done);

    json_object_put(done);
    return status;
}
