/* SPDX-License-Identifier: BSD-2-Clause */
/* Migrations on a host with four NUMA nodes, over the transport that the environment names. The test itself puts the
 * guest's memory on the nodes and asks the kernel where each page is afterwards: what tern says is compared with that.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "numa/plan.h"
#include "numa/residence.h"
#include "tests/common/pair.h"

#define MIB          (1ull << 20)
#define PAGE         TERN_PAGE_BYTES
#define MEMORY_BYTES (48 * MIB)
#define N_NODES      4u
#define TIME_LIMIT   120

/* The guest's memory in pieces, each on its node; uneven, so that no two workers have the same to do. */
static const struct piece {
    uint64_t first, length;
    uint32_t node;
} pieces[] = {{0, 4 * MIB, 2},        {4 * MIB, 16 * MIB, 0},  {20 * MIB, 2 * MIB, 3},
              {22 * MIB, 8 * MIB, 1}, {30 * MIB, 12 * MIB, 2}, {42 * MIB, 6 * MIB, 1}};
static const uint64_t node_mib[N_NODES] = {16, 14, 16, 2};

static const struct process_guest_config full = {
    .memory_bytes = MEMORY_BYTES, .page_bytes = PAGE, .random_bytes = MEMORY_BYTES, .seed = 7};

static int32_t same[N_NODES] = {0, 1, 2, 3};

static void bind_to(void *base, uint64_t length, uint32_t node, unsigned flags)
{
    unsigned long mask = 1ul << node;

    cr_assert_eq(mbind(base, length, MPOL_BIND, &mask, 65, flags), 0, "mbind to node %u", node);
}

static void scatter(struct process_guest *guest)
{
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        uint8_t *base = process_guest_at(guest, pieces[i].first);

        bind_to(base, pieces[i].length, pieces[i].node, MPOL_MF_MOVE | MPOL_MF_STRICT);
        cr_assert_eq(mbind(base, pieces[i].length, MPOL_DEFAULT, NULL, 0, 0), 0);
    }
}

static uint32_t wanted_node(uint64_t offset)
{
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        if (offset - pieces[i].first < pieces[i].length)
            return pieces[i].node;
    cr_assert_fail("no piece has byte %lu", offset);
    return 0;
}

static int node_of(void *page)
{
    int status = -1;

    cr_assert_eq(move_pages(0, 1, &page, NULL, &status, 0), 0);
    return status;
}

/* Every page is where its source node maps to. */
static void check_landed(struct process_guest *guest, const int32_t *map)
{
    for (uint64_t at = 0; at < MEMORY_BYTES; at += PAGE)
        cr_assert_eq(node_of(process_guest_at(guest, at)), map[wanted_node(at)], "page %lu of source node %u is on %d",
                     at / PAGE, wanted_node(at), node_of(process_guest_at(guest, at)));
}

static uint64_t reported(const struct tern_result *result, uint32_t node)
{
    for (uint32_t i = 0; i < result->n_nodes; i++)
        if (result->nodes[i].node == node)
            return result->nodes[i].pages;
    return 0;
}

/* What the source's result says of its workers and nodes, against the pieces. */
static void check_workers(const struct tern_result *result)
{
    uint64_t sent[N_NODES] = {0};

    for (uint32_t i = 0; i < result->n_workers; i++) {
        const struct tern_worker *worker = &result->workers[i];

        cr_assert_lt(worker->node, N_NODES);
        cr_assert_eq(worker->away_pages, 0, "worker %u sent %lu pages of other nodes", i, worker->away_pages);
        sent[worker->node] += worker->pages_sent;
    }
    for (uint32_t node = 0; node < N_NODES; node++) {
        cr_assert_eq(sent[node], node_mib[node] * MIB / PAGE, "the workers of node %u sent %lu pages", node,
                     sent[node]);
        cr_assert_eq(reported(result, node), node_mib[node] * MIB / PAGE, "node %u: %lu pages", node,
                     reported(result, node));
    }
}

static void migrate(struct pair *pair, const struct process_guest_config *config, const char *numa_map)
{
    pair_init(pair, config, NULL, pair_host(false));
    scatter(pair->source);
    pair->destination_options.numa_map = numa_map;
}

