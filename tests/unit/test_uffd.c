/* SPDX-License-Identifier: BSD-2-Clause */
/* The userfaultfd trackers, asynchronous and synchronous, over every kind of memory: they name exactly the pages that
 * were written, once each, lose none that is written meanwhile, and leave the memory as they found it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/tracked.h"

/* Run over every kind of memory; a test in which nothing could run is skipped. */
static void over_every_kind(bool force_sync, uint32_t n_regions, void (*test)(struct tracked *t))
{
    int ran = 0;

    for (int kind = 0; kind < KINDS; kind++) {
        struct tracked *t = malloc(sizeof(*t));

        if (tracked_open(t, (enum kind)kind, force_sync, n_regions)) {
            if (!force_sync && strstr(t->tracker.ops->name, "synchronous"))
                cr_skip_test("this kernel has no asynchronous write protection");
            cr_log_info("%s memory, %s", kind_names[kind], t->tracker.ops->name);
            test(t);
            tracked_close(t);
            ran++;
        }
        free(t);
    }
    cr_assert_geq(ran, 3, "only huge pages may be missing");
}

#define BOTH(name, n_regions, test)                                                                                    \
    Test(uffd_async, name, .timeout = 60)                                                                              \
    {                                                                                                                  \
        over_every_kind(false, n_regions, test);                                                                       \
    }                                                                                                                  \
    Test(uffd_sync, name, .timeout = 60)                                                                               \
    {                                                                                                                  \
        over_every_kind(true, n_regions, test);                                                                        \
    }

static const uint64_t edges[] = {0, 1, 63, 64, 511, 512, 513, 1023, 1535, 2048, 3001, 4094, 4095};
#define EDGES (sizeof(edges) / sizeof(*edges))

static void exact_pages(struct tracked *t)
{
    tracked_start(t);
    tracked_exactly(t, 0, "nothing written");
    for (size_t i = 0; i < EDGES; i++)
        tracked_write(t, 0, edges[i], 2);
    tracked_write(t, 0, edges[3], 3); /* twice: named once */
    tracked_exactly(t, 0, "edges");
    tracked_exactly(t, 0, "nothing since");
    for (size_t i = 0; i < EDGES; i += 2)
        tracked_write(t, 0, edges[i], 4);
    tracked_write(t, 0, 700, 4);
    tracked_exactly(t, 0, "some of them again, and another");
    tracked_exactly(t, 0, "nothing since");
    for (uint64_t page = 0; page < 4096; page++)
        tracked_write(t, 0, page, (uint8_t)page);
    tracked_exactly(t, 0, "all");
    tracked_exactly(t, 0, "nothing since");
    for (uint64_t page = 0; page < 4096; page++)
        cr_assert_eq(((uint8_t *)t->regions[0].base)[page * TERN_PAGE_BYTES + 9], (uint8_t)page);
}
BOTH(names_exactly_the_pages_written, 1, exact_pages)

/* Every second page: more runs than one scan returns. */
static void many_runs(struct tracked *t)
{
    tracked_start(t);
    for (int round = 0; round < 2; round++) {
        for (uint64_t page = (uint64_t)round; page < 4096; page += 2)
            tracked_write(t, 0, page, 1);
        tracked_exactly(t, 0, "every second page");
        tracked_exactly(t, 0, "nothing since");
    }
}
BOTH(many_runs, 1, many_runs)

static void two_regions(struct tracked *t)
{
    tracked_start(t);
    tracked_write(t, 1, 0, 1);
    tracked_write(t, 1, 1535, 1);
    memset(t->expected, 0, sizeof(t->expected));
    tracked_write(t, 0, 600, 1);
    tracked_exactly(t, 0, "the first region");
    tracked_exactly(t, 0, "nothing since in the first");
    bitmap_set_range(t->expected, 0, t->regions[1].page_bytes / TERN_PAGE_BYTES);
    bitmap_set_range(t->expected, 1536 - t->regions[1].page_bytes / TERN_PAGE_BYTES,
                     t->regions[1].page_bytes / TERN_PAGE_BYTES);
    tracked_exactly(t, 1, "the second kept its own");
    tracked_exactly(t, 1, "nothing since in the second");
}
BOTH(two_regions_are_apart, 2, two_regions)

