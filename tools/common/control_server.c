/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/control_server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/common/control_socket.h"
#include "tools/common/report.h"
#include "transport/clock.h"
#include "transport/error.h"

#define JSON_DEPTH_MAX 8

struct client {
    uint64_t id;               /* 0: free */
    int fd;                    /* owned */
    struct line_reader reader; /* the serving thread's */
    struct line_writer writer; /* under the server's lock, as busy */
    bool busy;                 /* a request waits for its answer */
    bool closing;              /* to be closed when all is written */
};

struct control_server {
    const struct control_handlers *handlers;
    void *opaque;
    struct control_socket socket;
    int wake_fd;
    uint64_t next_id;
    pthread_mutex_t lock;
    struct client clients[CONTROL_CLIENTS_MAX];
};

int control_server_create(const char *path, const struct control_handlers *handlers, void *opaque,
                          struct control_server **out, struct tern_error *error)
{
    struct control_server *server = calloc(1, sizeof(*server));
    int r;

    if (!server)
        return error_set(error, -ENOMEM, NULL, "no memory for the control socket");
    server->handlers = handlers;
    server->opaque = opaque;
    server->next_id = 1;
    pthread_mutex_init(&server->lock, NULL);
    server->socket.fd = -1;
    server->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r = server->wake_fd < 0 ? error_set(error, -errno, NULL, "cannot make an eventfd: %s", strerror(errno))
                            : control_socket_listen(path, &server->socket, error);
    if (r) {
        control_server_destroy(server, 0);
        return r;
    }
    *out = server;
    return 0;
}

static void release_client(struct control_server *server, struct client *client)
{
    pthread_mutex_lock(&server->lock);
    close(client->fd);
    line_reader_release(&client->reader);
    line_writer_release(&client->writer);
    *client = (struct client){.fd = -1};
    pthread_mutex_unlock(&server->lock);
}

static void drop_client(struct control_server *server, struct client *client)
{
    uint64_t id = client->id;

    release_client(server, client);
    server->handlers->gone(server->opaque, id);
}

/* Under the lock. */
static struct client *find_client(struct control_server *server, uint64_t id)
{
    for (size_t i = 0; id && i < CONTROL_CLIENTS_MAX; i++)
        if (server->clients[i].id == id)
            return &server->clients[i];
    return NULL;
}