Test(numa, each_worker_sends_the_pages_of_its_own_node, .timeout = TIME_LIMIT)
{
    struct pair pair;

    migrate(&pair, &full, NULL);
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_geq(pair.source_result.lanes, N_NODES);
    cr_assert_eq(pair.source_result.n_workers, pair.source_result.lanes);
    check_workers(&pair.source_result);
    check_landed(pair.destination, same);
    for (uint32_t node = 0; node < N_NODES; node++)
        cr_assert_eq(reported(&pair.destination_result, node), node_mib[node] * MIB / PAGE);
    cr_assert_str_eq(pair.warnings, "");
    pair_free(&pair);
}

/* In the threads of this process: bit n, one may run on CPU n (node n's only one) and nowhere else. */
static uint32_t pinned_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    uint32_t seen = 0;

    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[300], line[128], list[32];
        FILE *f;

        snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
        f = fopen(path, "r");
        while (f && fgets(line, sizeof(line), f))
            if (sscanf(line, "Cpus_allowed_list: %31s", list) == 1 && strlen(list) == 1)
                seen |= 1u << (list[0] - '0');
        if (f)
            fclose(f);
    }
    if (tasks)
        closedir(tasks);
    return seen;
}

static _Atomic uint32_t pinned_in_round;

static void see_threads(struct pair *pair, const struct tern_event *event)
{
    (void)pair;
    if (event->kind == TERN_EVENT_ROUND && event->round == 1)
        atomic_store(&pinned_in_round, pinned_threads());
}

Test(numa, workers_run_on_their_nodes, .timeout = TIME_LIMIT)
{
    struct pair pair;

    migrate(&pair, &full, NULL);
    pair.on_source_event = see_threads;
    cr_assert_eq(pinned_threads(), 0);
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_eq(atomic_load(&pinned_in_round), 0xf, "there are workers on nodes 0x%x", atomic_load(&pinned_in_round));
    cr_assert_eq(pinned_threads(), 0);
    pair_free(&pair);
}

Test(numa, more_lanes_than_nodes_share_a_node, .timeout = TIME_LIMIT)
{
    struct pair pair;

    migrate(&pair, &full, NULL);
    pair.source_options.lanes = 7;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_eq(pair.source_result.n_workers, 7);
    check_workers(&pair.source_result);
    pair_free(&pair);
}

Test(numa, fewer_lanes_than_nodes_serve_their_neighbours, .timeout = TIME_LIMIT)
{
    uint64_t sent = 0, away = 0;
    struct pair pair;

    migrate(&pair, &full, NULL);
    pair.source_options.lanes = 2;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_eq(pair.source_result.n_workers, 2);
    for (uint32_t i = 0; i < 2; i++) {
        sent += pair.source_result.workers[i].pages_sent;
        away += pair.source_result.workers[i].away_pages;
    }
    cr_assert_eq(sent, MEMORY_BYTES / PAGE);
    cr_assert_eq(away, (node_mib[1] + node_mib[3]) * MIB / PAGE, "nodes 0 and 2 have the most: %lu", away);
    pair_free(&pair);
}

Test(numa, a_guest_that_writes_all_the_time, .timeout = TIME_LIMIT)
{
    struct process_guest_config busy = full;
    struct pair pair;

    busy.working_set_bytes = MEMORY_BYTES;
    busy.dirty_pages_ps = 2000;
    migrate(&pair, &busy, "0:3,1:2,2:1,3:0");
    pair_run(&pair);
    pair_check_moved(&pair);
    for (uint32_t i = 0; i < pair.source_result.n_workers; i++)
        cr_assert_eq(pair.source_result.workers[i].away_pages, 0);
    check_landed(pair.destination, (int32_t[]){3, 2, 1, 0});
    pair_free(&pair);
}

Test(numa, a_map_decides_where_shared_memory_lands, .timeout = TIME_LIMIT)
{
    struct process_guest_config shared = full;
    struct pair pair;

    shared.shared = true;
    migrate(&pair, &shared, "0:1,1:0,2:2,3:2");
    pair_run(&pair);
    pair_check_moved(&pair);
    check_workers(&pair.source_result);
    check_landed(pair.destination, (int32_t[]){1, 0, 2, 2});
    cr_assert_eq(reported(&pair.destination_result, 3), 0);
    pair_free(&pair);
}