static void bits_stay(struct tracked *t)
{
    tracked_start(t);
    memset(t->got, 0, sizeof(t->got));
    bitmap_set_range(t->got, 1000, 3);
    tracked_write(t, 0, 2000, 1);
    tracked_fetch(t, 0);
    cr_assert_eq(bitmap_count(t->got, 1000, 1003), 3, "fetch is to add, not to replace");
    cr_assert(bitmap_test(t->got, 2000));
}
BOTH(bits_that_were_set_stay, 1, bits_stay)

static void reads(struct tracked *t)
{
    const uint8_t *base = t->regions[0].base;
    unsigned int sum = 0;

    for (uint64_t page = 0; page < 4096; page++) /* all there, so that a read brings nothing new */
        tracked_write(t, 0, page, 1);
    memset(t->expected, 0, sizeof(t->expected));
    tracked_start(t);
    for (uint64_t page = 0; page < 4096; page++)
        sum += *(volatile const uint8_t *)(base + page * TERN_PAGE_BYTES + 9);
    cr_assert_eq(sum, 4096);
    tracked_exactly(t, 0, "only read");
}
BOTH(reading_is_not_writing, 1, reads)

/* The kernel writes guest memory as well: a virtio device's read(2), say. */
static void kernel_writes(struct tracked *t)
{
    uint8_t *base = t->regions[0].base;
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    tracked_start(t);
    cr_assert_eq(write(fds[1], "data", 4), 4);
    cr_assert_eq(read(fds[0], base + 3 * TERN_PAGE_BYTES - 2, 4), 4); /* over an edge */
    bitmap_set_range(t->expected, 2, 2);
    if (t->regions[0].page_bytes > TERN_PAGE_BYTES)
        bitmap_set_range(t->expected, 0, 512);
    tracked_exactly(t, 0, "read(2)");
    cr_assert_eq(memcmp(base + 3 * TERN_PAGE_BYTES - 2, "data", 4), 0);
    close(fds[0]);
    close(fds[1]);
}
BOTH(what_the_kernel_writes_is_seen, 1, kernel_writes)

static void stop_and_again(struct tracked *t)
{
    for (int round = 0; round < 3; round++) {
        tracked_start(t);
        tracked_exactly(t, 0, "started again");
        tracked_write(t, 0, 5, 1);
        tracked_exactly(t, 0, "one page");
        t->tracker.ops->stop(t->tracker.self);
        for (uint64_t page = 0; page < 4096; page++) /* armed or not: nobody would answer a fault now */
            tracked_write(t, 0, page, 6);
        memset(t->expected, 0, sizeof(t->expected));
    }
    tracked_start(t);
    tern_tracker_destroy(&t->tracker); /* while it runs */
    cr_assert_null(t->tracker.ops);
    for (uint64_t page = 0; page < 4096; page++)
        tracked_write(t, 0, page, 7);
    for (uint64_t page = 0; page < 4096; page++)
        cr_assert_eq(((uint8_t *)t->regions[0].base)[page * TERN_PAGE_BYTES + 9], 7);
}
BOTH(stop_leaves_the_memory_writable, 1, stop_and_again)

/* ---- no write is lost while others fetch: what pre-copy does, with a copy beside ---- */

struct writer {
    struct tern_region *region;
    _Atomic bool end;
    _Atomic uint64_t writes;
    unsigned int seed;
};

static void *writer_main(void *argument)
{
    struct writer *writer = argument;
    uint64_t n_words = writer->region->length_bytes / 8;
    volatile uint64_t *words = writer->region->base;

    while (!atomic_load(&writer->end)) {
        uint64_t at = (uint64_t)rand_r(&writer->seed) * 37 % n_words;

        words[at] = words[at] + at + 1;
        atomic_fetch_add(&writer->writes, 1);
    }
    return NULL;
}

static void copy_dirty(struct tracked *t, uint8_t *copy)
{
    uint64_t at = 0, first, n;

    memset(t->got, 0, sizeof(t->got));
    tracked_fetch(t, 0);
    while (bitmap_next_run(t->got, at, 4096, &first, &n)) {
        memcpy(copy + first * TERN_PAGE_BYTES, (uint8_t *)t->regions[0].base + first * TERN_PAGE_BYTES,
               n * TERN_PAGE_BYTES);
        at = first + n;
    }
}

