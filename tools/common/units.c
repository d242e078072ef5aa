/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/units.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "transport/error.h"

#define FRACTION_DIGITS_MAX 9

/* A decimal number split at its point: whole + fraction / scale. */
struct decimal {
    uint64_t whole;
    uint64_t fraction;
    uint64_t scale;
    const char *rest; /* what follows */
};

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"B", 1},
    {"K", 1ull << 10},
    {"M", 1ull << 20},
    {"G", 1ull << 30},
    {"T", 1ull << 40},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {NULL, 0},
};

static const struct unit rate_units[] = {
    {"b/s", 1},
    {"kb/s", 1000},
    {"Kb/s", 1000},
    {"Mb/s", 1000000},
    {"Gb/s", 1000000000},
    {"Tb/s", 1000000000000},
    {"B/s", 8},
    {"kB/s", 8000},
    {"KB/s", 8000},
    {"MB/s", 8000000},
    {"GB/s", 8000000000},
    {"TB/s", 8000000000000},
    {"KiB/s", 8ull << 10},
    {"MiB/s", 8ull << 20},
    {"GiB/s", 8ull << 30},
    {"TiB/s", 8ull << 40},
    {NULL, 0},
};

static const struct unit duration_units[] = {{"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool add_digit(uint64_t *value, char c)
{
    return !__builtin_mul_overflow(*value, 10, value) && !__builtin_add_overflow(*value, (uint64_t)(c - '0'), value);
}

/* -EINVAL: no number at all. -ERANGE: more than 64 bits, or too many digits after the point. */
static int split(const char *text, struct decimal *out)
{
    struct decimal d = {.scale = 1};

    if (!is_digit(*text))
        return -EINVAL;
    for (; is_digit(*text); text++)
        if (!add_digit(&d.whole, *text))
            return -ERANGE;
    if (*text == '.') {
        if (!is_digit(*++text))
            return -EINVAL;
        for (int n = 0; is_digit(*text); text++, n++) {
            if (n == FRACTION_DIGITS_MAX)
                return -ERANGE;
            add_digit(&d.fraction, *text);
            d.scale *= 10;
        }
    }
    d.rest = text;
    *out = d;
    return 0;
}

static int scale(const struct decimal *d, uint64_t factor, uint64_t *out)
{
    uint64_t whole;
    uint64_t part = (uint64_t)((unsigned __int128)d->fraction * factor / d->scale);

    if (__builtin_mul_overflow(d->whole, factor, &whole) || __builtin_add_overflow(whole, part, &whole))
        return -ERANGE;
    *out = whole;
    return 0;
}

static int parse(const char *text, const struct unit *units, const char *what, const char *hint, uint64_t *out,
                 struct tern_error *error)
{
    struct decimal d;
    int r = split(text, &d);

    if (!strcmp(text, "0")) { /* nothing is nothing in any unit */
        *out = 0;
        return 0;
    }
    if (!r) {
        r = -EINVAL;
        for (const struct unit *u = units; u->name; u++)
            if (!strcmp(u->name, d.rest))
                r = scale(&d, u->factor, out);
        if (r == -EINVAL && !*d.rest)
            return error_set(error, r, hint, "%s '%.40s' has no unit", what, text);
    }
    if (r == -ERANGE)
        return error_set(error, r, NULL, "%s '%.40s' is out of range", what, text);
    return r ? error_set(error, r, hint, "'%.40s' is not a %s", text, what) : 0;
}

int units_parse_size(const char *text, uint64_t *bytes_out, struct tern_error *error)
{
    return parse(text, size_units, "size", "write it like 512M or 1.5G", bytes_out, error);
}

int units_parse_rate(const char *text, uint64_t *bps_out, struct tern_error *error)
{
    return parse(text, rate_units, "rate", "write it like 10Gb/s (bits) or 1.5GiB/s (bytes)", bps_out, error);
}

int units_parse_duration(const char *text, uint64_t *ns_out, struct tern_error *error)
{
    return parse(text, duration_units, "duration", "write it like 50ms or 1.5s", ns_out, error);
}

int units_parse_number(const char *text, uint64_t *out, struct tern_error *error)
{
    struct decimal d;
    int r = split(text, &d);

    if (r == -ERANGE)
        return error_set(error, r, NULL, "number '%.40s' is out of range", text);
    if (r || d.scale > 1 || *d.rest)
        return error_set(error, -EINVAL, NULL, "'%.40s' is not a whole number", text);
    *out = d.whole;
    return 0;
}

/* Three significant digits of a value below 10,000. */
static void three_digits(double value, const char *unit, char text[UNITS_TEXT_BYTES])
{
    int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;

    snprintf(text, UNITS_TEXT_BYTES, "%.*f %s", decimals, value, unit);
}

const char *units_size(uint64_t bytes, char text[UNITS_TEXT_BYTES])
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    int n = 0;

    while (n < 6 && bytes >> (10 * (n + 1)))
        n++;
    if (bytes % (1ull << (10 * n)) == 0)
        snprintf(text, UNITS_TEXT_BYTES, "%llu %s", (unsigned long long)(bytes >> (10 * n)), names[n]);
    else
        three_digits((double)bytes / (double)(1ull << (10 * n)), names[n], text);
    return text;
}

const char *units_rate(uint64_t bps, char text[UNITS_TEXT_BYTES])
{
    static const char *const names[] = {"b/s", "kb/s", "Mb/s", "Gb/s", "Tb/s"};
    double value = (double)bps;
    int n = 0;

    for (; n < 4 && value >= 999.5; n++)
        value /= 1000;
    if (n == 0)
        snprintf(text, UNITS_TEXT_BYTES, "%llu b/s", (unsigned long long)bps);
    else
        three_digits(value, names[n], text);
    return text;
}

const char *units_duration(uint64_t ns, char text[UNITS_TEXT_BYTES])
{
    if (ns < 999500000)
        three_digits((double)ns / 1e6, "ms", text);
    else
        three_digits((double)ns / 1e9, "s", text);
    return text;
}

const char *units_count(uint64_t count, char text[UNITS_TEXT_BYTES])
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
    char *to = text;

    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

const char *units_size_exact(uint64_t bytes, char text[UNITS_TEXT_BYTES])
{
    int n = 0;

    while (n < 4 && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        n++;
    }
    snprintf(text, UNITS_TEXT_BYTES, "%llu%c", (unsigned long long)bytes, "BKMGT"[n]);
    return text;
}
