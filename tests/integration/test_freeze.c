/* SPDX-License-Identifier: BSD-2-Clause */
/* All threads of another process held still: busy ones, ones that come and go, ones that take signals; and let go when
 * the holder is killed. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/qemu/freeze.h"
#include "transport/clock.h"

#define BUSY 4

/* What the other process does, seen from here. */
struct seen {
    _Atomic uint64_t turns[BUSY], born, signals;
    _Atomic pid_t child; /* of a thread that waits for it, uninterruptibly */
};

struct other {
    pid_t pid;
    struct seen *seen;
    struct freeze *freeze;
};

static struct seen *seen;

static void *busy(void *argument)
{
    for (;;)
        atomic_fetch_add(&seen->turns[(uintptr_t)argument], 1);
    return NULL;
}

static void *born(void *argument)
{
    (void)argument;
    atomic_fetch_add(&seen->born, 1);
    return NULL;
}

static void *parent_of_many(void *argument)
{
    pthread_t thread;

    (void)argument;
    for (;;)
        if (!pthread_create(&thread, NULL, born, NULL))
            pthread_join(thread, NULL);
    return NULL;
}

static void on_signal(int signal)
{
    (void)signal;
    atomic_fetch_add(&seen->signals, 1);
}

/* The caller waits in the kernel until the child has ended, and no signal but a kill changes that. */
static void *wait_in_kernel(void *argument)
{
    pid_t child = vfork();

    if (!child) {
        seen->child = getpid();
        usleep((useconds_t)(uintptr_t)argument * 1000);
        _exit(0);
    }
    return NULL;
}

static void other_main(bool many, uintptr_t kernel_ms)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    pthread_t thread;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigaction(SIGRTMIN, &action, NULL);
    for (uintptr_t i = 0; i < BUSY; i++)
        pthread_create(&thread, NULL, busy, (void *)i);
    if (many)
        pthread_create(&thread, NULL, parent_of_many, NULL);
    if (kernel_ms)
        pthread_create(&thread, NULL, wait_in_kernel, (void *)kernel_ms);
    for (;;)
        pause();
}

static void wait_turns(const struct other *other)
{
    uint64_t deadline_ns = clock_after_ms(10000), from[BUSY];

    for (int i = 0; i < BUSY; i++)
        from[i] = other->seen->turns[i];
    for (int i = 0; i < BUSY; i++)
        while (other->seen->turns[i] == from[i])
            cr_assert(clock_left_ms(deadline_ns), "thread %d stands still", i);
}

static struct other start(bool many, uintptr_t kernel_ms)
{
    struct other other = {.freeze = calloc(1, sizeof(struct freeze))};
    char path[32];

    seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(seen, MAP_FAILED);
    other.seen = seen;
    other.pid = fork();
    if (!other.pid)
        other_main(many, kernel_ms);
    cr_assert_gt(other.pid, 0);
    snprintf(path, sizeof(path), "/proc/%d", (int)other.pid);
    other.freeze->pid = other.pid;
    other.freeze->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_geq(other.freeze->folder, 0);
    wait_turns(&other);
    return other;
}

static void end(struct other *other)
{
    kill(other->pid, SIGKILL);
    waitpid(other->pid, NULL, 0);
    if (other->seen->child)
        kill(other->seen->child, SIGKILL);
    close(other->freeze->folder);
    free(other->freeze);
}

static uint64_t sum(const struct other *other)
{
    uint64_t all = other->seen->born + other->seen->signals;

    for (int i = 0; i < BUSY; i++)
        all += other->seen->turns[i];
    return all;
}

/* The value of a line of /proc/PID/status. */
static void read_status(const struct other *other, const char *name, char *value, size_t bytes)
{
    char path[64], line[256];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)other->pid);
    file = fopen(path, "r");
    cr_assert_not_null(file);
    *value = 0;
    while (fgets(line, sizeof(line), file))
        if (!strncmp(line, name, strlen(name)))
            snprintf(value, bytes, "%s", line + strlen(name) + 2);
    fclose(file);
}

static void is_free(const struct other *other)
{
    char value[64];

    read_status(other, "TracerPid", value, sizeof(value));
    cr_assert_eq(atoi(value), 0);
    read_status(other, "State", value, sizeof(value));
    cr_assert(!strchr("Tt", value[0]), "state %s", value);
    wait_turns(other);
}

Test(freeze, nobody_moves_while_held_and_all_go_on, .timeout = 60)
{
    struct other other = start(true, 0);

    for (int i = 0; i < 100; i++) {
        uint64_t before;

        cr_assert_eq(freeze_hold(other.freeze), 0);
        cr_assert_geq(other.freeze->n_threads, BUSY + 2);
        before = sum(&other);
        usleep(2000);
        cr_assert_eq(sum(&other), before, "somebody ran in turn %d", i);
        freeze_release(other.freeze);
        cr_assert_eq(other.freeze->n_threads, 0);
        is_free(&other);
    }
    cr_assert_geq(other.freeze->longest_ns, 2000000);
    end(&other);
}

