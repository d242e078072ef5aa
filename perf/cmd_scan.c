/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf scan: how fast zero pages are found, beside plain reading of the same memory by the same core. What is
 * called is what a worker calls for every dirty page; every variant that this CPU has is measured, in turns, so that
 * what else goes on falls on all alike. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migrate/zero.h"
#include "perf/samples.h"
#include "perf/show.h"
#include "tools/common/report.h"
#include "tools/common/units.h"
#include "transport/clock.h"
#include "transport/error.h"

#define WORDS   (TERN_PAGE_BYTES / 8)
#define READERS (ZERO_VARIANTS + 2)
#define KINDS   3

/* Returns how many pages are zero; what a plain read returns means nothing. */
typedef uint64_t (*reader_function)(bool (*is_zero)(const void *), const uint8_t *memory, uint64_t bytes);

struct reader {
    const char *name;
    reader_function read;
    bool (*is_zero)(const void *page);
    uint64_t *ns; /* a sample each */
};

static const struct {
    const char *name, *label;
    uint32_t word; /* that is not zero; WORDS: none */
} kinds[KINDS] = {
    {"zero", "all zero", WORDS},
    {"first", "first word not zero", 0},
    {"last", "last word not zero", WORDS - 1},
};

/* As much as one core reads: 16 bytes a load, four sums that do not wait for each other. */
static uint64_t read_plainly(bool (*is_zero)(const void *), const uint8_t *memory, uint64_t bytes)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    const pair *at = (const void *)memory, *end = (const void *)(memory + bytes);
    pair a = {0}, b = {0}, c = {0}, d = {0};

    (void)is_zero;
    for (; at < end; at += 4) {
        a |= at[0];
        b |= at[1];
        c |= at[2];
        d |= at[3];
    }
    a |= b | c | d;
    return a[0] | a[1];
}

static uint64_t read_pages(bool (*is_zero)(const void *), const uint8_t *memory, uint64_t bytes)
{
    uint64_t n = 0;

    for (const uint8_t *page = memory; page < memory + bytes; page += TERN_PAGE_BYTES)
        n += is_zero(page);
    return n;
}

static void set_words(uint8_t *memory, uint64_t bytes, uint32_t word, uint64_t value)
{
    for (uint8_t *page = memory; word < WORDS && page < memory + bytes; page += TERN_PAGE_BYTES)
        memcpy(page + word * 8, &value, sizeof(value));
}

/* ---- the readers ---- */

static void readers_free(struct reader *readers)
{
    for (int i = 0; i < READERS; i++)
        free(readers[i].ns);
}

/* Plain reading, each variant that there is, and the one that a migration uses. */
static int readers_init(struct reader readers[READERS], int *n, uint64_t n_samples, struct tern_error *error)
{
    *n = 0;
    readers[(*n)++] = (struct reader){.name = "plain read", .read = read_plainly};
    for (int i = 0; i < ZERO_VARIANTS; i++)
        if (zero_variants[i].supported())
            readers[(*n)++] = (struct reader){zero_variants[i].name, read_pages, zero_variants[i].page_is_zero, NULL};
    readers[(*n)++] = (struct reader){"migration", read_pages, page_is_zero, NULL};
    for (int i = 0; i < *n; i++) {
        readers[i].ns = calloc(n_samples, sizeof(*readers[i].ns));
        if (!readers[i].ns)
            return error_set(error, -ENOMEM, NULL, "out of memory for the samples");
    }
    return 0;
}

/* ---- one kind of page ---- */

static void measure(struct reader *readers, int n, const uint8_t *memory, uint64_t bytes, uint64_t n_samples)
{
    for (uint64_t sample = 0; sample <= n_samples; sample++) /* the first time is for warming up */
        for (int i = 0; i < n; i++) {
            uint64_t begin_ns = clock_now_ns(), result = readers[i].read(readers[i].is_zero, memory, bytes);

            __asm__ volatile("" : : "r"(result)); /* it is used, as far as the compiler knows */
            if (sample)
                readers[i].ns[sample - 1] = clock_now_ns() - begin_ns;
        }
}

static double gib_ps(uint64_t bytes, uint64_t ns)
{
    return (double)bytes / (double)(1ull << 30) * 1e9 / (double)(ns ? ns : 1);
}

