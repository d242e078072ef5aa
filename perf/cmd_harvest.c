/* SPDX-License-Identifier: BSD-2-Clause */
/* tern-perf harvest: what a round costs before a byte of it is sent: the dirty bitmap's survey, and all its units
 * turned into runs, by one core. Bitmaps are those of guests that are not there; the functions are those that a worker
 * calls, in the same order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/bitmap.h"
#include "migrate/guest.h"
#include "perf/samples.h"
#include "perf/show.h"
#include "tools/common/report.h"
#include "tools/common/units.h"
#include "transport/clock.h"
#include "transport/error.h"
#include "transport/link.h"

#define GIB           (1ull << 30)
#define TIB           (1ull << 40)
#define CLUSTER_PAGES 64u
#define WORKER_RUNS   64u
#define MILLION       1000000u

enum pattern { RANDOM, CLUSTERED, PATTERNS };

static const char *const pattern_names[PATTERNS] = {"random", "clustered"};

static const uint64_t sizes[] = {GIB, 4 * GIB, 16 * GIB, 64 * GIB, 256 * GIB, TIB, 4 * TIB, 16 * TIB};
static const uint32_t shares_ppm[] = {10, 100, 1000, 10000, 100000, MILLION}; /* of the second table */

#define SIZES     (sizeof(sizes) / sizeof(sizes[0]))
#define SHARES    (sizeof(shares_ppm) / sizeof(shares_ppm[0]))
#define USUAL_PPM 1000u

struct row {
    uint64_t bytes;
    uint32_t ppm;
    enum pattern pattern;
};

struct harvested {
    uint64_t survey_ns, ns; /* ns: survey included */
    uint64_t pages, runs;
};

/* ---- the guest's writes ---- */

/* source: Marsaglia, "Xorshift RNGs", 2003 */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Sets bits until so many pages are dirty; a cluster may fall upon another one. */
static void dirty(struct guest_region *g, const struct row *row, uint64_t *seed)
{
    uint64_t step = row->pattern == CLUSTERED ? CLUSTER_PAGES : 1, wanted = g->n_pages / step * row->ppm / MILLION;

    if (row->ppm == MILLION) {
        bitmap_set_range(g->dirty, 0, g->n_pages);
        return;
    }
    for (uint64_t n = 0; n < wanted;) {
        uint64_t page = draw(seed) % (g->n_pages - step + 1);

        if (bitmap_test(g->dirty, page))
            continue;
        bitmap_set_range(g->dirty, page, step);
        n++;
    }
}

/* ---- one round ---- */

/* As a worker does it; the runs go nowhere. */
static void harvest(struct guest *guest, uint64_t gap_pages, struct harvested *out)
{
    struct link_run runs[WORKER_RUNS];
    uint64_t begin_ns = clock_now_ns(), unit, mask[UNIT_WORDS];
    _Atomic uint64_t next = 0;

    *out = (struct harvested){0};
    for (uint32_t i = 0; i < guest->n_regions; i++)
        harvest_survey(guest->regions[i].dirty, guest->regions[i].n_pages, guest->dirty_units,
                       guest->regions[i].first_unit);
    out->survey_ns = clock_now_ns() - begin_ns;
    while ((unit = harvest_claim(&next, guest->dirty_units, guest->n_units)) < guest->n_units) {
        uint64_t region_unit, from = 0, first, n;
        uint32_t region;
        struct guest_region *g = guest_unit(guest, unit, &region, &region_unit);
        uint64_t base = region_unit * UNIT_PAGES, left = g->n_pages - base;
        uint64_t n_pages = left < UNIT_PAGES ? left : UNIT_PAGES;

        out->pages += harvest_unit(g->dirty + base / 64, n_pages, mask);
        harvest_join(mask, g->sent + base / 64, n_pages, gap_pages);
        for (; bitmap_next_run(mask, from, n_pages, &first, &n); from = first + n)
            runs[out->runs++ % WORKER_RUNS] =
                (struct link_run){region, (base + first) * TERN_PAGE_BYTES, n * TERN_PAGE_BYTES};
    }
    __asm__ volatile("" : : "r"(runs) : "memory"); /* they are used, as far as the compiler knows */
    out->ns = clock_now_ns() - begin_ns;
}

static int measure(const struct row *row, struct harvested *last, uint64_t *ns, uint64_t *survey_ns, uint64_t n_samples,
                   struct tern_error *error)
{
    struct tern_region region = {.name = "simulated", .length_bytes = row->bytes};
    uint64_t seed = 88172645463325252ull;
    struct guest guest;
    int r = guest_init(&guest, &region, 1, false, error);

