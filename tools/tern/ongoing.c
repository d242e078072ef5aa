/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/ongoing.h"

#include <errno.h>
#include <stdio.h>

#include "tools/common/report.h"
#include "transport/error.h"

void ongoing_init(struct ongoing *ongoing)
{
    *ongoing = (struct ongoing){0};
    pthread_mutex_init(&ongoing->lock, NULL);
}

void ongoing_release(struct ongoing *ongoing)
{
    pthread_mutex_destroy(&ongoing->lock);
}

void ongoing_reset(struct ongoing *ongoing)
{
    ongoing->n_cancel_clients = 0;
    pthread_mutex_lock(&ongoing->lock);
    ongoing->has_event = false;
    ongoing->transport[0] = ongoing->device[0] = 0;
    pthread_mutex_unlock(&ongoing->lock);
}

void ongoing_note(struct ongoing *ongoing, const struct tern_event *event)
{
    if (event->kind == TERN_EVENT_WARNING)
        return;
    pthread_mutex_lock(&ongoing->lock);
    ongoing->event = *event;
    ongoing->has_event = true;
    if (event->transport)
        snprintf(ongoing->transport, sizeof(ongoing->transport), "%s", event->transport);
    if (event->device)
        snprintf(ongoing->device, sizeof(ongoing->device), "%s", event->device);
    ongoing->event.transport = ongoing->transport;
    ongoing->event.device = ongoing->device;
    ongoing->event.text = NULL;
    pthread_mutex_unlock(&ongoing->lock);
}

void ongoing_describe(struct ongoing *ongoing, bool is_source, struct json_object *into)
{
    struct json_object *migration;

    pthread_mutex_lock(&ongoing->lock);
    migration = ongoing->has_event ? json_of_event(&ongoing->event) : NULL;
    pthread_mutex_unlock(&ongoing->lock);
    if (migration) {
        json_object_object_del(migration, "event");
        json_object_object_del(migration, "time_ms"); /* that of the answer */
        json_object_object_add(into, "migration", migration);
    } else if (!is_source) {
        json_object_object_add(into, "waiting", json_object_new_string("for a source to connect"));
    }
}

int ongoing_cancelled_by(struct ongoing *ongoing, uint64_t client, struct tern_error *error)
{
    if (ongoing->n_cancel_clients == CONTROL_CLIENTS_MAX)
        return error_set(error, -EBUSY, NULL, "too many wait for the cancelling already");
    ongoing->cancel_clients[ongoing->n_cancel_clients++] = client;
    return 0;
}

void ongoing_answer_cancels(struct ongoing *ongoing, struct control_server *server, bool is_source,
                            enum tern_outcome outcome)
{
    struct json_object *done = json_object_new_object();
    struct tern_error error;

    json_object_object_add(done, "outcome", json_object_new_string(outcome_name(outcome)));
    json_object_object_add(done, "message",
                           json_object_new_string(is_source ? "cancelled; the guest stays at the source"
                                                            : "cancelled; nothing was received"));
    error_set(&error, -EALREADY, NULL, "too late to cancel: the migration ended as %s", outcome_name(outcome));
    for (size_t i = 0; i < ongoing->n_cancel_clients; i++)
        control_server_answer(server, ongoing->cancel_clients[i], outcome == TERN_OUTCOME_FAILED ? NULL : &error, done);
    json_object_put(done);
}
