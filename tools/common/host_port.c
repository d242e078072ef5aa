/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/host_port.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/units.h"
#include "transport/error.h"

static const char write_like[] = "write it like host:7471 or [fd00::1]:7471";

static int parse_port(const char *text, bool listening, uint16_t *out, struct tern_error *error)
{
    uint64_t port;

    if (units_parse_number(text, &port, NULL) || port > HOST_PORT_MAX || (!port && !listening))
        return error_set(error, -EINVAL, NULL, "port '%.40s' is not within %d..%d", text, listening ? 0 : 1,
                         HOST_PORT_MAX);
    *out = (uint16_t)port;
    return 0;
}

static bool is_host(const char *text, size_t length, bool bracketed)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] <= ' ' || strchr("[]/\"'\\", text[i]) || (!bracketed && text[i] == ':'))
            return false;
    return true;
}

int host_port_parse(const char *text, bool listening, struct host_port *out, struct tern_error *error)
{
    struct host_port parsed = {0};
    bool bracketed = *text == '[';
    const char *host = text + bracketed;
    const char *end = bracketed ? strchr(host, ']') : strchr(host, ':');
    const char *port;
    size_t length;
    int r;

    if (!end && !bracketed)
        end = host + strlen(host);
    if (!end)
        return error_set(error, -EINVAL, write_like, "address '%.60s' has no closing bracket", text);
    if (!bracketed && *end && strchr(end + 1, ':'))
        return error_set(error, -EINVAL, write_like, "IPv6 address '%.60s' without brackets", text);
    length = (size_t)(end - host);
    port = end + bracketed;
    if (length >= sizeof(parsed.host) || !is_host(host, length, bracketed) || (*port && *port != ':') ||
        (bracketed && !length))
        return error_set(error, -EINVAL, write_like, "'%.60s' is not an address", text);
    if (!length && (!listening || !*port))
        return error_set(error, -EINVAL, write_like, "address '%.60s' has no host", text);
    memcpy(parsed.host, host, length);
    if (*port) {
        r = parse_port(port + 1, listening, &parsed.port, error);
        if (r)
            return r;
        parsed.has_port = true;
    }
    *out = parsed;
    return 0;
}

const char *host_port_text(const char *host, uint16_t port, char text[HOST_PORT_TEXT_BYTES])
{
    if (!host || !*host)
        snprintf(text, HOST_PORT_TEXT_BYTES, "any address, port %u", port);
    else
        snprintf(text, HOST_PORT_TEXT_BYTES, strchr(host, ':') ? "[%.255s]:%u" : "%.255s:%u", host, port);
    return text;
}
