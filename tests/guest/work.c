/* SPDX-License-Identifier: BSD-2-Clause */
/* What a Linux test guest does: keeps data that it can check, rewrites a part of it again and again, and tells on its
 * standard output, five times a second, that all is still as it must be.
 *
 *   work DATA_MIB REWRITE_KIB EVERY_MS PAUSE   REWRITE_KIB are rewritten every EVERY_MS; what it does meanwhile is to
 *                                          sleep, or to check pages (PAUSE is check). EVERY_MS 0: it rewrites all the
 * time work --file PATH KIB                   write a file of data that does not compress, and end
 *
 * Each page holds numbers that follow from its place and from how often it was rewritten. A page is checked before it
 * is rewritten, and every page in turn whether it is rewritten or not: a single lost or stale word shows as DAMAGED.
 * Lines: "guest: ready", then "guest: tick N at MS pages P work C whole W": MS by the guest's clock, P pages rewritten
 * so far, C rewritten or checked, W times all was checked. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/guest/flags.h"

#define PAGE_WORDS 512u
#define TICK_NS    200000000ull
#define CHECK_PART 16u /* of all pages checked a tick, beside those rewritten */
#define CHECK_STEP 16u /* pages between looks at the clock */

struct work {
    uint64_t (*pages)[PAGE_WORDS];
    uint32_t *versions; /* how often each was rewritten */
    uint64_t n_pages, next_rewrite, next_check;
    uint64_t rewritten, done, whole;
    bool checks; /* all the time */
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* Knuth's MMIX generator: the high bits are as good as random, and that is all that is asked of them. */
static uint64_t step(uint64_t x)
{
    return x * 6364136223846793005ull + 1442695040888963407ull;
}

static uint64_t seed(uint64_t page, uint32_t version)
{
    return step(step(page + 1) ^ ((uint64_t)version << 32));
}

static void write_page(struct work *work, uint64_t page)
{
    uint64_t x = seed(page, work->versions[page]);

    for (uint32_t i = 0; i < PAGE_WORDS; i++)
        work->pages[page][i] = x = step(x);
}

static void check_page(const struct work *work, uint64_t page)
{
    uint64_t x = seed(page, work->versions[page]);

    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        x = step(x);
        if (work->pages[page][i] != x) {
            printf("guest: DAMAGED page %lu word %u version %u\n", page, i, work->versions[page]);
            return;
        }
    }
}

static void rewrite(struct work *work, uint64_t n_pages)
{
    for (uint64_t i = 0; i < n_pages; i++) {
        uint64_t page = work->next_rewrite;

        check_page(work, page);
        work->versions[page]++;
        write_page(work, page);
        work->next_rewrite = (page + 1) % work->n_pages;
        work->rewritten++;
        work->done++;
    }
}

static void check_some(struct work *work, uint64_t n_pages)
{
    for (uint64_t i = 0; i < n_pages; i++) {
        check_page(work, work->next_check);
        work->next_check = (work->next_check + 1) % work->n_pages;
        if (!work->next_check)
            work->whole++;
    }
    work->done += n_pages;
}

static void tell(const struct work *work, uint64_t *tick)
{
    printf("guest: tick %lu at %lu pages %lu work %lu whole %lu\n", ++*tick, now_ns() / 1000000, work->rewritten,
           work->done, work->whole);
}

/* Until it is time to rewrite again; one that is late does not make up for it. */
static void wait_until(struct work *work, uint64_t *next_ns, uint64_t every_ns)
{
    struct timespec until;

    *next_ns += every_ns;
    if (*next_ns < now_ns())
        *next_ns = now_ns();
    until =
        (struct timespec){.tv_sec = (time_t)(*next_ns / 1000000000ull), .tv_nsec = (long)(*next_ns % 1000000000ull)};
    if (!work->checks)
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    while (now_ns() < *next_ns)
        check_some(work, CHECK_STEP);
}

static void run(struct work *work, uint64_t rewrite_pages, uint64_t every_ns)
{
    uint64_t tick = 0, next_ns = now_ns(), tell_ns = next_ns + TICK_NS;

    for (;;) {
        rewrite(work, rewrite_pages);
        if (every_ns)
            wait_until(work, &next_ns, every_ns);
        if (now_ns() >= tell_ns) {
            tell_ns = now_ns() + TICK_NS;
            check_some(work, work->n_pages / CHECK_PART + 1);
            tell(work, &tick);
        }
    }
}

static int write_file(const char *path, uint64_t kib)
{
    FILE *file = fopen(path, "w");
    uint64_t x = 1, block[PAGE_WORDS];

    if (!file)
        return 1;
    for (uint64_t n = 0; n < kib / 4; n++) {
        for (uint32_t i = 0; i < PAGE_WORDS; i++)
            block[i] = x = step(x);
        if (fwrite(block, sizeof(block), 1, file) != 1)
            return 1;
    }
    return fclose(file) ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct work work = {0};
    uint64_t rewrite_pages, every_ns;

    if (argc == 4 && !strcmp(argv[1], "--file"))
        return write_file(argv[2], strtoull(argv[3], NULL, 10));
    if (argc != 5)
        return 2;
    work.checks = !strcmp(argv[4], "check");
    work.n_pages = strtoull(argv[1], NULL, 10) * 256;
    rewrite_pages = strtoull(argv[2], NULL, 10) / 4;
    every_ns = strtoull(argv[3], NULL, 10) * 1000000ull;
    setvbuf(stdout, NULL, _IOLBF, 0);
    work.versions = calloc(work.n_pages, sizeof(*work.versions));
    work.pages = mmap(NULL, work.n_pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!work.n_pages || !work.versions || work.pages == MAP_FAILED)
        return 1;
    for (uint64_t page = 0; page < work.n_pages; page++)
        write_page(&work, page);
    if (!flags_are_kept())
        printf("guest: cannot trust this CPU: cmpxchg16b leaves wrong flags\n");
    printf("guest: ready\n");
    run(&work, rewrite_pages, every_ns);
}
