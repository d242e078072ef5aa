/* SPDX-License-Identifier: BSD-2-Clause */
/* Names and socket addresses: resolving, connecting, listening, and showing them. */
#ifndef TRANSPORT_ADDRESS_H
#define TRANSPORT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "transport/tern_error.h"

#define ADDRESS_TEXT_BYTES 64

/* address_connect: connect to host, trying each of its addresses until timeout_ms is over.
 * stop     may be NULL; looked at every 100 ms: true gives up with -ECANCELED
 * returns  0 and *fd_out (the caller's, blocking), or -errno with what was tried */
int address_connect(const char *host, uint16_t port, uint32_t timeout_ms, bool (*stop)(void *opaque), void *opaque,
                    int *fd_out, struct tern_error *error);

/* address_listen: a listening socket. host NULL: every address, IPv6 and IPv4.
 * port     0: any free one; *port_out tells which */
int address_listen(const char *host, uint16_t port, int *fd_out, uint16_t *port_out, struct tern_error *error);

/* address_text: "10.0.0.2:7471", "[fd00::1]:7471"; IPv4 within IPv6 is shown as IPv4. Returns text. */
const char *address_text(const struct sockaddr *address, char text[ADDRESS_TEXT_BYTES]);

/* address_host_text: the same without the port: "10.0.0.2", "fd00::1". Returns text. */
const char *address_host_text(const struct sockaddr *address, char text[ADDRESS_TEXT_BYTES]);

/* address_unmap: IPv4 within IPv6 becomes plain IPv4, which is what rdma_cm and routing want. */
void address_unmap(struct sockaddr_storage *address);
void address_set_port(struct sockaddr_storage *address, uint16_t port);

#endif
