/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration for people: its events as they come, its result as a table. Reads the JSON of the contract only. */
#ifndef TOOLS_TERN_RENDER_H
#define TOOLS_TERN_RENDER_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

/* Where events go. On a terminal one line is overwritten; elsewhere phases, rounds and warnings get a line each. */
struct render {
    FILE *out;
    bool is_terminal;
    bool line_is_open; /* a progress line stands there, without a newline */
    unsigned columns;
};

void render_init(struct render *render, FILE *out);
void render_event(struct render *render, struct json_object *event);
/* Remove the progress line, if one stands there. */
void render_end(struct render *render);

/* The summary of a done event that is ok, with the downtime ledger. to: where it went, as the user wrote it. */
void render_summary(FILE *out, const char *to, struct json_object *done);
/* "pre-copy, round 3, 1.31 Gb/s, 412 MiB left, predicted downtime 12.3 ms" */
void render_line(struct json_object *event, char *text, size_t text_bytes);

#endif