/* A second mapping of the guest's file, as its QEMU has one. */
static void *map_again(struct process_guest *guest)
{
    char path[96];
    uint8_t *base = process_guest_at(guest, 0), *again;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)base,
             (unsigned long)(base + MEMORY_BYTES));
    fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_geq(fd, 0, "%s", path);
    again = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(again, MAP_FAILED);
    close(fd);
    return again;
}

Test(numa, memory_that_its_owner_bound_stays_as_it_is, .timeout = TIME_LIMIT)
{
    struct process_guest_config shared = full;
    struct pair pair;

    shared.shared = true;
    migrate(&pair, &shared, "0:1,1:0");
    bind_to(map_again(pair.destination), MEMORY_BYTES, 2, 0);
    pair_run(&pair);
    pair_check_moved(&pair);
    check_landed(pair.destination, (int32_t[]){2, 2, 2, 2});
    cr_assert_not_null(strstr(pair.warnings, "is left alone"), "%s", pair.warnings);
    pair_free(&pair);
}

/* The policy was for the migration: afterwards it is the owner's default again, shared memory's too. */
Test(numa, no_policy_is_left_behind, .timeout = TIME_LIMIT)
{
    for (int shared = 0; shared < 2; shared++) {
        struct process_guest_config config = full;
        struct pair pair;

        config.shared = shared;
        migrate(&pair, &config, "0:1,1:0");
        pair_run(&pair);
        pair_check_moved(&pair);
        for (uint64_t at = 0; at < MEMORY_BYTES; at += 2 * MIB) {
            int mode = -1;

            cr_assert_eq(get_mempolicy(&mode, NULL, 0, process_guest_at(pair.destination, at), MPOL_F_ADDR), 0);
            cr_assert_eq(mode, MPOL_DEFAULT, "byte %lu has policy %d", at, mode);
        }
        pair_free(&pair);
    }
}

/* What plan_make says of this guest and these rails; the session has found out both by itself. */
static struct plan planned_for(uint32_t n_lanes)
{
    static const struct plan_rail rails[] = {{"rxe0", 0}, {"rxe1", 1}};
    static struct topology topology;
    uint64_t bytes[TOPOLOGY_NODES_MAX] = {0};
    struct plan_input input = {
        .topology = &topology, .node_bytes = bytes, .n_lanes = n_lanes, .rails = rails, .n_rails = 2};
    struct plan plan;

    for (uint32_t node = 0; node < N_NODES; node++)
        bytes[node] = node_mib[node] * MIB;
    cr_assert_eq(topology_read(&topology), 0);
    plan_make(&input, &plan);
    return plan;
}

/* Over RDMA only: suite_numa.sh. With six lanes, taking turns would put each node's second one on the other rail. */
Test(rails, each_lane_rides_the_rail_that_the_plan_names, .timeout = TIME_LIMIT)
{
    static const char *const name[] = {"rxe0", "rxe1"};
    struct pair pair;
    struct plan plan;

    migrate(&pair, &full, NULL);
    pair.source_options.device = pair.destination_options.device = "rxe0,rxe1";
    pair.source_options.lanes = 6;
    pair_run(&pair);
    pair_check_moved(&pair);
    plan = planned_for(6);
    cr_assert_eq(pair.source_result.n_workers, 6);
    for (uint32_t i = 0; i < 6; i++) {
        const struct tern_worker *worker = &pair.source_result.workers[i];

        printf("lane %u, node %u: %s\n", i, worker->node, worker->rail);
        cr_assert_str_eq(worker->rail, name[plan.workers[i].rail], "lane %u", i);
        if (worker->node < 2)
            cr_assert_str_eq(worker->rail, name[worker->node], "node %u", worker->node);
    }
    pair_free(&pair);
}

static uint64_t node_bytes(uint32_t node, const char *what)
{
    char path[64], format[64], line[128];
    unsigned long kib = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
    snprintf(format, sizeof(format), "Node %%*u %s: %%lu", what);
    f = fopen(path, "r");
    cr_assert_not_null(f);
    while (!kib && fgets(line, sizeof(line), f))
        sscanf(line, format, &kib);
    fclose(f);
    return kib * 1024;
}

