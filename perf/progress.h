/* SPDX-License-Identifier: BSD-2-Clause */
/* What a long run is at, on stderr: one line that is written over on a terminal, else a line now and then. */
#ifndef PERF_PROGRESS_H
#define PERF_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed: nothing was said yet. */
struct progress {
    uint64_t said_ns;
    bool shown; /* a line stands on the terminal */
};

/* progress_say: where this is no terminal, every 5 s at most and not within the first 5 s. */
void progress_say(struct progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* progress_clear: before something is written to stdout. */
void progress_clear(struct progress *progress);

#endif
