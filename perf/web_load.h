/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients of a web server, all at once: each fetches one URL again and again, checks every body against the first one
 * that came whole, and notes when it heard nothing. Each client is a thread with its own socket and report, so that no
 * lock is taken while bytes come. HTTP/1.1 with or without keep-alive; bodies with Content-Length only. */
#ifndef PERF_WEB_LOAD_H
#define PERF_WEB_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/tern_error.h"

#define WEB_CLIENTS_MAX  1024u
#define WEB_HOST_BYTES   256
#define WEB_PATH_BYTES   1024
#define WEB_ANSWER_BYTES 32

struct web_url {
    char host[WEB_HOST_BYTES];
    char path[WEB_PATH_BYTES]; /* begins with a slash */
    uint16_t port;
};

/* web_url_parse: "http://HOST[:PORT][/PATH]"; an IPv6 address in brackets. errors -EINVAL */
int web_url_parse(const char *text, struct web_url *out, struct tern_error *error);

/* A time in which a client heard nothing: WEB_SILENCE_NS or longer. */
#define WEB_SILENCE_NS 2000000ull
struct web_silence {
    uint64_t begin_ns, end_ns;
};

/* heard_ns    of its last byte; 0: none came
 * error       why it ended: 0 the server had said that it would close it; -ECANCELED the load was over; -ESHUTDOWN the
 *             server closed it; -EPROTO another answer than 200; else its socket's
 * left_bytes  of the body under way; 0: it ended between two bodies, or in a head */
struct web_connection {
    uint64_t opened_ns, heard_ns, closed_ns;
    int error;
    uint64_t left_bytes;
    char answer[WEB_ANSWER_BYTES]; /* of -EPROTO: how the answer began, what is no text as '?' */
};

/* What one client has seen. Times are since the load began; the lists are in their order. */
struct web_client_report {
    uint64_t bytes;      /* of bodies */
    uint64_t bodies;     /* whole and right */
    uint64_t damaged;    /* whole and wrong */
    uint64_t failed;     /* connections refused, cut, or with another answer than 200 */
    uint64_t silence_ns; /* the longest time between two bytes, from its first one on */
    uint64_t silence_end_ns;
    uint64_t *slot_bytes; /* of bodies, a slot */
    struct web_silence *silences;
    struct web_connection *connections;
    size_t n_silences, n_connections;
    bool out_of_memory; /* the lists are not whole */
};

struct web_load {
    struct web_url url;
    uint32_t n_clients;
    uint64_t duration_ns, slot_ns;
    uint64_t n_slots;       /* this and what follows: set by web_load_run */
    uint64_t begin_wall_ns; /* when it began, since 1970 */
    uint64_t elapsed_ns;
    struct web_client_report clients[WEB_CLIENTS_MAX];
};

/* web_load_run: blocks for duration_ns (and the half second that a client may take to see that it is over).
 * stop_fd  readable: end now; -1: none
 * errors   -ENOMEM (also when it has run), -EAGAIN no more threads. What the server does is in the reports, not an
 * error */
int web_load_run(struct web_load *load, int stop_fd, struct tern_error *error);
void web_load_free(struct web_load *load);

/* Of all clients: the sum of their slots. n_slots values. */
void web_load_slots(const struct web_load *load, uint64_t *bytes_out);

#endif