static void show(struct reader *readers, int n, int kind, const struct perf_values *values)
{
    uint64_t plain_ns = 0, n_samples = values->samples, bytes = values->memory_bytes;

    for (int i = 0; i < n; i++) {
        uint64_t fastest_ns = samples_worst(readers[i].ns, n_samples, true);
        uint64_t slowest_ns = samples_worst(readers[i].ns, n_samples, false);
        uint64_t ns = samples_median(readers[i].ns, n_samples);
        double rate = gib_ps(bytes, ns);
        struct json_object *object;

        plain_ns = i ? plain_ns : ns;
        if (!values->json) {
            printf("%-20s  %-10s  %7.2f  %7.2f .. %7.2f  %6.2f\n", i ? "" : kinds[kind].label, readers[i].name, rate,
                   gib_ps(bytes, slowest_ns), gib_ps(bytes, fastest_ns), rate / gib_ps(bytes, plain_ns));
            continue;
        }
        object = json_object_new_object();
        json_object_object_add(object, "event", json_object_new_string("scan"));
        json_object_object_add(object, "pages", json_object_new_string(kinds[kind].name));
        json_object_object_add(object, "by", json_object_new_string(readers[i].name));
        json_object_object_add(object, "bytes_ps", json_object_new_uint64((uint64_t)(rate * 1073741824.0)));
        json_object_object_add(object, "ratio", json_object_new_double(rate / gib_ps(bytes, plain_ns)));
        json_object_object_add(object, "median_ms", json_of_ms(ns));
        json_object_object_add(object, "fastest_ms", json_of_ms(fastest_ns));
        json_object_object_add(object, "slowest_ms", json_of_ms(slowest_ns));
        show_json(stdout, object);
    }
}

/* ---- the command ---- */

static int map_memory(const struct perf_values *values, uint8_t **out, struct tern_error *error)
{
    bool huge = perf_page_bytes[values->page_choice] != TERN_PAGE_BYTES;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | (huge ? MAP_HUGETLB : 0);
    void *memory = mmap(NULL, values->memory_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (memory == MAP_FAILED)
        return error_set(error, -errno, huge ? "raise /proc/sys/vm/nr_hugepages, or scan less" : "scan less",
                         "cannot map %llu MiB to scan: %s", (unsigned long long)values->memory_bytes >> 20,
                         strerror(errno));
    memset(memory, 1, values->memory_bytes); /* pages of its own, not the kernel's one page of zeros */
    memset(memory, 0, values->memory_bytes);
    *out = memory;
    return 0;
}

static void show_head(const struct perf_values *values)
{
    char size[UNITS_TEXT_BYTES], page[UNITS_TEXT_BYTES];

    printf("%s in pages of %s, one core, %llu times\n", units_size(values->memory_bytes, size),
           units_size(perf_page_bytes[values->page_choice], page), (unsigned long long)values->samples);
    printf("%-20s  %-10s  %7s  %18s  %6s\n", "pages", "by", "GiB/s", "slowest .. fastest", "ratio");
}

int cmd_scan(const struct perf_values *values, const struct option_texts *texts)
{
    struct reader readers[READERS] = {0};
    struct tern_error error = {0};
    uint8_t *memory = NULL;
    int n, r;

    (void)texts;
    if (values->memory_bytes % perf_page_bytes[values->page_choice]) {
        error_set(&error, -EINVAL, NULL, "option --memory: not a multiple of the page size");
        return perf_usage(&error);
    }
    r = readers_init(readers, &n, values->samples, &error);
    if (!r)
        r = map_memory(values, &memory, &error);
    if (!r && !values->json)
        show_head(values);
    for (int kind = 0; kind < KINDS && !r; kind++) {
        set_words(memory, values->memory_bytes, kinds[kind].word, ~0ull);
        measure(readers, n, memory, values->memory_bytes, values->samples);
        set_words(memory, values->memory_bytes, kinds[kind].word, 0);
        show(readers, n, kind, values);
    }
    readers_free(readers);
    if (memory)
        munmap(memory, values->memory_bytes);
    if (r)
        return show_error(values->json, &error);
    if (values->json)
        show_json(stdout, json_of_done(true, NULL));
    return PERF_EXIT_OK;
}
