/* SPDX-License-Identifier: BSD-2-Clause */
/* However a migration over verbs ends, nothing is left of it: in the kernel, among the open files, of pinned memory.
 * Run in the lab by suite_verbs_errors.sh. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lab/verbs_child.h"
#include "tests/lab/verbs_ends.h"

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* What the kernel holds for all processes: "0: rxe0: pd 1 cq 1 qp 1 cm_id 0 mr 0", without contexts, which libraries
 * keep.
 */
static void rdma_resources(char *text, size_t capacity)
{
    FILE *f = popen("rdma resource show | sed -E 's/ (ctx|srq) [0-9]+//g'", "r");

    cr_assert_not_null(f);
    text[fread(text, 1, capacity - 1, f)] = 0;
    cr_assert_eq(pclose(f), 0);
    cr_assert_not_null(strstr(text, "qp"), "%s", text);
}

static int open_files(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static uint64_t pinned_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    unsigned long long kib = 0;
    char line[128];

    while (f && fgets(line, sizeof(line), f) && sscanf(line, "VmPin: %llu", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return kib;
}

static void die_after_round(struct pair *pair, const struct tern_event *event)
{
    (void)pair;
    if (event->kind == TERN_EVENT_ROUND)
        raise(SIGKILL);
}

static void dies_after_round_one(struct pair *pair)
{
    pair->on_source_event = die_after_round;
}

/* The libraries open the device once and keep it; a first use is not a leak. */
static void warm_up(void)
{
    struct ends ends;

    ends_init(&ends, pair_host(false));
    ends_join(&ends);
    ends_free(&ends);
}

Test(dying, a_killed_source_is_noticed_and_all_is_freed, .timeout = 60)
{
    struct child source = child_source(pair_host(false), dies_after_round_one);
    char before[512], after[512];
    uint64_t killed_ms;
    struct pair pair;
    int files, status;

    warm_up();
    rdma_resources(before, sizeof(before));
    files = open_files();
    pair_init(&pair, &small_guest, NULL, pair_host(false));
    pair_start_destination(&pair);
    cr_assert_eq(write(source.port_fd, &pair.source_options.port, sizeof(uint16_t)), sizeof(uint16_t));
    cr_assert_eq(waitpid(source.pid, &status, 0), source.pid);
    cr_assert(WIFSIGNALED(status));
    killed_ms = now_ms();
    pair_join_destination(&pair);
    cr_assert_lt(now_ms() - killed_ms, 5000);
    cr_assert_lt(pair.destination_code, 0);
    says(&pair.destination_error, "the source is gone");
    cr_assert_eq(pair.destination_error.side, TERN_SIDE_SOURCE);
    cr_assert_str_eq(pair.destination_result.transport, "verbs");
    cr_assert_gt(pair.destination_result.registered_bytes, 0);
    cr_assert(!process_guest_runs(pair.destination));
    pair_free(&pair);
    rdma_resources(after, sizeof(after));
    cr_assert_str_eq(after, before);
    cr_assert_eq(open_files(), files);
    cr_assert_eq(pinned_kib(), 0);
}

Test(dying, a_migration_that_ends_well_frees_all, .timeout = 60)
{
    char before[512], after[512];
    struct pair pair;
    int files;

    warm_up();
    rdma_resources(before, sizeof(before));
    files = open_files();
    pair_init(&pair, &small_guest, NULL, pair_host(false));
    pair_run(&pair);
    pair_check_moved(&pair);
    pair_free(&pair);
    rdma_resources(after, sizeof(after));
    cr_assert_str_eq(after, before);
    cr_assert_eq(open_files(), files);
    cr_assert_eq(pinned_kib(), 0);
}
