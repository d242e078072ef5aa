/* SPDX-License-Identifier: BSD-2-Clause */
/* One TCP port for control channels and tcp lanes. A thread accepts, reads the preamble of each connection (several at
 * once; each has PREAMBLE_MS to send it, so that a silent stranger holds nobody up) and hands the socket over.
 * Knows no token: whoever takes the connection checks it.
 */
#ifndef TRANSPORT_LISTENER_H
#define TRANSPORT_LISTENER_H

#include <stdint.h>

#include "transport/preamble.h"
#include "transport/tern_error.h"

struct listener;

struct listener_handler {
    /* connection: a preamble was read. fd, blocking, is the handler's from here on. Listener's thread; must not block.
     */
    void (*connection)(void *opaque, int fd, const struct preamble *preamble);
    /* stranger: what came was no preamble of this version, or nothing in time; error says which. fd is closed after. */
    void (*stranger)(void *opaque, int fd, const struct tern_error *error);
    void *opaque;
};

/* listener_create: listen on host (NULL: everywhere) and port (0: any free one).
 * errors   -EADDRINUSE and the like, with the address */
int listener_create(const char *host, uint16_t port, const struct listener_handler *handler, struct listener **out,
                    struct tern_error *error);
uint16_t listener_port(const struct listener *listener);

/* listener_destroy: no more calls of the handler after return. Takes NULL. */
void listener_destroy(struct listener *listener);

#endif
