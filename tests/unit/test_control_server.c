/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's server with a fake VM behind it, and clients that behave badly. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/common/control_server.h"
#include "tools/common/control_socket.h"
#include "tools/common/report.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PATIENCE_MS 5000

struct bench {
    char folder[64];
    char path[96];
    struct control_server *server;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint requests;
    atomic_uint gone;
    atomic_ullong waiting; /* client whose "wait" is not answered yet */
};

/* "ping" is answered at once, "wait" later by the test, "refuse" with an error. */
static void on_request(void *opaque, uint64_t client, const char *command, struct json_object *request)
{
    struct bench *bench = opaque;
    struct tern_error error;

    atomic_fetch_add(&bench->requests, 1);
    if (!strcmp(command, "wait")) {
        atomic_store(&bench->waiting, client);
    } else if (!strcmp(command, "ping")) {
        control_server_answer(bench->server, client, NULL, request);
    } else {
        error_set(&error, -ENOSYS, "ping it", "unknown command '%.40s'", command);
        control_server_answer(bench->server, client, &error, NULL);
    }
}

static void on_gone(void *opaque, uint64_t client)
{
    struct bench *bench = opaque;

    atomic_fetch_add(&bench->gone, 1);
    if (atomic_load(&bench->waiting) == client)
        atomic_store(&bench->waiting, 0);
}

static const struct control_handlers handlers = {on_request, on_gone};

static void *serve(void *opaque)
{
    struct bench *bench = opaque;

    while (!atomic_load(&bench->stop))
        control_server_turn(bench->server, -1, 100);
    return NULL;
}

static void start(struct bench *bench)
{
    struct tern_error error = {0};

    memset(bench, 0, sizeof(*bench));
    strcpy(bench->folder, "/tmp/tern-test.XXXXXX");
    cr_assert_not_null(mkdtemp(bench->folder));
    snprintf(bench->path, sizeof(bench->path), "%s/vm", bench->folder);
    cr_assert_eq(control_server_create(bench->path, &handlers, bench, &bench->server, &error), 0, "%s", error.message);
    cr_assert_eq(pthread_create(&bench->thread, NULL, serve, bench), 0);
}

static void end(struct bench *bench)
{
    atomic_store(&bench->stop, true);
    control_server_wake(bench->server);
    pthread_join(bench->thread, NULL);
    control_server_destroy(bench->server, 100);
    cr_assert_eq(access(bench->path, F_OK), -1, "the socket is left behind");
    cr_assert_eq(rmdir(bench->folder), 0);
}

static int dial(struct bench *bench)
{
    struct tern_error error = {0};
    int fd = -1;

    cr_assert_eq(control_socket_connect(bench->path, &fd, &error), 0, "%s", error.message);
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next line, or NULL at the end of the connection. */
static struct json_object *hear(int fd, struct line_reader *reader)
{
    uint64_t deadline_ns = clock_after_ms(PATIENCE_MS);
    size_t length;
    char *line;

    while (!(line = line_reader_next(reader, &length))) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        cr_assert_eq(poll(&p, 1, clock_left_ms(deadline_ns)), 1, "no answer");
        if (line_reader_fill(reader, fd) || reader->end_of_file)
            return NULL;
    }
    return json_tokener_parse(line);
}

static void expect_event(int fd, struct line_reader *reader, const char *event, const char *member, const char *value)
{
    struct json_object *object = hear(fd, reader);

    cr_assert_not_null(object, "the connection was closed");
    cr_assert_str_eq(json_member_text(object, "event"), event);
    if (member)
        cr_assert_str_eq(json_member_text(object, member), value);
    json_object_put(object);
}

static void expect_ping(struct bench *bench)
{
    struct line_reader reader;
    int fd = dial(bench);

    line_reader_init(&reader);
    say(fd, "{\"command\":\"ping\"}\n");
    expect_event(fd, &reader, "done", "command", "ping");
    line_reader_release(&reader);
    close(fd);
}

static bool eventually(atomic_uint *value, unsigned at_least)
{
    uint64_t deadline_ns = clock_after_ms(PATIENCE_MS);

    while (atomic_load(value) < at_least && clock_left_ms(deadline_ns))
        poll(NULL, 0, 2);
    return atomic_load(value) >= at_least;
}

static uint64_t await_waiting(struct bench *bench)
{
    uint64_t deadline_ns = clock_after_ms(PATIENCE_MS);

    while (!atomic_load(&bench->waiting) && clock_left_ms(deadline_ns))
        poll(NULL, 0, 2);
    return atomic_load(&bench->waiting);
}

