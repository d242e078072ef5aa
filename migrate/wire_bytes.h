/* SPDX-License-Identifier: BSD-2-Clause */
/* Cursors over the bytes of a message. A reader that was asked for more than there is turns bad, gives zeros from
 * then on, and is checked once, at the end. A writer trusts its caller, whose buffer holds any message. */
#ifndef MIGRATE_WIRE_BYTES_H
#define MIGRATE_WIRE_BYTES_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct wire_writer {
    uint8_t *at, *start;
};

static inline struct wire_writer writer_on(uint8_t *buffer)
{
    return (struct wire_writer){buffer, buffer};
}

static inline size_t writer_length(const struct wire_writer *w)
{
    return (size_t)(w->at - w->start);
}

static inline void put_bytes(struct wire_writer *w, const void *from, size_t n)
{
    memcpy(w->at, from, n);
    w->at += n;
}

static inline void put_u8(struct wire_writer *w, uint8_t value)
{
    *w->at++ = value;
}

static inline void put_u16(struct wire_writer *w, uint16_t value)
{
    value = htole16(value);
    put_bytes(w, &value, sizeof(value));
}

static inline void put_u32(struct wire_writer *w, uint32_t value)
{
    value = htole32(value);
    put_bytes(w, &value, sizeof(value));
}

static inline void put_u64(struct wire_writer *w, uint64_t value)
{
    value = htole64(value);
    put_bytes(w, &value, sizeof(value));
}

static inline void put_string(struct wire_writer *w, const char *text)
{
    size_t n = strlen(text);

    put_u16(w, (uint16_t)n);
    put_bytes(w, text, n);
}

struct wire_reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static inline struct wire_reader reader_on(const uint8_t *payload, size_t length)
{
    return (struct wire_reader){payload, length, false};
}

static inline void get_bytes(struct wire_reader *r, void *to, size_t n)
{
    if (r->bad || r->left < n) {
        r->bad = true;
        memset(to, 0, n);
        return;
    }
    memcpy(to, r->at, n);
    r->at += n;
    r->left -= n;
}

static inline uint8_t get_u8(struct wire_reader *r)
{
    uint8_t value;

    get_bytes(r, &value, sizeof(value));
    return value;
}

static inline uint16_t get_u16(struct wire_reader *r)
{
    uint16_t value;

    get_bytes(r, &value, sizeof(value));
    return le16toh(value);
}

static inline uint32_t get_u32(struct wire_reader *r)
{
    uint32_t value;

    get_bytes(r, &value, sizeof(value));
    return le32toh(value);
}

static inline uint64_t get_u64(struct wire_reader *r)
{
    uint64_t value;

    get_bytes(r, &value, sizeof(value));
    return le64toh(value);
}

static inline bool get_bool(struct wire_reader *r)
{
    uint8_t value = get_u8(r);

    r->bad |= value > 1;
    return value == 1;
}

/* A string of at most capacity - 1 printable bytes. */
static inline void get_string(struct wire_reader *r, char *to, size_t capacity)
{
    size_t n = get_u16(r);

    if (n >= capacity) {
        r->bad = true;
        n = 0;
    }
    get_bytes(r, to, n);
    to[n] = 0;
    for (size_t i = 0; i < n; i++)
        r->bad |= (unsigned char)to[i] < ' ' || (unsigned char)to[i] == 0x7f;
}

/* A count of entries of entry_bytes each, which must all be there. */
static inline uint32_t get_count(struct wire_reader *r, uint32_t max, size_t entry_bytes)
{
    uint32_t n = get_u32(r);

    if (n > max || n * entry_bytes > r->left) {
        r->bad = true;
        n = 0;
    }
    return n;
}

static inline int reader_end(const struct wire_reader *r)
{
    return r->bad || r->left ? -EPROTO : 0;
}

#endif
