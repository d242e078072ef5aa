/* SPDX-License-Identifier: BSD-2-Clause */
/* A client of QEMU's machine protocol over its unix socket.
 * Invariant: no call blocks longer than its timeout (but for qmp_set_patience), whatever QEMU does: stands still, dies,
 * sends halves of messages. An object is used by one thread at a time. Knows the protocol, and nothing of what the
 * commands mean. source   QEMU docs/interop/qmp-spec.txt */
#ifndef TOOLS_QEMU_QMP_H
#define TOOLS_QEMU_QMP_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "transport/tern_error.h"

#define QMP_TIMEOUT_MS        10000
#define QMP_MESSAGE_BYTES_MAX (64u << 20)
#define QMP_EVENTS_MAX        1024 /* of those that nobody fetches, the oldest are dropped */

struct qmp;

/* qmp_connect: connect to the socket, hear the greeting, negotiate.
 * errors   -ETIMEDOUT no greeting: a monitor serves one client at a time; -ENOENT, -ECONNREFUSED, -EACCES; -EPROTO */
int qmp_connect(const char *path, int timeout_ms, struct qmp **out, struct tern_error *error);
/* qmp_adopt: the same over a connected socket, which is owned from here on, also on failure. */
int qmp_adopt(int fd, int timeout_ms, struct qmp **out, struct tern_error *error);
/* Takes NULL. */
void qmp_close(struct qmp *qmp);

/* qmp_command: execute and wait for the answer; events that come meanwhile are queued.
 * arguments    taken over, also on failure; NULL: none
 * reply_out    the "return" member, the caller's to put; may be NULL
 * errors       QEMU's refusal, with its class and text in the message: -ENOSYS CommandNotFound, -ENODEV DeviceNotActive
 *              or DeviceNotFound, -EREMOTEIO others. -ETIMEDOUT (a late answer is dropped, the client stays usable).
 *              -ECONNRESET QEMU is gone; -EPROTO it spoke nonsense: every later call fails the same way */
int qmp_command(struct qmp *qmp, const char *name, struct json_object *arguments, int timeout_ms,
                struct json_object **reply_out, struct tern_error *error);

/* qmp_set_patience: from now on a command, whose time is up, is waited for as long again each time that goes_on says so
 * (something that QEMU waits for is still coming). NULL: no longer. qmp_goes_on: what it says now, for other waits */
void qmp_set_patience(struct qmp *qmp, bool (*goes_on)(void *opaque), void *opaque);
bool qmp_goes_on(struct qmp *qmp);

/* qmp_send: the same without waiting; what QEMU answers is dropped. For what may fail without harm. */
int qmp_send(struct qmp *qmp, const char *name, struct json_object *arguments, struct tern_error *error);

/* qmp_quit: end QEMU. It may be gone before it answers: that is no error. */
int qmp_quit(struct qmp *qmp, struct tern_error *error);

/* qmp_give_fd: QEMU knows a copy of this descriptor by that name from now on ("fd:NAME"). fd stays the caller's. */
int qmp_give_fd(struct qmp *qmp, int fd, const char *name, struct tern_error *error);
/* qmp_close_fd: and now no longer; not waited for. */
void qmp_close_fd(struct qmp *qmp, const char *name);

/* qmp_human: a command of the human monitor; *text_out is the caller's to free. QEMU reports its errors as text, too.
 */
int qmp_human(struct qmp *qmp, const char *line, int timeout_ms, char **text_out, struct tern_error *error);

/* qmp_event: the oldest queued event of that name (NULL: of any), waited for; other events stay queued, in order.
 * event_out    the whole message ("event", "data", "timestamp"), the caller's to put
 * errors       -ETIMEDOUT, with no text: not a failure. -ECONNRESET, -EPROTO as above; what was queued is given first
 */
int qmp_event(struct qmp *qmp, const char *name, int timeout_ms, struct json_object **event_out,
              struct tern_error *error);
/* qmp_forget_events: drop what is queued. */
void qmp_forget_events(struct qmp *qmp);

/* For poll() beside other descriptors: readable means that qmp_event may have one. */
int qmp_fd(const struct qmp *qmp);
/* What the greeting said, e.g. 7.2.22. */
void qmp_version(const struct qmp *qmp, int *major, int *minor, int *micro);
/* The class of QEMU's last refusal ("GenericError"), "" before the first. Valid until the next command. */
const char *qmp_error_class(const struct qmp *qmp);

/* json helpers for replies: a missing or wrong-typed member is the fallback (NULL for text). Text is borrowed. */
const char *qmp_text(struct json_object *object, const char *member);
uint64_t qmp_number(struct json_object *object, const char *member, uint64_t fallback);
bool qmp_truth(struct json_object *object, const char *member, bool fallback);

#endif
