/* SPDX-License-Identifier: BSD-2-Clause */
/* Framing on a control socket: one JSON object a line, both ways, with bounds.
 * Invariant: neither buffer ever holds more than its limit, whatever the peer sends or fails to read.
 * Knows nothing of sockets beyond read and write, nor of what the lines mean. */
#ifndef TOOLS_COMMON_LINES_H
#define TOOLS_COMMON_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define LINES_LINE_BYTES_MAX 65536 /* the newline included */

/* What is read: a line is handed out when its newline has come. */
struct line_reader {
    char *data;         /* owned, LINES_LINE_BYTES_MAX + 1 */
    size_t begin_bytes; /* what lies before has been handed out */
    size_t fill_bytes;
    bool end_of_file;
};

int line_reader_init(struct line_reader *reader);
void line_reader_release(struct line_reader *reader);
/* line_reader_fill: one read from fd.
 * returns  0; -EAGAIN nothing there; -EMSGSIZE a line exceeds the limit; -errno. At the end, end_of_file is set. */
int line_reader_fill(struct line_reader *reader, int fd);
/* line_reader_next: the next whole line, its newline replaced by a zero byte; NULL: none yet.
 * The line is valid until the next call of fill or next. */
bool line_reader_has_line(const struct line_reader *reader);
char *line_reader_next(struct line_reader *reader, size_t *length_out);

/* How much of the writer's limit a line may use: the less it matters, the less. */
enum line_class {
    LINE_PROGRESS, /* dropped first */
    LINE_EVENT,
    LINE_ANSWER, /* the server reads no further request while answers wait, so these always fit */
};

#define LINES_PROGRESS_BYTES_MAX (64 * 1024)
#define LINES_EVENT_BYTES_MAX    (256 * 1024)
#define LINES_ANSWER_BYTES_MAX   (512 * 1024)

/* What is to be written: appended by anyone, flushed as far as fd takes it. */
struct line_writer {
    char *data; /* owned */
    size_t fill_bytes;
    size_t capacity_bytes;
    size_t dropped_lines;
};

void line_writer_release(struct line_writer *writer);
/* line_writer_add: text and a newline. returns 0, -ENOBUFS dropped, -ENOMEM. */
int line_writer_add(struct line_writer *writer, const char *text, enum line_class class);
/* line_writer_flush: write what fd (non-blocking) takes, without SIGPIPE. returns 0, also if some is left; -errno. */
int line_writer_flush(struct line_writer *writer, int fd);

#endif
