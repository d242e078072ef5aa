/* SPDX-License-Identifier: BSD-2-Clause */
/* A note beside a VM's socket, SOCK.suspended, that says in which image its guest is: for 'tern status', when nobody
 * answers at the socket any more. It is a help, not the truth: without it, or without the image, the VM is inactive. */
#ifndef TOOLS_TERN_SUSPENDED_NOTE_H
#define TOOLS_TERN_SUSPENDED_NOTE_H

#include <stdbool.h>
#include <stddef.h>

#include "transport/tern_error.h"

/* Each is silent where it cannot. */
void suspended_note_write(const char *socket_path, const char *image);
void suspended_note_clear(const char *socket_path);

/* suspended_note_read: is the guest of that socket in an image that is still there? Then its path is in image. */
bool suspended_note_read(const char *socket_path, char *image, size_t image_bytes);

/* suspended_note_explain: nobody answers at the socket, which error says: put the VM's state before it. */
void suspended_note_explain(const char *socket_path, struct tern_error *error);

#endif