static pid_t start_sender(const struct other *other, uint32_t n)
{
    pid_t sender = fork();

    if (sender)
        return sender;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint32_t i = 0; i < n;)
        if (!sigqueue(other->pid, SIGRTMIN, (union sigval){0}))
            i++;
        else
            usleep(100); /* the queue is full */
    _exit(0);
}

static void all_signals_came(const struct other *other, uint32_t n)
{
    uint64_t deadline_ns = clock_after_ms(10000);

    while (other->seen->signals < n)
        cr_assert(clock_left_ms(deadline_ns), "%lu signals of %u came", (unsigned long)other->seen->signals, n);
    cr_assert_eq(other->seen->signals, n);
}

Test(freeze, no_signal_is_lost, .timeout = 60)
{
    struct other other = start(false, 0);
    pid_t sender = start_sender(&other, 20000);
    int turns = 0;

    for (; !waitpid(sender, NULL, WNOHANG); turns++) {
        cr_assert_eq(freeze_hold(other.freeze), 0);
        freeze_release(other.freeze);
    }
    cr_assert_gt(turns, 1);
    all_signals_came(&other, 20000);
    end(&other);
}

/* A process that holds the other, says so, and stays; what is said is hold's result. */
static pid_t start_holder(struct other *other, int *said)
{
    int ends[2];
    pid_t holder;

    cr_assert_eq(pipe(ends), 0);
    holder = fork();
    if (!holder) {
        int r;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        r = freeze_hold(other->freeze);

        if (write(ends[1], &r, sizeof(r)) == sizeof(r))
            pause();
        _exit(1);
    }
    cr_assert_eq(read(ends[0], said, sizeof(*said)), sizeof(*said));
    close(ends[0]);
    close(ends[1]);
    return holder;
}

Test(freeze, a_killed_holder_lets_all_go, .timeout = 60)
{
    struct other other = start(true, 0);
    pid_t sender = start_sender(&other, 5000);
    bool sends = true;

    for (int i = 0; i < 20 || sends; i++) {
        char value[64];
        int r;
        pid_t holder = start_holder(&other, &r);

        cr_assert_eq(r, 0);
        read_status(&other, "TracerPid", value, sizeof(value));
        cr_assert_eq(atoi(value), holder);
        kill(holder, SIGKILL);
        waitpid(holder, NULL, 0);
        is_free(&other);
        sends = sends && !waitpid(sender, NULL, WNOHANG);
    }
    all_signals_came(&other, 5000);
    end(&other);
}

Test(freeze, one_that_is_traced_already_is_refused, .timeout = 60)
{
    struct other other = start(false, 0);
    int r;
    pid_t holder = start_holder(&other, &r);

    cr_assert_eq(r, 0);
    cr_assert_eq(freeze_hold(other.freeze), -EPERM);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    cr_assert_eq(freeze_hold(other.freeze), 0);
    freeze_release(other.freeze);
    end(&other);
}

Test(freeze, one_that_has_ended, .timeout = 60)
{
    struct other other = start(false, 0);

    kill(other.pid, SIGKILL);
    waitpid(other.pid, NULL, 0);
    cr_assert_eq(freeze_hold(other.freeze), -ESRCH);
    end(&other);
}

static void wait_child(const struct other *other)
{
    uint64_t deadline_ns = clock_after_ms(10000);

    while (!other->seen->child)
        cr_assert(clock_left_ms(deadline_ns));
}

Test(freeze, a_thread_in_the_kernel_is_waited_for_while_the_others_run, .timeout = 60)
{
    struct other other = start(false, 700);
    uint64_t before;

    wait_child(&other);
    cr_assert_eq(freeze_hold(other.freeze), 0);
    before = sum(&other);
    usleep(2000);
    cr_assert_eq(sum(&other), before);
    freeze_release(other.freeze);
    cr_assert_lt(other.freeze->longest_ns, 600000000, "held for %lu ns", (unsigned long)other.freeze->longest_ns);
    is_free(&other);
    end(&other);
}

Test(freeze, a_thread_that_does_not_stop_is_named_and_the_others_run, .timeout = 60)
{
    struct other other = start(false, 20000);
    pid_t holder;
    int r;

    wait_child(&other);
    holder = start_holder(&other, &r);
    cr_assert_eq(r, -ETIMEDOUT);
    wait_turns(&other);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    is_free(&other);
    end(&other);
}