    if (r)
        return r;
    bitmap_set_range(guest.regions[0].sent, 0, guest.n_pages);
    for (uint64_t sample = 0; sample <= n_samples; sample++) { /* the first time is for warming up */
        dirty(&guest.regions[0], row, &seed);
        harvest(&guest, harvest_gap_pages(link_tcp.run_cost_bytes, TERN_PAGE_BYTES), last);
        if (!sample)
            continue;
        ns[sample - 1] = last->ns;
        survey_ns[sample - 1] = last->survey_ns;
    }
    guest_free(&guest);
    return 0;
}

/* ---- telling ---- */

static void show_head(void)
{
    printf("%10s  %8s  %-10s %12s %12s %10s %19s %10s %10s\n", "guest", "dirty", "pattern", "pages", "runs", "round ms",
           "fastest .. slowest", "survey ms", "ns a page");
}

static void row_json(const struct row *row, const struct harvested *last, const uint64_t ns[3], uint64_t survey_ns)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "event", json_object_new_string("harvest"));
    json_object_object_add(object, "memory_bytes", json_object_new_uint64(row->bytes));
    json_object_object_add(object, "dirty_percent", json_object_new_double(row->ppm / 10000.0));
    json_object_object_add(object, "pattern", json_object_new_string(pattern_names[row->pattern]));
    json_object_object_add(object, "dirty_pages", json_object_new_uint64(last->pages));
    json_object_object_add(object, "runs", json_object_new_uint64(last->runs));
    json_object_object_add(object, "median_ms", json_of_ms(ns[1]));
    json_object_object_add(object, "fastest_ms", json_of_ms(ns[0]));
    json_object_object_add(object, "slowest_ms", json_of_ms(ns[2]));
    json_object_object_add(object, "survey_ms", json_of_ms(survey_ns));
    show_json(stdout, object);
}

static int show_row(const struct row *row, const struct perf_values *values, struct tern_error *error)
{
    uint64_t *ns = calloc(2 * values->samples, sizeof(*ns)), spread_ns[3], survey_ns, n = values->samples;
    struct harvested last;
    char size[UNITS_TEXT_BYTES];
    int r = ns ? measure(row, &last, ns, ns + n, n, error)
               : error_set(error, -ENOMEM, NULL, "out of memory for the samples");

    if (!r) {
        spread_ns[0] = samples_worst(ns, n, true);
        spread_ns[1] = samples_median(ns, n);
        spread_ns[2] = samples_worst(ns, n, false);
        survey_ns = samples_median(ns + n, n);
    }
    if (!r && values->json)
        row_json(row, &last, spread_ns, survey_ns);
    else if (!r)
        printf("%10s  %7g%%  %-10s %12llu %12llu %10.3f %8.3f .. %7.3f %10.3f %10.1f\n", units_size(row->bytes, size),
               row->ppm / 10000.0, pattern_names[row->pattern], (unsigned long long)last.pages,
               (unsigned long long)last.runs, (double)spread_ns[1] / 1e6, (double)spread_ns[0] / 1e6,
               (double)spread_ns[2] / 1e6, (double)survey_ns / 1e6,
               (double)spread_ns[1] / (double)(last.pages ? last.pages : 1));
    fflush(stdout);
    free(ns);
    return r;
}

/* ---- the command ---- */

int cmd_harvest(const struct perf_values *values, const struct option_texts *texts)
{
    int given = options_find(&perf_options, PERF_HARVEST, "memory", strlen("memory"));
    bool one_size = given >= 0 && texts->text[given];
    struct row row = {.ppm = USUAL_PPM};
    struct tern_error error = {0};
    int r = 0;

    if (!values->json)
        show_head();
    for (size_t i = 0; i < SIZES && !r && !one_size; i++)
        for (row.pattern = 0; row.pattern < PATTERNS && !r; row.pattern++) {
            row.bytes = sizes[i];
            r = show_row(&row, values, &error);
        }
    row.bytes = one_size ? values->memory_bytes / TERN_PAGE_BYTES * TERN_PAGE_BYTES : TIB;
    for (size_t i = 0; i < SHARES && !r; i++)
        for (row.pattern = 0; row.pattern < PATTERNS && !r; row.pattern++) {
            row.ppm = shares_ppm[i];
            r = show_row(&row, values, &error);
        }
    if (r)
        return show_error(values->json, &error);
    if (values->json)
        show_json(stdout, json_of_done(true, NULL));
    return PERF_EXIT_OK;
}
