/* SPDX-License-Identifier: BSD-2-Clause */
/* The unix socket at which a VM process is controlled: making it, taking it over from a dead one, connecting to it.
 * Invariant: two live processes never hold one path. */
#ifndef TOOLS_COMMON_CONTROL_SOCKET_H
#define TOOLS_COMMON_CONTROL_SOCKET_H

#include <sys/types.h>

#include "transport/tern_error.h"

struct control_socket {
    int fd;     /* owned; listening, non-blocking */
    char *path; /* owned */
    dev_t device;
    ino_t inode;
};

/* control_socket_listen: mode 0600 from its first moment. A socket file that nobody listens on is replaced.
 * errors   -EADDRINUSE a live process holds it; -EEXIST a file that is no socket; -ENAMETOOLONG */
int control_socket_listen(const char *path, struct control_socket *out, struct tern_error *error);
/* Closes, and removes the file if it is still ours. Takes {.fd = -1}. */
void control_socket_close(struct control_socket *socket);

/* control_socket_remove_stale: remove what a dead process has left there; anything else stays. */
void control_socket_remove_stale(const char *path);

/* control_socket_connect: a blocking descriptor.
 * errors   -ENOENT or -ECONNREFUSED nobody listens there; -EACCES */
int control_socket_connect(const char *path, int *fd_out, struct tern_error *error);

#endif
