/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/events.h"

#include <stdarg.h>
#include <stdio.h>

#include "transport/clock.h"

void events_init(struct events *events, const struct tern_options *options, enum tern_side side)
{
    *events = (struct events){.on_event = options->on_event, .opaque = options->event_opaque, .side = side};
    pthread_mutex_init(&events->lock, NULL);
    events->start_ns = clock_now_ns();
}

void events_free(struct events *events)
{
    pthread_mutex_destroy(&events->lock);
}

void events_send(struct events *events, struct tern_event *event)
{
    pthread_mutex_lock(&events->lock);
    if (event->kind == TERN_EVENT_PHASE)
        events->phase = event->phase;
    event->phase = events->phase;
    event->side = events->side;
    event->transport = events->transport;
    event->device = events->device;
    event->elapsed_ns = clock_now_ns() - events->start_ns;
    if (events->on_event)
        events->on_event(events->opaque, event);
    pthread_mutex_unlock(&events->lock);
}

void events_phase(struct events *events, enum tern_phase phase)
{
    struct tern_event event = {.kind = TERN_EVENT_PHASE, .phase = phase};

    events_send(events, &event);
}

void events_warning(struct events *events, const char *format, ...)
{
    char text[512];
    struct tern_event event = {.kind = TERN_EVENT_WARNING, .text = text};
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    events_send(events, &event);
}

void events_warn_of_ring(struct events *events, const struct tern_error *why)
{
    bool asked = !why->code;

    events_warning(events, "guest memory goes through a small registered ring at the %s, with one copy%s%s%s%s",
                   events->side == TERN_SIDE_SOURCE ? "source" : "destination", asked ? ", as asked for" : ": ",
                   asked ? "" : why->message, *why->hint && !asked ? "; " : "", asked ? "" : why->hint);
}
