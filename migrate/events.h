/* SPDX-License-Identifier: BSD-2-Clause */
/* A session's events on their way to the caller: one at a time, each with the side, the phase and the time. */
#ifndef MIGRATE_EVENTS_H
#define MIGRATE_EVENTS_H

#include <pthread.h>

#include "migrate/tern.h"

struct events {
    tern_event_fn *on_event;
    void *opaque;
    enum tern_side side;
    enum tern_phase phase;
    uint64_t start_ns;
    const char *transport, *device; /* borrowed; once known */
    pthread_mutex_t lock;
};

void events_init(struct events *events, const struct tern_options *options, enum tern_side side);
void events_free(struct events *events);

/* events_send: fill in side, phase, time and transport of *event and hand it over. Any thread. */
void events_send(struct events *events, struct tern_event *event);
void events_phase(struct events *events, enum tern_phase phase);
void events_warning(struct events *events, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* events_warn_of_ring: memory goes through this side's ring, with one copy: why. */
void events_warn_of_ring(struct events *events, const struct tern_error *why);

#endif
