/* SPDX-License-Identifier: BSD-2-Clause */
/* All threads of another process held still, for milliseconds, by ptrace.
 * Invariant: when the thread that called freeze_hold ends, however it ends, the kernel lets every held thread go on,
 * and no signal of theirs is lost. All calls are for one thread, and safe after a fork of a program with threads. */
#ifndef TOOLS_QEMU_FREEZE_H
#define TOOLS_QEMU_FREEZE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FREEZE_THREADS_MAX 4096u

struct frozen_thread {
    pid_t tid;
    bool stopped;
    int signal; /* that it was about to take when it stopped; 0 for none */
};

struct freeze {
    int folder; /* borrowed: /proc/PID */
    pid_t pid;
    uint32_t n_threads;
    struct frozen_thread threads[FREEZE_THREADS_MAX];
    uint64_t began_ns,
        longest_ns; /* this hold's begin; the longest from the first thread's stop to the last one's end */
    pid_t culprit;  /* which thread a failure was about */
};

/* freeze_hold: threads that are made meanwhile are held too. One that waits in the kernel (for a disk) is waited for
 * with the others let go in between.
 * blocks   some 10 s at most
 * errors   none is held then. -EPERM not allowed to trace it; -ESRCH it has ended; -E2BIG too many threads; -ETIMEDOUT
 *          culprit does not stop: it stays traced until this thread ends, so end it */
int freeze_hold(struct freeze *freeze);
void freeze_release(struct freeze *freeze);

#endif
