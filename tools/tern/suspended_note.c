/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/suspended_note.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/tern.h"
#include "transport/error.h"

#define PATH_BYTES 4096

/* The note is a symbolic link: it is made in one step, and holds a path and nothing else. */
static void note_path(const char *socket_path, const char *suffix, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%.*s.suspended%s", PATH_BYTES - 32, socket_path, suffix);
}

void suspended_note_write(const char *socket_path, const char *image)
{
    char *absolute = realpath(image, NULL), path[PATH_BYTES], fresh[PATH_BYTES];

    note_path(socket_path, "", path);
    note_path(socket_path, ".new", fresh);
    unlink(fresh);
    if (absolute && (symlink(absolute, fresh) || rename(fresh, path)))
        unlink(fresh);
    free(absolute);
}

void suspended_note_clear(const char *socket_path)
{
    char path[PATH_BYTES], target[8];

    note_path(socket_path, "", path);
    if (readlink(path, target, sizeof(target)) > 0)
        unlink(path);
}

bool suspended_note_read(const char *socket_path, char *image, size_t image_bytes)
{
    struct tern_image *head = calloc(1, sizeof(*head));
    char path[PATH_BYTES];
    ssize_t n;
    bool is_there;

    note_path(socket_path, "", path);
    n = readlink(path, image, image_bytes);
    is_there = head && n > 0 && (size_t)n < image_bytes;
    if (is_there) {
        image[n] = 0;
        head->struct_bytes = sizeof(*head);
        is_there = !tern_image_read(image, head, NULL);
    }
    free(head);
    return is_there;
}

void suspended_note_explain(const char *socket_path, struct tern_error *error)
{
    char image[PATH_BYTES], text[160];

    if (!error)
        return;
    if (suspended_note_read(socket_path, image, sizeof(image))) {
        snprintf(text, sizeof(text), "the VM is suspended, in %.120s", image);
        snprintf(error->hint, sizeof(error->hint), "resume it first");
    } else {
        snprintf(text, sizeof(text), "the VM is inactive");
    }
    error_prefix(error, text);
}
