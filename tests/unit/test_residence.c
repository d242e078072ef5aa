/* SPDX-License-Identifier: BSD-2-Clause */
/* Where memory lies: what is sampled, that looking populates nothing, and its runs. Several real nodes are the lab's.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "numa/residence.h"

#define PAGE RESIDENCE_PAGE_BYTES
#define UNIT (RESIDENCE_UNIT_PAGES * (size_t)PAGE)

static uint64_t known(const struct residence *counts)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++)
        sum += counts->pages[i];
    return sum;
}

static uint64_t in_memory(int fd)
{
    struct stat status;

    cr_assert_eq(fstat(fd, &status), 0);
    return (uint64_t)status.st_blocks * 512 / PAGE;
}

Test(residence, anonymous_memory_counts_exactly, .timeout = 30)
{
    uint8_t *memory = mmap(NULL, 3 * UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct residence counts = {0};
    uint8_t unit_node[3];

    cr_assert_neq(memory, MAP_FAILED);
    madvise(memory, 3 * UNIT, MADV_NOHUGEPAGE);
    for (uint32_t i = 0; i < 7; i++)
        memory[UNIT + i * 11 * PAGE] = 1;
    cr_assert_eq(residence_read(memory, 3 * UNIT, PAGE, RESIDENCE_BUDGET_PAGES, unit_node, &counts), 0);
    cr_assert_eq(known(&counts), 7);
    cr_assert_eq(counts.unknown_pages, 3 * RESIDENCE_UNIT_PAGES - 7);
    cr_assert_eq(unit_node[0], RESIDENCE_UNKNOWN);
    cr_assert_neq(unit_node[1], RESIDENCE_UNKNOWN);
    cr_assert_eq(unit_node[2], RESIDENCE_UNKNOWN);
    cr_assert_not(counts.sampled);
    munmap(memory, 3 * UNIT);
}

/* Two mappings of a file are two processes' as far as the kernel's answer goes: only the first was touched. */
Test(residence, shared_memory_of_another_is_seen_and_not_populated, .timeout = 30)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    uint8_t *owner, *here, unit_node[2];
    struct residence counts = {0};

    cr_assert_eq(ftruncate(fd, 2 * UNIT), 0);
    owner = mmap(NULL, 2 * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    here = mmap(NULL, 2 * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert(owner != MAP_FAILED && here != MAP_FAILED);
    for (uint32_t i = 0; i < 100; i++)
        owner[i * PAGE] = 1;
    cr_assert_eq(in_memory(fd), 100);
    cr_assert_eq(residence_read(here, 2 * UNIT, PAGE, RESIDENCE_BUDGET_PAGES, unit_node, &counts), 0);
    cr_assert_eq(known(&counts), 100);
    cr_assert_neq(unit_node[0], RESIDENCE_UNKNOWN);
    cr_assert_eq(unit_node[1], RESIDENCE_UNKNOWN);
    cr_assert_eq(in_memory(fd), 100, "looking brought %lu pages in", in_memory(fd) - 100);
    munmap(owner, 2 * UNIT);
    munmap(here, 2 * UNIT);
    close(fd);
}

Test(residence, an_odd_end_counts_too, .timeout = 30)
{
    size_t length = UNIT + 3 * PAGE;
    uint8_t *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), unit_node[2];
    struct residence counts = {0};

    memset(memory, 1, length);
    cr_assert_eq(residence_read(memory, length, PAGE, RESIDENCE_BUDGET_PAGES, unit_node, &counts), 0);
    cr_assert_eq(known(&counts), RESIDENCE_UNIT_PAGES + 3);
    cr_assert_neq(unit_node[1], RESIDENCE_UNKNOWN);
    munmap(memory, length);
}

Test(residence, samples_speak_for_all, .timeout = 30)
{
    size_t length = 64 * UNIT;
    uint8_t *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t unit_node[64];

    for (size_t at = 0; at < length; at += PAGE)
        memory[at] = 1;
    for (uint64_t budget = 8; budget <= 4096; budget *= 8) {
        struct residence counts = {0};

        cr_assert_eq(residence_read(memory, length, PAGE, budget, unit_node, &counts), 0);
        cr_assert_eq(known(&counts), 64 * RESIDENCE_UNIT_PAGES);
        cr_assert(counts.sampled);
        for (uint32_t i = 0; i < 64; i++)
            cr_assert_neq(unit_node[i], RESIDENCE_UNKNOWN);
    }
    munmap(memory, length);
}

Test(residence, sampling_keeps_to_its_budget, .timeout = 30)
{
    for (uint64_t n_units = 1; n_units < 1ull << 24; n_units = n_units * 3 + 1) {
        struct residence_sampling s = residence_sampling(n_units, PAGE, RESIDENCE_BUDGET_PAGES);

        cr_assert_leq(n_units / s.stride * s.samples, RESIDENCE_BUDGET_PAGES);
        cr_assert(s.stride == 1 || s.samples == 1);
        if (n_units * RESIDENCE_UNIT_PAGES <= RESIDENCE_BUDGET_PAGES)
            cr_assert_eq(s.samples, RESIDENCE_UNIT_PAGES);
        cr_assert_eq(residence_sampling(n_units, 2 << 20, RESIDENCE_BUDGET_PAGES).samples, 1);
    }
}

Test(residence, unknown_units_take_their_neighbours_node, .timeout = 10)
{
    uint8_t none[3] = {255, 255, 255}, some[8] = {255, 255, 1, 255, 255, 2, 255, 0};

    residence_fill(none, 3);
    cr_assert_eq(none[0], RESIDENCE_UNKNOWN);
    residence_fill(some, 8);
    cr_assert_arr_eq(some, ((uint8_t[8]){1, 1, 1, 1, 1, 2, 2, 0}), 8);
    residence_fill(some, 0);
}

Test(residence, runs_are_exact_while_they_fit, .timeout = 10)
{
    uint8_t unit_node[9] = {0, 0, 255, 0, 1, 1, 1, 255, 3};
    struct residence_run runs[4];

    cr_assert_eq(residence_runs(unit_node, 9, 4, runs), 4);
    cr_assert(runs[0].first_unit == 0 && runs[0].n_units == 2 && runs[0].node == 0);
    cr_assert(runs[1].first_unit == 3 && runs[1].n_units == 1 && runs[1].node == 0);
    cr_assert(runs[2].first_unit == 4 && runs[2].n_units == 3 && runs[2].node == 1);
    cr_assert(runs[3].first_unit == 8 && runs[3].n_units == 1 && runs[3].node == 3);
    cr_assert_eq(residence_runs(unit_node, 9, 0, runs), 0);
    cr_assert_eq(residence_runs(unit_node + 2, 1, 4, runs), 0);
}

Test(residence, runs_that_do_not_fit_are_taken_together, .timeout = 10)
{
    static uint8_t unit_node[1000];
    static struct residence_run runs[16];
    uint32_t n;

    for (uint32_t i = 0; i < 1000; i++)
        unit_node[i] = (i % 5 < 3 ? 0 : 1) + (i >= 512 ? 2 : 0); /* mostly 0, then mostly 2 */
    n = residence_runs(unit_node, 1000, 16, runs);
    cr_assert(n >= 1 && n <= 16);
    cr_assert_eq(runs[0].node, 0);
    cr_assert_eq(runs[n - 1].node, 2);
    cr_assert_eq(runs[n - 1].first_unit + runs[n - 1].n_units, 1000);
}
