/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int line_reader_init(struct line_reader *reader)
{
    *reader = (struct line_reader){.data = malloc(LINES_LINE_BYTES_MAX + 1)};
    return reader->data ? 0 : -ENOMEM;
}

void line_reader_release(struct line_reader *reader)
{
    free(reader->data);
    *reader = (struct line_reader){0};
}

int line_reader_fill(struct line_reader *reader, int fd)
{
    ssize_t n;

    reader->fill_bytes -= reader->begin_bytes;
    memmove(reader->data, reader->data + reader->begin_bytes, reader->fill_bytes);
    reader->begin_bytes = 0;
    if (reader->fill_bytes == LINES_LINE_BYTES_MAX) /* whole lines, not taken yet */
        return 0;
    do
        n = read(fd, reader->data + reader->fill_bytes, LINES_LINE_BYTES_MAX - reader->fill_bytes);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (!n)
        reader->end_of_file = true;
    reader->fill_bytes += (size_t)n;
    return reader->fill_bytes == LINES_LINE_BYTES_MAX && !line_reader_has_line(reader) ? -EMSGSIZE : 0;
}

static char *find_newline(const struct line_reader *reader)
{
    size_t left_bytes = reader->fill_bytes - reader->begin_bytes;

    return left_bytes ? memchr(reader->data + reader->begin_bytes, '\n', left_bytes) : NULL;
}

bool line_reader_has_line(const struct line_reader *reader)
{
    return find_newline(reader);
}

char *line_reader_next(struct line_reader *reader, size_t *length_out)
{
    char *line = reader->data + reader->begin_bytes;
    char *newline = find_newline(reader);

    if (!newline)
        return NULL;
    *newline = '\0';
    *length_out = (size_t)(newline - line);
    reader->begin_bytes += *length_out + 1;
    return line;
}

void line_writer_release(struct line_writer *writer)
{
    free(writer->data);
    *writer = (struct line_writer){0};
}

static int reserve(struct line_writer *writer, size_t bytes)
{
    size_t capacity = writer->capacity_bytes ? writer->capacity_bytes : 4096;
    char *data;

    while (capacity < bytes)
        capacity *= 2;
    if (capacity == writer->capacity_bytes)
        return 0;
    data = realloc(writer->data, capacity);
    if (!data)
        return -ENOMEM;
    writer->data = data;
    writer->capacity_bytes = capacity;
    return 0;
}

int line_writer_add(struct line_writer *writer, const char *text, enum line_class class)
{
    static const size_t limits[] = {
        [LINE_PROGRESS] = LINES_PROGRESS_BYTES_MAX,
        [LINE_EVENT] = LINES_EVENT_BYTES_MAX,
        [LINE_ANSWER] = LINES_ANSWER_BYTES_MAX,
    };
    size_t length = strlen(text);
    size_t needed = writer->fill_bytes + length + 1;
    int r = needed > limits[class] ? -ENOBUFS : reserve(writer, needed);

    if (r) {
        writer->dropped_lines++;
        return r;
    }
    memcpy(writer->data + writer->fill_bytes, text, length);
    writer->data[needed - 1] = '\n';
    writer->fill_bytes = needed;
    return 0;
}

int line_writer_flush(struct line_writer *writer, int fd)
{
    size_t sent = 0;
    int r = 0;

    while (sent < writer->fill_bytes) {
        ssize_t n = send(fd, writer->data + sent, writer->fill_bytes - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            sent += (size_t)n;
        } else if (errno != EINTR) {
            r = errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
            break;
        }
    }
    if (sent)
        memmove(writer->data, writer->data + sent, writer->fill_bytes - sent);
    writer->fill_bytes -= sent;
    return r;
}
