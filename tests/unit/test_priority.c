/* SPDX-License-Identifier: BSD-2-Clause */
/* Niceness of this process's threads, lowered and brought back. Needs root, as the tests do. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/tern/priority.h"

struct other {
    pthread_t thread;
    pid_t tid;
    sem_t known, end;
};

static void *wait_for_end(void *argument)
{
    struct other *other = argument;

    other->tid = gettid();
    sem_post(&other->known);
    sem_wait(&other->end);
    return NULL;
}

static void start(struct other *other)
{
    sem_init(&other->known, 0, 0);
    sem_init(&other->end, 0, 0);
    cr_assert_eq(pthread_create(&other->thread, NULL, wait_for_end, other), 0);
    sem_wait(&other->known);
}

static void end(struct other *other)
{
    sem_post(&other->end);
    pthread_join(other->thread, NULL);
}

static int nice_of(pid_t tid)
{
    return getpriority(PRIO_PROCESS, (id_t)tid);
}

/* Whatever the tests were started with. */
static void at_nice_0(void)
{
    cr_assert_eq(setpriority(PRIO_PROCESS, 0, 0), 0);
}

TestSuite(priority, .init = at_nice_0, .timeout = 20);

Test(priority, threads_made_later_are_lowered_and_all_come_back)
{
    struct other before, after;

    start(&before);
    cr_assert(priority_lower(15));
    start(&after);
    cr_assert_eq(nice_of(before.tid), 0);
    cr_assert_eq(nice_of(gettid()), 15);
    cr_assert_eq(nice_of(after.tid), 15);
    priority_restore();
    cr_assert_eq(nice_of(before.tid), 0);
    cr_assert_eq(nice_of(gettid()), 0);
    cr_assert_eq(nice_of(after.tid), 0);
    priority_lower_all(15);
    cr_assert_eq(nice_of(before.tid), 15);
    cr_assert_eq(nice_of(gettid()), 15);
    cr_assert_eq(nice_of(after.tid), 15);
    end(&before);
    end(&after);
}

Test(priority, what_could_not_be_taken_back_is_not_done)
{
    struct rlimit none = {0, 0};

    cr_assert_eq(setrlimit(RLIMIT_NICE, &none), 0);
    cr_assert_eq(setresuid(65534, 65534, 65534), 0);
    cr_assert_not(priority_lower(15));
    cr_assert_eq(nice_of(gettid()), 0);
}

Test(priority, who_was_started_nice_stays_so)
{
    cr_assert_eq(setpriority(PRIO_PROCESS, 0, 5), 0);
    cr_assert_not(priority_lower(15));
    cr_assert_eq(nice_of(gettid()), 5);
}
