/* SPDX-License-Identifier: BSD-2-Clause */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "tools/common/host_port.h"
#include "tools/common/units.h"

struct reading {
    const char *text;
    uint64_t value; /* 0: refused */
};

typedef int parse_fn(const char *text, uint64_t *out, struct tern_error *error);

static void read_all(parse_fn *parse, const struct reading *readings, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct tern_error error = {0};
        uint64_t value = 4242;
        int r = parse(readings[i].text, &value, &error);

        if (readings[i].value) {
            cr_assert_eq(r, 0, "'%s': %s", readings[i].text, error.message);
            cr_assert_eq(value, readings[i].value, "'%s' read as %lu", readings[i].text, value);
        } else {
            cr_assert_lt(r, 0, "'%s' was taken as %lu", readings[i].text, value);
            cr_assert_eq(error.code, r);
            cr_assert_gt(strlen(error.message), 0);
            cr_assert_eq(value, 4242, "'%s' was refused but written", readings[i].text);
        }
    }
}

#define READ_ALL(parse, readings) read_all(parse, readings, sizeof(readings) / sizeof(readings[0]))

Test(units, sizes, .timeout = 10)
{
    static const struct reading readings[] = {
        {"512M", 512ull << 20},
        {"1.5G", 3ull << 29},
        {"4096B", 4096},
        {"2MiB", 2 << 20},
        {"1T", 1ull << 40},
        {"0.5K", 512},
        {"16777215T", 16777215ull << 40},
        {"512", 0},
        {"", 0},
        {"M", 0},
        {"-1M", 0},
        {"+1M", 0},
        {" 1M", 0},
        {"1 M", 0},
        {"1M ", 0},
        {"1MB", 0},
        {"1m", 0},
        {"0x10M", 0},
        {"1.M", 0},
        {".5M", 0},
        {"1e3M", 0},
        {"16777216T", 0},
        {"99999999999999999999M", 0},
        {"1.0000000001M", 0},
        {"1Mb/s", 0},
        {"nanM", 0},
    };

    READ_ALL(units_parse_size, readings);
}

Test(units, rates_in_bits_and_bytes, .timeout = 10)
{
    static const struct reading readings[] = {
        {"10Gb/s", 10000000000},
        {"800Mb/s", 800000000},
        {"1.5GiB/s", 12884901888},
        {"100MB/s", 800000000},
        {"64kb/s", 64000},
        {"1b/s", 1},
        {"1KiB/s", 8192},
        {"10G", 0},
        {"10", 0},
        {"10Gbps", 0},
        {"10Gb", 0},
        {"10 Gb/s", 0},
        {"10gb/s", 0},
        {"99999999999Tb/s", 0},
    };

    READ_ALL(units_parse_rate, readings);
}

Test(units, durations, .timeout = 10)
{
    static const struct reading readings[] = {
        {"50ms", 50000000},
        {"1.5s", 1500000000},
        {"0.25ms", 250000},
        {"60s", 60000000000},
        {"50", 0},
        {"5m", 0},
        {"1h", 0},
        {"50 ms", 0},
        {"ms", 0},
        {"-5ms", 0},
        {"99999999999999s", 0},
    };

    READ_ALL(units_parse_duration, readings);
}

Test(units, numbers, .timeout = 10)
{
    static const struct reading readings[] = {
        {"1", 1},  {"18446744073709551615", UINT64_MAX}, {"18446744073709551616", 0}, {"1.5", 0}, {"", 0}, {"-1", 0},
        {"7x", 0},
    };

    READ_ALL(units_parse_number, readings);
}

Test(units, the_error_names_the_remedy, .timeout = 10)
{
    struct tern_error error;
    uint64_t value;

    cr_assert_eq(units_parse_size("512", &value, &error), -EINVAL);
    cr_assert_str_eq(error.message, "size '512' has no unit");
    cr_assert_str_eq(error.hint, "write it like 512M or 1.5G");
    cr_assert_eq(units_parse_size("0", &value, &error), 0, "nothing needs no unit");
    cr_assert_eq(value, 0);
    cr_assert_eq(units_parse_duration("5m", &value, &error), -EINVAL);
    cr_assert_str_eq(error.message, "'5m' is not a duration");
}

