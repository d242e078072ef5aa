/* SPDX-License-Identifier: BSD-2-Clause */
/* Filling a struct tern_error. The function that first finds an error fills it; callers pass it on. */
#ifndef TRANSPORT_ERROR_H
#define TRANSPORT_ERROR_H

#include "transport/tern_error.h"

/* error_set: fill *error (which may be NULL) and return code.
 * code     negative errno
 * hint     literal or NULL
 * format   printf-like; newlines and control characters become spaces */
int error_set(struct tern_error *error, int code, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* error_prefix: put text before the message ("the source is gone" + ": " + message), cutting its end if need be. */
void error_prefix(struct tern_error *error, const char *text);

/* error_side: note the side where it failed, unless one is noted already. */
void error_side(struct tern_error *error, enum tern_side side);

#endif
