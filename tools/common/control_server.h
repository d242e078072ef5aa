/* SPDX-License-Identifier: BSD-2-Clause */
/* The server of a control socket.
 *
 * A request is one line, {"command":"status", ...}; its reply is lines, events first, the last one {"event":"done",
 * ...} with "ok"; a failure has {"event":"error", ...} before it. A connection may carry several requests, one after
 * the other: the next is read when the one before is answered. Several connections are served at once. Invariant: no
 * client can block the server or another client, end the process, or make it hold more than a bounded amount of memory;
 * every request gets exactly one answer while its client lives. Knows nothing of VMs: what a command means is the
 * handlers' matter. */
#ifndef TOOLS_COMMON_CONTROL_SERVER_H
#define TOOLS_COMMON_CONTROL_SERVER_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/common/lines.h"
#include "transport/tern_error.h"

#define CONTROL_CLIENTS_MAX 32

struct control_server;

/* Called by control_server_turn's thread.
 * request  a well-formed object with a "command"; borrowed until return. Is to be answered, now or later
 * gone     client has vanished; what it still waited for need not be answered */
struct control_handlers {
    void (*request)(void *opaque, uint64_t client, const char *command, struct json_object *request);
    void (*gone)(void *opaque, uint64_t client);
};

int control_server_create(const char *path, const struct control_handlers *handlers, void *opaque,
                          struct control_server **out, struct tern_error *error);
/* control_server_destroy: writes what is left for up to linger_ms, then closes and removes the socket. Takes NULL. */
void control_server_destroy(struct control_server *server, int linger_ms);

/* control_server_hang_up: close and remove the socket: nobody connects any more, those connected stay. Any number of
 * times. */
void control_server_hang_up(struct control_server *server);

/* control_server_turn: serve for up to timeout_ms (-1: until something happens).
 * watch_fd  also waited for, or -1; returns 1 when it is readable, else 0, or -errno */
int control_server_turn(struct control_server *server, int watch_fd, int timeout_ms);
/* Make a turn that is under way return. Any thread. */
void control_server_wake(struct control_server *server);

/* One event for the request that client waits for; dropped if the client reads too slowly or is gone. Any thread. */
void control_server_event(struct control_server *server, uint64_t client, struct json_object *event,
                          enum line_class class);
/* The answer: error's event first unless NULL, then done, which becomes {"event":"done","ok":...,...done's members}.
 * done     owned by the caller, may be NULL. Any thread. */
void control_server_answer(struct control_server *server, uint64_t client, const struct tern_error *error,
                           struct json_object *done);

#endif
