/* SPDX-License-Identifier: BSD-2-Clause */
/* source: ptrace(2), waitid(2). Waiting with WNOWAIT leaves the kernel's note of what a thread was about to do, so that
 * our death cancels no signal. */
#include "tools/qemu/freeze.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/clock.h"

#define TRY_MS   100  /* for all threads to stop, with the stopped ones waiting */
#define STRAY_MS 2000 /* for one that did not, with the others running */
#define TRIES    5
#define LOOK_US  20

/* ---- which threads there are ---- */

static struct frozen_thread *find(struct freeze *freeze, pid_t tid)
{
    for (uint32_t i = 0; i < freeze->n_threads; i++)
        if (freeze->threads[i].tid == tid)
            return &freeze->threads[i];
    return NULL;
}

/* returns 1 it is new, 0 it has ended, or -errno */
static int seize(struct freeze *freeze, pid_t tid)
{
    if (freeze->n_threads == FREEZE_THREADS_MAX)
        return -E2BIG;
    if (ptrace(PTRACE_SEIZE, tid, NULL, NULL)) {
        freeze->culprit = tid;
        return errno == ESRCH ? 0 : -errno;
    }
    freeze->threads[freeze->n_threads++] = (struct frozen_thread){.tid = tid};
    /* Only a thread that has ended meanwhile cannot be interrupted; the wait will find that. */
    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
    return 1;
}

/* One look at the list: seize who is new there. returns how many, or -errno; -EAGAIN: one was refused that may be
 * ending, which the main thread never is */
static int seize_new(struct freeze *freeze, int tasks)
{
    union {
        char bytes[32768];
        struct dirent64 align;
    } list;
    int found = 0, refused = 0;
    ssize_t n;

    if (lseek(tasks, 0, SEEK_SET) < 0)
        return -errno;
    while ((n = syscall(SYS_getdents64, tasks, list.bytes, sizeof(list.bytes))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *entry = (const void *)(list.bytes + at);
            pid_t tid = (pid_t)atoi(entry->d_name);
            int r = tid > 0 && !find(freeze, tid) ? seize(freeze, tid) : 0;

            if (r == -EPERM && tid != freeze->pid)
                refused = -EAGAIN;
            else if (r < 0)
                return r;
            else
                found += r;
            at += entry->d_reclen;
        }
    if (n < 0)
        return -errno;
    return refused ? refused : found;
}

/* ---- waiting for them ---- */

/* returns whether it stands still, or has ended and is out of the list */
static bool look(struct freeze *freeze, struct frozen_thread *thread)
{
    siginfo_t info = {0};

    if (waitid(P_PID, (id_t)thread->tid, &info, WSTOPPED | WEXITED | WNOWAIT | WNOHANG | __WALL)) {
        if (errno == EINTR)
            return false;
        *thread = freeze->threads[--freeze->n_threads];
        return true;
    }
    if (!info.si_pid)
        return false;
    if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED) { /* its end: taken note of */
        waitid(P_PID, (id_t)thread->tid, &info, WEXITED | WNOHANG | __WALL);
        *thread = freeze->threads[--freeze->n_threads];
        return true;
    }
    thread->stopped = true;
    thread->signal = info.si_status >> 8 ? 0 : info.si_status;
    return true;
}

static int wait_all(struct freeze *freeze, uint64_t deadline_ns)
{
    for (uint32_t i = 0; i < freeze->n_threads;) {
        struct frozen_thread *thread = &freeze->threads[i];

        if (thread->stopped) {
            i++;
        } else if (!look(freeze, thread)) {
            if (!clock_left_ms(deadline_ns)) {
                freeze->culprit = thread->tid;
                return -ETIMEDOUT;
            }
            usleep(LOOK_US);
        }
    }
    return 0;
}

/* ---- letting them go ---- */

/* Only a thread that stands still can be. */
static void let_go(struct freeze *freeze)
{
    for (uint32_t i = freeze->n_threads; i > 0; i--) {
        struct frozen_thread *thread = &freeze->threads[i - 1];

        if (!thread->stopped)
            continue;
        ptrace(PTRACE_DETACH, thread->tid, NULL, (void *)(long)thread->signal);
        *thread = freeze->threads[--freeze->n_threads];
    }
}

void freeze_release(struct freeze *freeze)
{
    uint64_t ns;

    let_go(freeze);
    ns = clock_now_ns() - freeze->began_ns;
    if (ns > freeze->longest_ns)
        freeze->longest_ns = ns;
}

/* ---- holding them ---- */

/* Twice nobody new, while all others stand still: these are all. */
static int try_hold(struct freeze *freeze, int tasks)
{
    uint64_t deadline_ns = clock_after_ms(TRY_MS);
    int r = 0;

    freeze->began_ns = clock_now_ns();
    for (int same = 0; same < 2;) {
        int found = seize_new(freeze, tasks);

        if (found < 0 && found != -EAGAIN)
            return found;
        if (found == -EAGAIN && !clock_left_ms(deadline_ns))
            return -ETIMEDOUT;
        if (found == -EAGAIN)
            usleep(LOOK_US);
        r = wait_all(freeze, deadline_ns);
        if (r)
            return r;
        same = found ? 0 : same + 1;
    }
    return freeze->n_threads ? 0 : -ESRCH;
}

int freeze_hold(struct freeze *freeze)
{
    int tasks = openat(freeze->folder, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = -ETIMEDOUT, strays = 0;

    if (tasks < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    freeze->n_threads = 0;
    for (int i = 0; i < TRIES && r == -ETIMEDOUT && !strays; i++) {
        r = try_hold(freeze, tasks);
        if (!r)
            break;
        freeze_release(freeze);
        strays = wait_all(freeze, clock_after_ms(STRAY_MS));
        let_go(freeze);
    }
    close(tasks);
    return r;
}
