/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "transport/clock.h"

#define EVERY_NS (5 * NS_PER_S)

void progress_say(struct progress *progress, const char *format, ...)
{
    bool terminal = isatty(STDERR_FILENO);
    uint64_t now_ns = clock_now_ns();
    va_list args;

    if (!progress->said_ns)
        progress->said_ns = now_ns;
    if (!terminal && now_ns - progress->said_ns < EVERY_NS)
        return;
    progress->said_ns = now_ns;
    fputs(terminal ? "\r\033[K" : "", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs(terminal ? "" : "\n", stderr);
    fflush(stderr);
    progress->shown = terminal;
}

void progress_clear(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->shown = false;
}
