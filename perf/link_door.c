/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/link_door.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/wire.h"
#include "transport/control.h"
#include "transport/error.h"

void link_door_refuse(int fd, const struct tern_error *error)
{
    uint8_t message[TERN_ERROR_MESSAGE_BYTES + TERN_ERROR_HINT_BYTES + 16];

    control_send_raw(fd, WIRE_REFUSE, message, wire_put_refuse(message, error));
}

static void control_came(struct link_door *door, int fd)
{
    struct tern_error error;
    bool taken;

    pthread_mutex_lock(&door->lock);
    taken = !door->busy && door->waiting_fd < 0;
    if (taken) {
        door->waiting_fd = fd;
        pthread_cond_signal(&door->changed);
    }
    pthread_mutex_unlock(&door->lock);
    if (taken)
        return;
    error_set(&error, -EBUSY, "wait until it has ended, or start another server on another port",
              "the tern-perf server is measuring with another client");
    link_door_refuse(fd, &error);
    close(fd);
}

static void lane_came(struct link_door *door, int fd, const struct preamble *preamble)
{
    struct tern_error error = {0};

    pthread_mutex_lock(&door->lock);
    if (!door->link || !door->provider->destination_adopt ||
        memcmp(preamble->token, door->token, sizeof(door->token)) != 0) {
        close(fd);
        error_set(&error, -EACCES, NULL, "it showed a wrong token");
    } else {
        door->provider->destination_adopt(door->link, preamble->lane, fd, &error);
    }
    pthread_mutex_unlock(&door->lock);
    if (error.code)
        fprintf(stderr, "a lane was turned away: %s\n", error.message);
}

static void on_connection(void *opaque, int fd, const struct preamble *preamble)
{
    if (preamble->kind == PREAMBLE_LANE)
        lane_came(opaque, fd, preamble);
    else
        control_came(opaque, fd);
}

static void on_stranger(void *opaque, int fd, const struct tern_error *error)
{
    (void)opaque;
    if (error->code == -EPROTONOSUPPORT)
        link_door_refuse(fd, error);
    fprintf(stderr, "a connection was turned away: %s\n", error->message);
}

int link_door_open(struct link_door *door, uint16_t port, struct tern_error *error)
{
    struct listener_handler handler = {on_connection, on_stranger, door};

    *door = (struct link_door){.waiting_fd = -1};
    pthread_mutex_init(&door->lock, NULL);
    pthread_cond_init(&door->changed, NULL);
    return listener_create(NULL, port, &handler, &door->listener, error);
}

void link_door_close(struct link_door *door)
{
    listener_destroy(door->listener);
    link_door_drop(door);
    if (door->waiting_fd >= 0)
        close(door->waiting_fd);
    pthread_cond_destroy(&door->changed);
    pthread_mutex_destroy(&door->lock);
}

uint16_t link_door_port(const struct link_door *door)
{
    return listener_port(door->listener);
}

int link_door_wait(struct link_door *door)
{
    int fd;

    pthread_mutex_lock(&door->lock);
    while (door->waiting_fd < 0)
        pthread_cond_wait(&door->changed, &door->lock);
    fd = door->waiting_fd;
    door->waiting_fd = -1;
    door->busy = true;
    pthread_mutex_unlock(&door->lock);
    return fd;
}

void link_door_vacate(struct link_door *door)
{
    pthread_mutex_lock(&door->lock);
    door->busy = false;
    pthread_mutex_unlock(&door->lock);
}

void link_door_admit(struct link_door *door, const struct link_provider *provider, struct link_destination *link,
                     const uint8_t token[LINK_TOKEN_BYTES])
{
    pthread_mutex_lock(&door->lock);
    memcpy(door->token, token, sizeof(door->token));
    door->provider = provider;
    door->link = link;
    pthread_mutex_unlock(&door->lock);
}

void link_door_abort(struct link_door *door)
{
    pthread_mutex_lock(&door->lock);
    if (door->link)
        door->provider->destination_abort(door->link);
    pthread_mutex_unlock(&door->lock);
}

void link_door_drop(struct link_door *door)
{
    struct link_destination *link;

    pthread_mutex_lock(&door->lock);
    link = door->link;
    door->link = NULL;
    pthread_mutex_unlock(&door->lock);
    if (link)
        door->provider->destination_close(link);
}
