/* SPDX-License-Identifier: BSD-2-Clause */
/* A scripted QMP server at the other end of a socketpair, in a thread of its own. */
#ifndef TESTS_UNIT_QMP_SERVER_H
#define TESTS_UNIT_QMP_SERVER_H

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/qemu/qmp.h"

#define QMP_GREETING                                                                                                   \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, "             \
    "\"capabilities\": [\"oob\"]}}\r\n"

/* HEAR: the next line must contain text; its id is noted, and %I in what is SAID becomes it. DRIBBLE: say, a byte a
 * write. A script ends with {0}: the server then waits until the client has gone. CLOSE: the server goes. */
enum qmp_act { QMP_END, QMP_HEAR, QMP_SAY, QMP_DRIBBLE, QMP_CLOSE, QMP_CALL };
struct qmp_step {
    enum qmp_act act;
    const char *text;
    void (*call)(int fd);
};

struct qmp_server {
    int fd, client_fd;
    pthread_t thread;
    const struct qmp_step *script;
    int id;
    char wrong[512]; /* what the script did not expect; empty: all went by it */
};

/* clang-format off */
#define SAY(what)     {.act = QMP_SAY, .text = what}
#define DRIBBLE(what) {.act = QMP_DRIBBLE, .text = what}
#define HEAR(what)    {.act = QMP_HEAR, .text = what}
#define CALL(what)    {.act = QMP_CALL, .call = what}
#define CLOSE         {.act = QMP_CLOSE}
/* clang-format on */
#define OPENING SAY(QMP_GREETING), HEAR("qmp_capabilities"), SAY("{\"return\": {}, \"id\": %I}")

static inline bool qmp_server_line(int fd, char *line, size_t bytes)
{
    for (size_t i = 0; i + 1 < bytes; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (poll(&p, 1, 10000) != 1 || read(fd, line + i, 1) != 1)
            return false;
        if (line[i] == '\n') {
            line[i] = 0;
            return true;
        }
    }
    return false;
}

static inline void qmp_server_say(struct qmp_server *server, const char *text, bool dribble)
{
    char full[8192];
    size_t n = 0;

    for (; *text && n + 16 < sizeof(full); text++) {
        if (text[0] == '%' && text[1] == 'I') {
            n += (size_t)sprintf(full + n, "%d", server->id);
            text++;
        } else {
            full[n++] = *text;
        }
    }
    for (size_t i = 0; i < n; i += dribble ? 1 : n)
        if (send(server->fd, full + i, dribble ? 1 : n, MSG_NOSIGNAL) < 0)
            return;
}

static inline void *qmp_server_main(void *argument)
{
    struct qmp_server *server = argument;
    char line[4096], *id;

    for (const struct qmp_step *step = server->script; step->act != QMP_END; step++) {
        if (step->act == QMP_CLOSE) {
            close(server->fd);
            server->fd = -1;
            return NULL;
        }
        if (step->act == QMP_CALL)
            step->call(server->fd);
        if (step->act == QMP_SAY || step->act == QMP_DRIBBLE)
            qmp_server_say(server, step->text, step->act == QMP_DRIBBLE);
        if (step->act != QMP_HEAR)
            continue;
        if (!qmp_server_line(server->fd, line, sizeof(line)) || !strstr(line, step->text)) {
            snprintf(server->wrong, sizeof(server->wrong), "heard '%.200s', not '%s'", line, step->text);
            shutdown(server->fd, SHUT_RDWR);
            return NULL;
        }
        id = strstr(line, "\"id\":");
        server->id = id ? atoi(id + 5) : -1;
    }
    while (read(server->fd, line, sizeof(line)) > 0)
        ;
    return NULL;
}

/* The script begins at its first step with the greeting. */
static inline void qmp_server_start(struct qmp_server *server, const struct qmp_step *script)
{
    int fds[2];

    *server = (struct qmp_server){.script = script};
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    server->fd = fds[0];
    server->client_fd = fds[1];
    cr_assert_eq(pthread_create(&server->thread, NULL, qmp_server_main, server), 0);
}

/* A client that has gone through the opening. */
static inline struct qmp *qmp_server_client(struct qmp_server *server, const struct qmp_step *script)
{
    struct tern_error error = {0};
    struct qmp *qmp = NULL;

    qmp_server_start(server, script);
    cr_assert_eq(qmp_adopt(server->client_fd, 5000, &qmp, &error), 0, "%s", error.message);
    return qmp;
}

/* After the client was closed. */
static inline void qmp_server_end(struct qmp_server *server)
{
    pthread_join(server->thread, NULL);
    if (server->fd >= 0)
        close(server->fd);
    cr_assert_str_empty(server->wrong, "%s", server->wrong);
}

#endif