static void no_write_is_lost(struct tracked *t)
{
    struct tern_region *region = &t->regions[0];
    struct writer writers[2] = {{.region = region, .seed = 1}, {.region = region, .seed = 2}};
    uint8_t *copy = malloc(region->length_bytes);
    pthread_t threads[2];

    tracked_start(t);
    memcpy(copy, region->base, region->length_bytes);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, writer_main, &writers[i]), 0);
    for (uint64_t round = 1; round <= 40; round++) {
        while (atomic_load(&writers[0].writes) < round * 20)
            usleep(100);
        copy_dirty(t, copy);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&writers[i].end, true);
        pthread_join(threads[i], NULL);
    }
    copy_dirty(t, copy);
    cr_assert_eq(memcmp(copy, region->base, region->length_bytes), 0, "a write was lost");
    tracked_exactly(t, 0, "nothing since");
    free(copy);
}
BOTH(no_write_is_lost, 1, no_write_is_lost)

/* ---- what it refuses ---- */

/* ---- memory that was never touched ---- */

#define SPARSE_BYTES (1024 * MIB)

static uint64_t page_table_kib(void)
{
    unsigned long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");

    cr_assert_not_null(f);
    while (fgets(line, sizeof(line), f) && sscanf(line, "VmPTE: %lu", &kib) != 1)
        ;
    fclose(f);
    return kib;
}

static void sparse_open(struct tern_region *region, enum kind kind, struct tern_tracker *tracker)
{
    struct tern_error error = {0};

    *region = (struct tern_region){
        .base = map_kind(kind, SPARSE_BYTES), .length_bytes = SPARSE_BYTES, .page_bytes = TERN_PAGE_BYTES, .name = "r"};
    cr_assert_neq(region->base, MAP_FAILED);
    ((uint8_t *)region->base)[SPARSE_BYTES / 2] = 1;
    cr_assert_eq(tern_tracker_uffd_create(region, 1, false, tracker, &error), 0, "%s", error.message);
    if (strstr(tracker->ops->name, "synchronous"))
        cr_skip_test("this kernel has no asynchronous write protection");
    cr_assert_eq(tracker->ops->start(tracker->self, &error), 0, "%s", error.message);
}

/* Random pages are written, most for the first time, and each fetch names those and no others. */
static void sparse_writes(enum kind kind)
{
    uint64_t n_words = SPARSE_BYTES / TERN_PAGE_BYTES / 64, before_kib = page_table_kib();
    uint64_t *got = calloc(n_words, 8), *expected = calloc(n_words, 8), seed = 7;
    struct tern_tracker tracker;
    struct tern_region region;

    sparse_open(&region, kind, &tracker);
    cr_assert_lt(page_table_kib(), before_kib + 256, "untouched memory got page tables");
    for (int round = 0; round < 20; round++) {
        memset(expected, 0, n_words * 8);
        memset(got, 0, n_words * 8);
        for (int i = 0; i < 40; i++) {
            uint64_t page = (seed = seed * 6364136223846793005 + 1442695040888963407) >> 33;

            page = i % 4 ? page % (SPARSE_BYTES / TERN_PAGE_BYTES) : page % 2048; /* some come again */
            ((uint8_t *)region.base)[page * TERN_PAGE_BYTES + 5] = (uint8_t)round;
            bitmap_set_range(expected, page, 1);
        }
        cr_assert_eq(tracker.ops->fetch(tracker.self, 0, got, NULL), 0);
        cr_assert_eq(memcmp(got, expected, n_words * 8), 0, "%s, round %d", kind_names[kind], round);
    }
    tern_tracker_destroy(&tracker);
    munmap(region.base, SPARSE_BYTES);
    free(got);
    free(expected);
}

Test(uffd_async, untouched_memory_costs_nothing_and_its_first_write_is_named, .timeout = 60)
{
    sparse_writes(ANONYMOUS);
    sparse_writes(SHARED);
}

/* Private memory that is given back reads as zero from then on: it has changed. Also where it was touched after the
 * start. */
Test(uffd_async, what_is_given_back_is_named, .timeout = 60)
{
    uint64_t got[SPARSE_BYTES / TERN_PAGE_BYTES / 64] = {0};
    struct tern_tracker tracker;
    struct tern_region region;
    uint8_t *base;

    sparse_open(&region, ANONYMOUS, &tracker);
    base = region.base;
    base[77 * TERN_PAGE_BYTES] = 1;
    cr_assert_eq(tracker.ops->fetch(tracker.self, 0, got, NULL), 0);
    memset(got, 0, sizeof(got));
    cr_assert_eq(madvise(base + 77 * TERN_PAGE_BYTES, TERN_PAGE_BYTES, MADV_DONTNEED), 0);
    cr_assert_eq(madvise(base + SPARSE_BYTES / 2, TERN_PAGE_BYTES, MADV_DONTNEED), 0);
    cr_assert_eq(tracker.ops->fetch(tracker.self, 0, got, NULL), 0);
    cr_assert(bitmap_test(got, 77));
    cr_assert(bitmap_test(got, SPARSE_BYTES / 2 / TERN_PAGE_BYTES));
    tern_tracker_destroy(&tracker);
    munmap(region.base, SPARSE_BYTES);
}

