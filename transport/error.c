/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ')
            *text = ' ';
}

int error_set(struct tern_error *error, int code, const char *hint, const char *format, ...)
{
    va_list args;

    if (!error)
        return code;
    error->code = code;
    error->side = TERN_SIDE_NONE;
    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);
    snprintf(error->hint, sizeof(error->hint), "%s", hint ? hint : "");
    one_line(error->message);
    one_line(error->hint);
    return code;
}

void error_side(struct tern_error *error, enum tern_side side)
{
    if (error && error->side == TERN_SIDE_NONE)
        error->side = side;
}

void error_prefix(struct tern_error *error, const char *text)
{
    char message[TERN_ERROR_MESSAGE_BYTES];

    if (!error)
        return;
    snprintf(message, sizeof(message), "%s: %.*s", text, (int)(sizeof(message) - strlen(text) - 3), error->message);
    memcpy(error->message, message, sizeof(message));
}
