/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "transport/error.h"

#define BACKLOG      16
#define LOCK_TRIES   200
#define LOCK_STEP_MS 10

static int fill_address(const char *path, struct sockaddr_un *out, struct tern_error *error)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof(out->sun_path))
        return error_set(error, -ENAMETOOLONG, "take a shorter path", "socket path of %zu bytes: at most %zu fit",
                         strlen(path), sizeof(out->sun_path) - 1);
    memcpy(out->sun_path, path, strlen(path) + 1);
    return 0;
}

/* Takers of sockets in one folder take turns, so that none replaces a file that another has just made. */
static int lock_folder(const char *path, int *fd_out, struct tern_error *error)
{
    char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
    const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000};
    const char *folder;
    int fd;

    snprintf(copy, sizeof(copy), "%s", path);
    folder = dirname(copy);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, -errno, "make the folder, or take another path", "cannot open the folder %s: %s",
                         folder, strerror(errno));
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
        if (i == LOCK_TRIES || (errno != EWOULDBLOCK && errno != EINTR)) {
            int r = -errno;

            close(fd);
            return error_set(error, r, NULL, "cannot lock the folder %s: %s", folder, strerror(-r));
        }
        nanosleep(&step, NULL);
    }
    *fd_out = fd;
    return 0;
}

static bool answers(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool live;

    if (fd < 0)
        return true;
    /* A full backlog (EAGAIN) is a live one. */
    live = !connect(fd, (const struct sockaddr *)address, sizeof(*address)) || errno == EAGAIN;
    close(fd);
    return live;
}

static int clear_stale(const struct sockaddr_un *address, struct tern_error *error)
{
    struct stat found;

    if (lstat(address->sun_path, &found))
        return errno == ENOENT
                   ? 0
                   : error_set(error, -errno, NULL, "cannot look at %s: %s", address->sun_path, strerror(errno));
    if (!S_ISSOCK(found.st_mode))
        return error_set(error, -EEXIST, "take another path", "%s exists and is not a socket", address->sun_path);
    if (answers(address))
        return error_set(error, -EADDRINUSE, "end that one, or take another path", "a live process holds %s",
                         address->sun_path);
    if (unlink(address->sun_path))
        return error_set(error, -errno, NULL, "cannot remove the stale socket %s: %s", address->sun_path,
                         strerror(errno));
    return 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *address, struct stat *made)
{
    int r;

    /* The file takes its mode from the socket's inode, so it is never open to others. */
    if (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)address, sizeof(*address)))
        return -errno;
    if (!listen(fd, BACKLOG) && !lstat(address->sun_path, made))
        return 0;
    r = -errno;
    unlink(address->sun_path);
    return r;
}

int control_socket_listen(const char *path, struct control_socket *out, struct tern_error *error)
{
    struct control_socket made = {.fd = -1};
    struct sockaddr_un address;
    struct stat file;
    int lock = -1;
    int r = fill_address(path, &address, error);

    if (!r)
        r = lock_folder(path, &lock, error);
    if (r)
        return r;
    r = clear_stale(&address, error);
    if (r)
        goto unlock;
    made.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    made.path = strdup(path);
    r = made.fd < 0 || !made.path ? -ENOMEM : bind_and_listen(made.fd, &address, &file);
    if (r) {
        error_set(error, r, NULL, "cannot listen at %s: %s", path, strerror(-r));
        if (made.fd >= 0)
            close(made.fd);
        free(made.path);
        goto unlock;
    }
    made.device = file.st_dev;
    made.inode = file.st_ino;
    *out = made;
unlock:
    close(lock);
    return r;
}

void control_socket_close(struct control_socket *socket)
{
    struct stat found;

    if (socket->fd < 0)
        return;
    if (!lstat(socket->path, &found) && found.st_dev == socket->device && found.st_ino == socket->inode)
        unlink(socket->path);
    close(socket->fd);
    free(socket->path);
    *socket = (struct control_socket){.fd = -1};
}

void control_socket_remove_stale(const char *path)
{
    struct sockaddr_un address;
    int lock;

    if (fill_address(path, &address, NULL) || lock_folder(path, &lock, NULL))
        return;
    clear_stale(&address, NULL);
    close(lock);
}

int control_socket_connect(const char *path, int *fd_out, struct tern_error *error)
{
    struct timeval limit = {.tv_sec = 5};
    struct sockaddr_un address;
    int fd;
    int r = fill_address(path, &address, error);

    if (r)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(error, -errno, NULL, "cannot make a socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* bounds connect too */
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
        r = -errno;
        close(fd);
        return error_set(error, r,
                         r == -ENOENT || r == -ECONNREFUSED ? "start it with 'tern vm run --control' first" : NULL,
                         "no VM answers at %s: %s", path, strerror(-r));
    }
    *fd_out = fd;
    return 0;
}
