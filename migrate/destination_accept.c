/* SPDX-License-Identifier: BSD-2-Clause */
/* Who connects to the destination's port. Runs in the listener's thread, but for the door_* calls of the session. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/destination.h"
#include "transport/clock.h"
#include "transport/error.h"

void door_init(struct destination_door *door)
{
    pthread_condattr_t attributes;

    *door = (struct destination_door){.waiting_fd = -1};
    pthread_mutex_init(&door->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&door->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void door_free(struct destination_door *door)
{
    if (door->waiting_fd >= 0)
        close(door->waiting_fd);
    pthread_cond_destroy(&door->changed);
    pthread_mutex_destroy(&door->lock);
}

static bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
    uint8_t difference = 0;

    for (size_t i = 0; i < n; i++)
        difference |= a[i] ^ b[i];
    return !difference;
}

static void refuse_fd(int fd, const struct tern_error *error)
{
    uint8_t message[TERN_ERROR_MESSAGE_BYTES + TERN_ERROR_HINT_BYTES + 16];

    control_send_raw(fd, WIRE_REFUSE, message, wire_put_refuse(message, error));
}

static void control_came(struct tern_destination *destination, int fd, const struct preamble *preamble)
{
    struct destination_door *door = &destination->door;
    struct tern_error error;
    bool taken;

    pthread_mutex_lock(&door->lock);
    taken = !door->receiving || (door->wants_reconnect && same(preamble->token, door->session, sizeof(door->session)));
    if (taken) {
        if (door->waiting_fd >= 0)
            close(door->waiting_fd); /* one waits at most: the latest */
        door->waiting_fd = fd;
        memcpy(door->waiting_session, preamble->token, sizeof(door->waiting_session));
        if (door->control)
            control_kick(door->control);
        pthread_cond_broadcast(&door->changed);
    }
    pthread_mutex_unlock(&door->lock);
    if (taken)
        return;
    error_set(&error, -EBUSY, "wait until it has ended, or start another destination on another port",
              "the destination is receiving another guest already");
    refuse_fd(fd, &error);
    close(fd);
}

static void lane_came(struct tern_destination *destination, int fd, const struct preamble *preamble)
{
    struct destination_door *door = &destination->door;
    struct tern_error error = {0};
    int r = -EACCES;

    pthread_mutex_lock(&door->lock);
    if (!door->link || !door->provider->destination_adopt || !same(preamble->token, door->token, sizeof(door->token))) {
        close(fd);
    } else if (preamble->n_lanes != door->n_lanes) {
        close(fd);
        r = error_set(&error, -EINVAL, NULL, "lane %u of %u, and there are %u", preamble->lane, preamble->n_lanes,
                      door->n_lanes);
    } else {
        r = door->provider->destination_adopt(door->link, preamble->lane, fd, &error);
    }
    pthread_mutex_unlock(&door->lock);
    if (r == -EACCES)
        events_warning(&destination->events, "a connection showed a wrong token as a lane and was closed");
    else if (r)
        events_warning(&destination->events, "a lane was turned away: %s", error.message);
}

static void on_connection(void *opaque, int fd, const struct preamble *preamble)
{
    if (preamble->kind == PREAMBLE_LANE)
        lane_came(opaque, fd, preamble);
    else
        control_came(opaque, fd, preamble);
}

static void on_stranger(void *opaque, int fd, const struct tern_error *error)
{
    struct tern_destination *destination = opaque;

    if (error->code == -EPROTONOSUPPORT)
        refuse_fd(fd, error);
    events_warning(&destination->events, "a connection was turned away: %s", error->message);
}

struct listener_handler door_handler(struct tern_destination *destination)
{
    return (struct listener_handler){on_connection, on_stranger, destination};
}

/* ---- the session's side ---- */

int door_wait(struct tern_destination *destination, int timeout_ms, int *fd_out, uint8_t session[WIRE_SESSION_BYTES])
{
    struct destination_door *door = &destination->door;
    struct timespec until = clock_timespec(clock_after_ms(timeout_ms < 0 ? 0 : (uint32_t)timeout_ms));
    int r = 0;

    pthread_mutex_lock(&door->lock);
    while (door->waiting_fd < 0 && !r) {
        if (atomic_load(&destination->cancelled))
            r = ECANCELED;
        else if (timeout_ms < 0)
            pthread_cond_wait(&door->changed, &door->lock);
        else
            r = pthread_cond_timedwait(&door->changed, &door->lock, &until);
    }
    if (!r) {
        *fd_out = door->waiting_fd;
        door->waiting_fd = -1;
        memcpy(session, door->waiting_session, WIRE_SESSION_BYTES);
    }
    pthread_mutex_unlock(&door->lock);
    return -r;
}

/* The control channel's reader: nothing may go on waiting for lanes of a peer that is gone. */
static void on_lost(void *opaque, int code)
{
    struct tern_destination *destination = opaque;
    struct destination_door *door = &destination->door;

    (void)code;
    pthread_mutex_lock(&door->lock);
    if (door->link)
        door->provider->destination_abort(door->link);
    pthread_mutex_unlock(&door->lock);
}

int door_open_control(struct tern_destination *destination, int fd, struct tern_error *error)
{
    struct control *control;
    int r = control_create(fd, destination->options.peer_timeout_ms, on_lost, destination, &control, error);

    if (r)
        return r;
    pthread_mutex_lock(&destination->door.lock);
    destination->door.control = control;
    pthread_mutex_unlock(&destination->door.lock);
    return 0;
}

void door_close_control(struct tern_destination *destination)
{
    struct control *control;

    pthread_mutex_lock(&destination->door.lock);
    control = destination->door.control;
    destination->door.control = NULL;
    pthread_mutex_unlock(&destination->door.lock);
    control_destroy(control);
}

void door_close_link(struct tern_destination *destination)
{
    struct destination_door *door = &destination->door;
    struct link_destination *link;

    pthread_mutex_lock(&door->lock);
    link = door->link;
    door->link = NULL;
    pthread_mutex_unlock(&door->lock);
    if (link)
        door->provider->destination_close(link);
}
