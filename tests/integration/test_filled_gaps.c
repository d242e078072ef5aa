/* SPDX-License-Identifier: BSD-2-Clause */
/* A round whose runs are one page apart: the clean pages between them go along over tcp, if they were sent before; the
 * tracker's clear never hears of them, and both sides agree on every page's digest. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/bitmap.h"
#include "tests/common/pair.h"

#define MIB       (1ull << 20)
#define UNIT      512u
#define PAGES     (16 * MIB / TERN_PAGE_BYTES)
#define SENT      (3 * UNIT)        /* hold data */
#define REPORTED  (SENT + UNIT / 2) /* of these every second one is dirty once more; the last ones are zero */
#define OF_A_UNIT (UNIT - 1)        /* from its first page to the last dirty one */

/* A tracker that reports what it is told to, and that must be cleared, like KVM's log. */
struct scripted {
    uint32_t fetches;
    pthread_mutex_t lock;
    uint64_t dirty[PAGES / 64];
    uint64_t strange; /* pages that were cleared and are not known to be dirty */
};

static int start(void *self, struct tern_error *error)
{
    struct scripted *s = self;

    (void)error;
    memset(s->dirty, 0xff, sizeof(s->dirty)); /* every page until it is cleared */
    return 0;
}

static int fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct scripted *s = self;

    (void)region;
    (void)error;
    pthread_mutex_lock(&s->lock);
    for (uint64_t page = 0; s->fetches == 0 && page < REPORTED; page += 2) {
        bitmap_set_range(bitmap, page, 1);
        bitmap_set_range(s->dirty, page, 1);
    }
    s->fetches++;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int clear(void *self, uint32_t region, uint64_t first_page, uint64_t n_pages, const uint64_t *mask,
                 struct tern_error *error)
{
    struct scripted *s = self;

    (void)region;
    (void)error;
    pthread_mutex_lock(&s->lock);
    for (uint64_t i = 0; i < n_pages; i++)
        if (bitmap_test(mask, i)) {
            s->strange += !bitmap_test(s->dirty, first_page + i);
            bitmap_clear_range(s->dirty, first_page + i, 1);
        }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static void stop(void *self)
{
    (void)self;
}

static const struct tern_tracker_ops scripted_ops = {"scripted", start, fetch, clear, stop};

Test(filled_gaps, clean_pages_that_were_sent_go_along, .timeout = 60)
{
    static struct scripted scripted = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct process_guest_config config = {
        .memory_bytes = PAGES * TERN_PAGE_BYTES, .random_bytes = SENT * TERN_PAGE_BYTES, .seed = 3};
    struct pair pair;

    pair_init(&pair, &config, NULL, pair_host(false));
    pair.source_vm.tracker = (struct tern_tracker){&scripted_ops, &scripted};
    pair.source_options.verify = pair.destination_options.verify = true;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert(pair.source_result.verified);
    cr_assert_eq(scripted.strange, 0, "the tracker was to clear %lu pages that are not dirty", scripted.strange);
    if (!strcmp(pair.source_result.transport, "tcp"))
        cr_assert_eq(pair.source_result.pages_sent, SENT + SENT / UNIT * OF_A_UNIT, "%llu pages",
                     (unsigned long long)pair.source_result.pages_sent);
    cr_assert_eq(pair.source_result.zero_pages, UNIT / 4,
                 "no page that was never sent is looked at but dirty ones: %llu",
                 (unsigned long long)pair.source_result.zero_pages);
    pair_free(&pair);
}
