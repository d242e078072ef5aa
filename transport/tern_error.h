/* SPDX-License-Identifier: BSD-2-Clause */
/* tern_error: what failed, on which side, and what to do.
 * Public: installed beside tern.h, which includes it. Knows nothing of migrations. */
#ifndef TERN_ERROR_H
#define TERN_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum tern_side {
    TERN_SIDE_NONE = 0,
    TERN_SIDE_SOURCE = 1,
    TERN_SIDE_DESTINATION = 2,
};

#define TERN_ERROR_MESSAGE_BYTES 320
#define TERN_ERROR_HINT_BYTES    192

/* The caller's; a function that takes one accepts NULL and writes it only when it fails.
 * code     a negative errno, the same as the function returned
 * side     the side on which it failed, as far as known
 * message  one line, no full stop, no newline: what failed, with the values that matter
 * hint     one line: what to do about it; may be empty */
struct tern_error {
    int code;
    enum tern_side side;
    char message[TERN_ERROR_MESSAGE_BYTES];
    char hint[TERN_ERROR_HINT_BYTES];
};

#ifdef __cplusplus
}
#endif
#endif