Test(control_server, requests_in_pieces_and_several_at_once, .timeout = 20)
{
    struct line_reader reader;
    struct bench bench;
    int fd;

    start(&bench);
    fd = dial(&bench);
    line_reader_init(&reader);
    say(fd, "{\"comm");
    poll(NULL, 0, 20);
    say(fd,
        "and\":\"ping\",\"n\":\"1\"}\n\n{\"command\":\"ping\",\"n\":\"2\"}\r\n{\"command\":\"ping\",\"n\":\"3\"}\n");
    expect_event(fd, &reader, "done", "n", "1");
    expect_event(fd, &reader, "done", "n", "2");
    expect_event(fd, &reader, "done", "n", "3");
    line_reader_release(&reader);
    close(fd);
    end(&bench);
}

Test(control_server, garbage_is_answered_and_survived, .timeout = 20)
{
    static const char *const garbage[] = {
        "hello\n",
        "{\"command\":7}\n",
        "[]\n",
        "7\n",
        "null\n",
        "{}\n",
        "{\"command\":\"ping\"} trailing\n",
        "\xff\xfe\n",
        "{\"command\":\"\xff\"}\n",
        "{\"command\":\"nope\"}\n",
        "{'command':'ping'}\n",
        "\"\n",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n"};
    struct line_reader reader;
    struct bench bench;
    int fd;

    start(&bench);
    fd = dial(&bench);
    line_reader_init(&reader);
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        struct json_object *object;

        say(fd, garbage[i]);
        object = hear(fd, &reader);
        cr_assert(object && !strcmp(json_member_text(object, "event"), "error"), "no error for %s", garbage[i]);
        json_object_put(object);
        object = hear(fd, &reader);
        cr_assert(object && !strcmp(json_member_text(object, "event"), "done") && !json_member_flag(object, "ok"));
        json_object_put(object);
    }
    cr_assert_eq(send(fd, "{\"command\":\0\"ping\"}\n", 20, MSG_NOSIGNAL), 20);
    expect_event(fd, &reader, "error", "code", "EINVAL");
    expect_event(fd, &reader, "done", NULL, NULL);
    say(fd, "{\"command\":\"ping\"}\n");
    expect_event(fd, &reader, "done", "command", "ping");
    line_reader_release(&reader);
    close(fd);
    end(&bench);
}

Test(control_server, an_endless_line_ends_its_connection_only, .timeout = 20)
{
    struct line_reader reader;
    struct bench bench;
    char block[4096];
    size_t sent = 0;
    int fd;

    memset(block, 'x', sizeof(block));
    start(&bench);
    fd = dial(&bench);
    line_reader_init(&reader);
    while (sent < LINES_LINE_BYTES_MAX * 4) {
        ssize_t n = send(fd, block, sizeof(block), MSG_NOSIGNAL);

        if (n < 0)
            break;
        sent += (size_t)n;
    }
    cr_assert_lt(sent, LINES_LINE_BYTES_MAX * 4 + 1);
    expect_event(fd, &reader, "error", "message", "the request is longer than 64 KiB");
    expect_event(fd, &reader, "done", NULL, NULL);
    cr_assert_null(hear(fd, &reader));
    close(fd);
    line_reader_release(&reader);
    expect_ping(&bench);
    end(&bench);
}

Test(control_server, a_client_that_never_reads_blocks_nobody, .timeout = 30)
{
    struct json_object *event = json_object_new_object();
    struct line_reader reader;
    struct bench bench;
    uint64_t waiting;
    bool done = false;
    int fd;

    json_object_object_add(event, "event", json_object_new_string("progress"));
    json_object_object_add(event, "padding", json_object_new_string_len((char[512]){"p"}, 512));
    start(&bench);
    fd = dial(&bench);
    say(fd, "{\"command\":\"wait\"}\n");
    waiting = await_waiting(&bench);
    cr_assert_neq(waiting, 0);
    for (int i = 0; i < 20000; i++)
        control_server_event(bench.server, waiting, event, i % 2 ? LINE_PROGRESS : LINE_EVENT);
    expect_ping(&bench);
    control_server_answer(bench.server, waiting, NULL, NULL);
    line_reader_init(&reader);
    while (!done) { /* much was dropped, the answer was not */
        struct json_object *object = hear(fd, &reader);

        cr_assert_not_null(object);
        done = !strcmp(json_member_text(object, "event"), "done");
        json_object_put(object);
    }
    line_reader_release(&reader);
    close(fd);
    json_object_put(event);
    end(&bench);
}

