/* SPDX-License-Identifier: BSD-2-Clause */
/* HOST:PORT as written on a command line. Resolves nothing. */
#ifndef TOOLS_COMMON_HOST_PORT_H
#define TOOLS_COMMON_HOST_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/tern_error.h"

#define HOST_PORT_HOST_BYTES 256
#define HOST_PORT_TEXT_BYTES (HOST_PORT_HOST_BYTES + 10)
/* libtern takes 65535 as "any free one". */
#define HOST_PORT_MAX 65534

struct host_port {
    char host[HOST_PORT_HOST_BYTES]; /* empty: any address (listening only) */
    uint16_t port;                   /* with has_port: 0 is any free one (listening only) */
    bool has_port;
};

/* host_port_parse: "HOST", "HOST:PORT", "[V6]", "[V6]:PORT"; with listening also ":PORT" and port 0. */
int host_port_parse(const char *text, bool listening, struct host_port *out, struct tern_error *error);

/* "10.0.0.2:7471", "[fd00::1]:7471", "any address, port 7471". Returns text. */
const char *host_port_text(const char *host, uint16_t port, char text[HOST_PORT_TEXT_BYTES]);

#endif