void control_server_wake(struct control_server *server)
{
    uint64_t one = 1;

    if (write(server->wake_fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: it is awake */
}

void control_server_event(struct control_server *server, uint64_t id, struct json_object *event, enum line_class class)
{
    const char *text = json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    struct client *client;

    pthread_mutex_lock(&server->lock);
    client = find_client(server, id);
    if (client)
        line_writer_add(&client->writer, text, class);
    pthread_mutex_unlock(&server->lock);
    control_server_wake(server);
}

void control_server_answer(struct control_server *server, uint64_t id, const struct tern_error *error,
                           struct json_object *done)
{
    struct json_object *last = json_of_done(!error, done);
    struct client *client;

    if (error) {
        struct json_object *event = json_of_error(error);

        control_server_event(server, id, event, LINE_ANSWER);
        json_object_put(event);
    }
    control_server_event(server, id, last, LINE_ANSWER);
    json_object_put(last);
    pthread_mutex_lock(&server->lock);
    client = find_client(server, id);
    if (client)
        client->busy = false;
    pthread_mutex_unlock(&server->lock);
    control_server_wake(server);
}

static void refuse_line(struct control_server *server, struct client *client, const char *message)
{
    struct tern_error error;

    error_set(&error, -EINVAL, "send one JSON object a line, like {\"command\":\"status\"}", "%s", message);
    control_server_answer(server, client->id, &error, NULL);
}

static void take_line(struct control_server *server, struct client *client, const char *line, size_t length)
{
    struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
    struct json_object *request, *command;

    if (!tokener)
        return refuse_line(server, client, "no memory for the request");
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    request = json_tokener_parse_ex(tokener, line, (int)length + 1); /* the zero byte ends a number or a word */
    if (json_tokener_get_error(tokener) != json_tokener_success || json_tokener_get_parse_end(tokener) < length)
        refuse_line(server, client, "the request is not JSON");
    else if (!json_object_is_type(request, json_type_object) ||
             !json_object_object_get_ex(request, "command", &command) ||
             !json_object_is_type(command, json_type_string))
        refuse_line(server, client, "the request is not an object with a command");
    else
        server->handlers->request(server->opaque, client->id, json_object_get_string(command), request);
    json_object_put(request);
    json_tokener_free(tokener);
}

static bool is_busy(struct control_server *server, struct client *client)
{
    bool busy;

    pthread_mutex_lock(&server->lock);
    busy = client->busy || client->writer.fill_bytes > LINES_PROGRESS_BYTES_MAX;
    pthread_mutex_unlock(&server->lock);
    return busy;
}

static void take_lines(struct control_server *server, struct client *client)
{
    size_t length;
    char *line;

    while (!client->closing && !is_busy(server, client) && (line = line_reader_next(&client->reader, &length))) {
        if (line[strspn(line, " \t\r")] == '\0' && strlen(line) == length)
            continue;
        pthread_mutex_lock(&server->lock);
        client->busy = true;
        pthread_mutex_unlock(&server->lock);
        take_line(server, client, line, length);
    }
}

static void read_client(struct control_server *server, struct client *client)
{
    int r = line_reader_fill(&client->reader, client->fd);

    if (r == -EMSGSIZE) {
        refuse_line(server, client, "the request is longer than 64 KiB");
        client->closing = true;
    } else if (r && r != -EAGAIN) {
        client->reader.end_of_file = true;
    }
}

static void accept_client(struct control_server *server)
{
    int fd = accept4(server->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *free_one = NULL;

    if (fd < 0)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX && !free_one; i++)
        if (!server->clients[i].id)
            free_one = &server->clients[i];
    if (!free_one || line_reader_init(&free_one->reader)) {
        close(fd);
        return;
    }
    pthread_mutex_lock(&server->lock);
    free_one->fd = fd;
    free_one->id = server->next_id++;
    pthread_mutex_unlock(&server->lock);
}

/* After a poll: read, act, write, and drop those who are done with. */
static void serve_client(struct control_server *server, struct client *client, short happened)
{
    bool broken, idle;

    if ((happened & POLLIN) && !client->reader.end_of_file)
        read_client(server, client);
    take_lines(server, client);
    pthread_mutex_lock(&server->lock);
    broken = line_writer_flush(&client->writer, client->fd) || (happened & (POLLHUP | POLLERR));
    idle = !client->busy && !client->writer.fill_bytes;
    pthread_mutex_unlock(&server->lock);
    if (broken || (idle && (client->reader.end_of_file || client->closing)))
        drop_client(server, client);
}

/* What to poll a client for; a shorter *timeout_ms where a request already read can go on. */
static short interest(struct control_server *server, struct client *client, int *timeout_ms)
{
    bool reads = !client->reader.end_of_file && !client->closing;
    short events = 0;

    pthread_mutex_lock(&server->lock);
    if (client->writer.fill_bytes)
        events |= POLLOUT;
    else if (!client->busy && line_reader_has_line(&client->reader))
        *timeout_ms = 0;
    if (reads && !client->busy && client->writer.fill_bytes <= LINES_PROGRESS_BYTES_MAX)
        events |= POLLIN;
    pthread_mutex_unlock(&server->lock);
    return events;
}

int control_server_turn(struct control_server *server, int watch_fd, int timeout_ms)
{
    struct pollfd fds[CONTROL_CLIENTS_MAX + 3] = {{.fd = server->wake_fd, .events = POLLIN},
                                                  {.fd = server->socket.fd, .events = POLLIN},
                                                  {.fd = watch_fd, .events = POLLIN}};
    uint64_t wakes;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &server->clients[i];

        fds[i + 3].fd = client->id ? client->fd : -1;
        if (client->id)
            fds[i + 3].events = interest(server, client, &timeout_ms);
    }
    if (poll(fds, CONTROL_CLIENTS_MAX + 3, timeout_ms) < 0)
        return errno == EINTR ? 0 : -errno;
    if ((fds[0].revents & POLLIN) && read(server->wake_fd, &wakes, sizeof(wakes)) < 0 && errno != EAGAIN)
        return -errno;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (server->clients[i].id && fds[i + 3].fd >= 0)
            serve_client(server, &server->clients[i], fds[i + 3].revents);
    if (fds[1].revents & POLLIN)
        accept_client(server);
    return fds[2].revents ? 1 : 0;
}

/* Write what is left to those who read. */
static void linger(struct control_server *server, int linger_ms)
{
    uint64_t deadline_ns = clock_after_ms((uint32_t)linger_ms);

    for (;;) {
        struct pollfd fds[CONTROL_CLIENTS_MAX];
        bool left = false;

        for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
            struct client *client = &server->clients[i];

            fds[i] = (struct pollfd){.fd = -1, .events = POLLOUT};
            if (client->id && line_writer_flush(&client->writer, client->fd))
                release_client(server, client);
            if (client->id && client->writer.fill_bytes) {
                fds[i].fd = client->fd;
                left = true;
            }
        }
        if (!left || !clock_left_ms(deadline_ns) ||
            (poll(fds, CONTROL_CLIENTS_MAX, clock_left_ms(deadline_ns)) < 0 && errno != EINTR))
            return;
    }
}

void control_server_hang_up(struct control_server *server)
{
    control_socket_close(&server->socket);
}

void control_server_destroy(struct control_server *server, int linger_ms)
{
    if (!server)
        return;
    linger(server, linger_ms);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (server->clients[i].id)
            release_client(server, &server->clients[i]);
    control_socket_close(&server->socket);
    if (server->wake_fd >= 0)
        close(server->wake_fd);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
