/* SPDX-License-Identifier: BSD-2-Clause */
/* How much of the CPU this process takes from the guests of its host. While a guest runs, copying its memory gives way
 * to it; when it stands still, or writes faster than it is copied, copying is what matters;
 * when it runs at its new place, clearing up gives way to it again. */
#ifndef TOOLS_TERN_PRIORITY_H
#define TOOLS_TERN_PRIORITY_H

#include <stdbool.h>

/* priority_lower: the calling thread, and those it will make, get this niceness (1..19), if they can get back what they
 * have now. false: nothing was changed, as that is not permitted (RLIMIT_NICE, CAP_SYS_NICE).
 * source   setpriority(2), "C library/kernel differences": in Linux niceness is a thread's */
bool priority_lower(int nice);
/* priority_restore: every thread of this process gets niceness 0. Any thread. */
void priority_restore(void);
/* priority_lower_all: every thread, for good, where priority_lower was allowed before. Any thread. */
void priority_lower_all(int nice);

#endif
