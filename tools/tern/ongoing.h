/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration under way as the other clients of a control socket see it: how it goes, for status, and who waits for the
 * end of what he has cancelled. One at a time; the same struct serves one after the other. */
#ifndef TOOLS_TERN_ONGOING_H
#define TOOLS_TERN_ONGOING_H

#include <json-c/json.h>
#include <pthread.h>

#include "migrate/tern.h"
#include "tools/common/control_server.h"

struct ongoing {
    uint64_t cancel_clients[CONTROL_CLIENTS_MAX]; /* the serving thread's */
    size_t n_cancel_clients;

    pthread_mutex_t lock;
    bool has_event;          /* these under the lock */
    struct tern_event event; /* the latest phase, round or progress */
    char transport[TERN_NAME_BYTES];
    char device[TERN_NAME_BYTES];
};

void ongoing_init(struct ongoing *ongoing);
void ongoing_release(struct ongoing *ongoing);
/* Forget it all, for the next one. */
void ongoing_reset(struct ongoing *ongoing);

/* ongoing_note: how it goes now; a warning says nothing of that. Any thread. */
void ongoing_note(struct ongoing *ongoing, const struct tern_event *event);
/* ongoing_describe: add "migration", or "waiting" to a destination that no source has connected to. Any thread. */
void ongoing_describe(struct ongoing *ongoing, bool is_source, struct json_object *into);

/* ongoing_cancelled_by: client is answered when it has ended. errors -EBUSY too many are waiting */
int ongoing_cancelled_by(struct ongoing *ongoing, uint64_t client, struct tern_error *error);
void ongoing_answer_cancels(struct ongoing *ongoing, struct control_server *server, bool is_source,
                            enum tern_outcome outcome);

#endif