Test(units, shown_with_three_digits, .timeout = 10)
{
    char text[UNITS_TEXT_BYTES];

    cr_assert_str_eq(units_size(0, text), "0 B");
    cr_assert_str_eq(units_size(512ull << 20, text), "512 MiB");
    cr_assert_str_eq(units_size((512ull << 20) + 7, text), "512 MiB");
    cr_assert_str_eq(units_size(3ull << 29, text), "1.50 GiB");
    cr_assert_str_eq(units_size(UINT64_MAX, text), "16.0 EiB");
    cr_assert_str_eq(units_rate(0, text), "0 b/s");
    cr_assert_str_eq(units_rate(999999, text), "1.00 Mb/s");
    cr_assert_str_eq(units_rate(9812345678, text), "9.81 Gb/s");
    cr_assert_str_eq(units_rate(17000000000, text), "17.0 Gb/s");
    cr_assert_str_eq(units_duration(270000, text), "0.27 ms");
    cr_assert_str_eq(units_duration(12345678, text), "12.3 ms");
    cr_assert_str_eq(units_duration(999999999, text), "1.00 s");
    cr_assert_str_eq(units_count(0, text), "0");
    cr_assert_str_eq(units_count(999, text), "999");
    cr_assert_str_eq(units_count(138240, text), "138,240");
    cr_assert_str_eq(units_count(UINT64_MAX, text), "18,446,744,073,709,551,615");
}

Test(units, the_exact_size_is_read_back, .timeout = 10)
{
    static const uint64_t sizes[] = {1, 1023, 1024, 4096, 3ull << 29, 512ull << 20, (1ull << 40) + 1, 5ull << 50};
    char text[UNITS_TEXT_BYTES];

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t back = 0;

        cr_assert_eq(units_parse_size(units_size_exact(sizes[i], text), &back, NULL), 0, "%s", text);
        cr_assert_eq(back, sizes[i], "%s", text);
    }
    cr_assert_str_eq(units_size_exact(512ull << 20, text), "512M");
}

static void expect_address(const char *text, bool listening, const char *host, int port)
{
    struct tern_error error = {0};
    struct host_port out;

    cr_assert_eq(host_port_parse(text, listening, &out, &error), 0, "'%s': %s", text, error.message);
    cr_assert_str_eq(out.host, host);
    cr_assert_eq(out.has_port, port >= 0);
    cr_assert_eq(out.port, port < 0 ? 0 : port);
}

Test(host_port, all_ways_of_writing, .timeout = 10)
{
    expect_address("host:7471", false, "host", 7471);
    expect_address("host", false, "host", -1);
    expect_address("10.0.0.2:1", false, "10.0.0.2", 1);
    expect_address("[fd00::1]:7471", false, "fd00::1", 7471);
    expect_address("[fe80::1%eth0]", false, "fe80::1%eth0", -1);
    expect_address(":7471", true, "", 7471);
    expect_address("host:0", true, "host", 0);
}

Test(host_port, refusals, .timeout = 10)
{
    static const char *const texts[] = {"",      ":7471",   "host:",      "host:0",    "host:65535", "host:-1",
                                        "h:1:2", "fd00::1", "[fd00::1",   "[]:7471",   "[fd00::1]7", "ho st:1",
                                        "h/x:1", "host:1x", "[fd00::1]:", "host:70000"};
    struct host_port out = {.host = "untouched"};
    char text[400];
    struct tern_error error;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        cr_assert_eq(host_port_parse(texts[i], false, &out, &error), -EINVAL, "'%s' was taken", texts[i]);
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    cr_assert_eq(host_port_parse(text, false, &out, &error), -EINVAL);
    cr_assert_eq(host_port_parse("", true, &out, &error), -EINVAL);
    cr_assert_str_eq(out.host, "untouched");
}

Test(host_port, shown_as_it_is_written, .timeout = 10)
{
    char text[HOST_PORT_TEXT_BYTES];

    cr_assert_str_eq(host_port_text("10.0.0.2", 7471, text), "10.0.0.2:7471");
    cr_assert_str_eq(host_port_text("fd00::1", 7471, text), "[fd00::1]:7471");
    cr_assert_str_eq(host_port_text("", 7471, text), "any address, port 7471");
}