/* All of a node's memory but a little, so that a guest does not fit. Taken step by step and preferred, not bound: what
 * is free changes meanwhile, and for bound memory that is not there the kernel would end this process. */
static void *fill_node(uint32_t node, uint64_t leave_bytes, size_t *length)
{
    unsigned long mask = 1ul << node;
    uint8_t *hog;

    *length = node_bytes(node, "MemTotal");
    hog = mmap(NULL, *length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(hog, MAP_FAILED);
    cr_assert_eq(madvise(hog, *length, MADV_NOHUGEPAGE), 0);
    cr_assert_eq(mbind(hog, *length, MPOL_PREFERRED, &mask, 65, 0), 0);
    for (uint64_t at = 0; at + MIB <= *length && node_bytes(node, "MemFree") > leave_bytes; at += MIB)
        memset(hog + at, 1, MIB);
    cr_assert_lt(node_bytes(node, "MemFree"), MEMORY_BYTES); /* the kernel may have freed a little since */
    return hog;
}

Test(numa, a_full_node_does_not_end_the_migration, .timeout = TIME_LIMIT)
{
    uint64_t sum = 0, on_full;
    struct pair pair;
    size_t length;
    void *hog;

    migrate(&pair, &full, "0:3,1:3,2:3,3:3");
    hog = fill_node(3, 24 * MIB, &length);
    pair_run(&pair);
    pair_check_moved(&pair);
    on_full = reported(&pair.destination_result, 3);
    for (uint32_t node = 0; node < N_NODES; node++)
        sum += reported(&pair.destination_result, node);
    cr_assert_eq(sum, MEMORY_BYTES / PAGE);
    cr_assert(on_full < sum, "%lu of %lu pages are on the full node", on_full, sum);
    munmap(hog, length);
    pair_free(&pair);
}

/* As with taskset, or a cgroup's cpuset: the workers run where they may, and their shards stay theirs. */
Test(numa, with_one_node_s_cpus_all_work_there, .timeout = TIME_LIMIT)
{
    struct pair pair;
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(1, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
    migrate(&pair, &full, NULL);
    pair_run(&pair);
    pair_check_moved(&pair);
    check_workers(&pair.source_result);
    check_landed(pair.destination, same);
    pair_free(&pair);
}

Test(numa, a_map_of_nodes_that_are_not_here_is_refused, .timeout = TIME_LIMIT)
{
    struct tern_destination *destination;
    struct tern_error error = {0};
    struct pair pair;

    pair_init(&pair, &full, NULL, pair_host(false));
    pair.destination_options.numa_map = "0:9";
    cr_assert_eq(tern_destination_create(&pair.destination_vm, &pair.destination_options, &destination, &error),
                 -EINVAL);
    cr_assert_not_null(strstr(error.message, "node 9"), "%s", error.message);
    pair_free(&pair);
}

/* Residence of memory in the kernel's words, on real nodes: counts and units of what scatter did. */
Test(numa, residence_is_what_the_kernel_says, .timeout = TIME_LIMIT)
{
    uint8_t unit_node[MEMORY_BYTES / (2 * MIB)];
    struct residence counts = {0}, sampled = {0};
    struct pair pair;

    migrate(&pair, &full, NULL);
    cr_assert_eq(residence_read(process_guest_at(pair.source, 0), MEMORY_BYTES, PAGE, RESIDENCE_BUDGET_PAGES, unit_node,
                                &counts),
                 0);
    for (uint32_t node = 0; node < N_NODES; node++)
        cr_assert_eq(counts.pages[node], node_mib[node] * MIB / PAGE);
    for (size_t i = 0; i < sizeof(unit_node); i++)
        cr_assert_eq(unit_node[i], wanted_node(i * 2 * MIB));
    cr_assert_eq(
        residence_read(process_guest_at(pair.source, 0), MEMORY_BYTES, PAGE, sizeof(unit_node), NULL, &sampled), 0);
    cr_assert(sampled.sampled);
    for (uint32_t node = 0; node < N_NODES; node++)
        cr_assert_eq(sampled.pages[node], counts.pages[node], "whole units are on one node, so one sample tells");
    pair_free(&pair);
}