/* The first write to a transparent huge page brings all of it; it and no more is named. */
Test(uffd_async, a_transparent_huge_page_is_named_whole_at_most, .timeout = 60)
{
    uint64_t got[SPARSE_BYTES / TERN_PAGE_BYTES / 64] = {0}, page = 300 * 512 + 17, n;
    struct tern_tracker tracker;
    struct tern_region region;

    sparse_open(&region, TRANSPARENT_HUGE, &tracker);
    ((uint8_t *)region.base)[page * TERN_PAGE_BYTES] = 1;
    cr_assert_eq(tracker.ops->fetch(tracker.self, 0, got, NULL), 0);
    cr_assert(bitmap_test(got, page));
    n = bitmap_count(got, 0, SPARSE_BYTES / TERN_PAGE_BYTES);
    cr_assert_leq(n, 512);
    cr_assert_eq(bitmap_count(got, page > 512 ? page - 512 : 0, page + 512), n);
    memset(got, 0, sizeof(got));
    cr_assert_eq(tracker.ops->fetch(tracker.self, 0, got, NULL), 0);
    cr_assert_eq(bitmap_count(got, 0, SPARSE_BYTES / TERN_PAGE_BYTES), 0, "once each");
    tern_tracker_destroy(&tracker);
    munmap(region.base, SPARSE_BYTES);
}

Test(uffd, numbers_of_regions)
{
    static struct tern_region regions[33];
    struct tern_tracker tracker = {0};
    struct tern_error error = {0};

    cr_assert_eq(tern_tracker_uffd_create(regions, 0, false, &tracker, &error), -EINVAL);
    cr_assert_eq(tern_tracker_uffd_create(regions, 33, false, &tracker, &error), -EINVAL);
    cr_assert_not_null(strstr(error.message, "33 regions"), "%s", error.message);
    cr_assert_null(tracker.ops);
    tern_tracker_destroy(&tracker);
}

/* The asynchronous mode can track any mapping, the synchronous one no ordinary file. */
Test(uffd_sync, memory_that_it_cannot_track_is_named, .timeout = 30)
{
    uint64_t length = 16 * TERN_PAGE_BYTES;
    uint8_t *good = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    uint8_t *bad = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    struct tern_region regions[] = {
        {.base = good, .length_bytes = length, .page_bytes = TERN_PAGE_BYTES, .name = "good"},
        {.base = bad,
         .guest_address = 1 << 20,
         .length_bytes = length,
         .page_bytes = TERN_PAGE_BYTES,
         .name = "on disk"}};
    struct tern_tracker tracker;
    struct tern_error error = {0};

    cr_assert_neq(good, MAP_FAILED);
    cr_assert_neq(bad, MAP_FAILED);
    cr_assert_eq(tern_tracker_uffd_create(regions, 2, true, &tracker, &error), 0, "%s", error.message);
    cr_assert_eq(tracker.ops->start(tracker.self, &error), -EINVAL);
    cr_assert_not_null(strstr(error.message, "'on disk'"), "%s", error.message);
    cr_assert_gt(strlen(error.hint), 0);
    memset(good, 1, length); /* nothing stays protected */
    tern_tracker_destroy(&tracker);
    munmap(good, length);
    munmap(bad, length);
    close(fd);
}

Test(uffd, neither_mode_has_a_clear)
{
    struct tern_region region = {.length_bytes = TERN_PAGE_BYTES, .page_bytes = TERN_PAGE_BYTES, .name = "r"};

    for (int force_sync = 0; force_sync < 2; force_sync++) {
        struct tern_tracker tracker;

        cr_assert_eq(tern_tracker_uffd_create(&region, 1, force_sync, &tracker, NULL), 0);
        cr_assert_null(tracker.ops->clear); /* so fetch re-arms */
        tern_tracker_destroy(&tracker);
    }
}