Test(control_server, a_flood_of_requests_is_held_back, .timeout = 30)
{
    struct bench bench;
    unsigned seen;
    int fd;

    start(&bench);
    fd = dial(&bench);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int quiet = 0; quiet < 10;) { /* until nothing more is taken */
        if (send(fd, "{\"command\":\"ping\"}\n", 19, MSG_NOSIGNAL) < 0) {
            poll(NULL, 0, 2);
            quiet++;
        } else {
            quiet = 0;
        }
    }
    seen = atomic_load(&bench.requests);
    cr_assert_lt(seen, 100000);
    expect_ping(&bench);
    close(fd);
    cr_assert(eventually(&bench.gone, 2));
    end(&bench);
}

Test(control_server, a_vanished_client_is_reported, .timeout = 20)
{
    struct bench bench;
    uint64_t waiting;
    int fd;

    start(&bench);
    fd = dial(&bench);
    say(fd, "{\"command\":\"wait\"}\n");
    waiting = await_waiting(&bench);
    close(fd);
    cr_assert(eventually(&bench.gone, 1));
    cr_assert_eq(atomic_load(&bench.waiting), 0);
    control_server_answer(bench.server, waiting, NULL, NULL); /* to nobody */
    expect_ping(&bench);
    end(&bench);
}

Test(control_server, a_client_may_close_its_sending_half, .timeout = 20)
{
    struct line_reader reader;
    struct bench bench;
    uint64_t waiting;
    int fd;

    start(&bench);
    fd = dial(&bench);
    line_reader_init(&reader);
    say(fd, "{\"command\":\"wait\"}\n");
    shutdown(fd, SHUT_WR);
    waiting = await_waiting(&bench);
    expect_ping(&bench);
    control_server_answer(bench.server, waiting, NULL, NULL);
    expect_event(fd, &reader, "done", NULL, NULL);
    cr_assert_null(hear(fd, &reader));
    line_reader_release(&reader);
    close(fd);
    end(&bench);
}

Test(control_server, more_clients_than_places, .timeout = 20)
{
    int fds[CONTROL_CLIENTS_MAX + 8];
    struct bench bench;

    start(&bench);
    for (int i = 0; i < CONTROL_CLIENTS_MAX + 8; i++)
        fds[i] = dial(&bench);
    for (int i = 0; i < CONTROL_CLIENTS_MAX + 8; i++)
        close(fds[i]);
    cr_assert(eventually(&bench.gone, CONTROL_CLIENTS_MAX));
    expect_ping(&bench);
    end(&bench);
}

Test(control_socket, is_private_and_held_by_one, .timeout = 20)
{
    struct control_socket second;
    struct tern_error error;
    struct bench bench;
    struct stat file;

    start(&bench);
    cr_assert_eq(stat(bench.path, &file), 0);
    cr_assert_eq(file.st_mode & 0777, 0600);
    cr_assert_eq(control_socket_listen(bench.path, &second, &error), -EADDRINUSE);
    expect_ping(&bench);
    end(&bench);
}

Test(control_socket, a_stale_one_is_replaced, .timeout = 20)
{
    char folder[] = "/tmp/tern-test.XXXXXX", path[64];
    struct control_socket socket;
    int fd, status;
    pid_t child;

    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/vm", folder);
    child = fork();
    if (!child) {
        if (!control_socket_listen(path, &socket, NULL))
            kill(getpid(), SIGKILL); /* dies without removing it */
        _exit(1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(control_socket_connect(path, &fd, NULL), -ECONNREFUSED);
    cr_assert_eq(control_socket_listen(path, &socket, NULL), 0);
    control_socket_close(&socket);
    cr_assert_eq(control_socket_connect(path, &fd, NULL), -ENOENT);
    cr_assert_eq(rmdir(folder), 0);
}

Test(control_socket, another_file_is_left_alone, .timeout = 20)
{
    char path[] = "/tmp/tern-test.XXXXXX";
    struct control_socket socket;
    struct tern_error error;
    char name[200];
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(control_socket_listen(path, &socket, &error), -EEXIST);
    cr_assert_eq(access(path, F_OK), 0);
    unlink(path);
    close(fd);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    cr_assert_eq(control_socket_listen(name, &socket, &error), -ENAMETOOLONG);
    cr_assert_eq(control_socket_listen("/nowhere/vm", &socket, &error), -ENOENT);
}

Test(control_socket, what_took_its_place_is_not_removed, .timeout = 20)
{
    char folder[] = "/tmp/tern-test.XXXXXX", path[64];
    struct control_socket first, second;

    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/vm", folder);
    cr_assert_eq(control_socket_listen(path, &first, NULL), 0);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(control_socket_listen(path, &second, NULL), 0);
    control_socket_close(&first);
    cr_assert_eq(access(path, F_OK), 0);
    control_socket_close(&second);
    cr_assert_eq(rmdir(folder), 0);
}
