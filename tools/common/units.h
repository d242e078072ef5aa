/* SPDX-License-Identifier: BSD-2-Clause */
/* Sizes, rates and durations as people write them, and as they read them.
 * Invariant: a number whose unit could be misread is refused, never guessed. Knows nothing of options. */
#ifndef TOOLS_COMMON_UNITS_H
#define TOOLS_COMMON_UNITS_H

#include <stdint.h>

#include "transport/tern_error.h"

#define UNITS_TEXT_BYTES 32

/* "512M", "1.5G", "4096B", "2MiB": binary, the unit is mandatory. */
int units_parse_size(const char *text, uint64_t *bytes_out, struct tern_error *error);
/* "10Gb/s", "800Mb/s" (bits, decimal), "1.5GiB/s", "100MB/s" (bytes): bits a second. */
int units_parse_rate(const char *text, uint64_t *bps_out, struct tern_error *error);
/* "50ms", "1.5s": nanoseconds. */
int units_parse_duration(const char *text, uint64_t *ns_out, struct tern_error *error);
/* "4096": decimal digits only. */
int units_parse_number(const char *text, uint64_t *out, struct tern_error *error);

/* Three significant digits, or all of them where the value is whole; each returns text. */
const char *units_size(uint64_t bytes, char text[UNITS_TEXT_BYTES]);  /* "512 MiB", "1.50 GiB" */
const char *units_rate(uint64_t bps, char text[UNITS_TEXT_BYTES]);    /* "9.81 Gb/s" */
const char *units_duration(uint64_t ns, char text[UNITS_TEXT_BYTES]); /* "0.27 ms", "12.3 ms", "2.31 s" */
const char *units_count(uint64_t count, char text[UNITS_TEXT_BYTES]); /* "138,240" */
/* Shortest form that units_parse_size reads back ("512M"); bytes that fit no unit end in B. */
const char *units_size_exact(uint64_t bytes, char text[UNITS_TEXT_BYTES]);

#endif
