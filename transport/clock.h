/* SPDX-License-Identifier: BSD-2-Clause */
/* The monotonic clock in nanoseconds, and deadlines on it. */
#ifndef TRANSPORT_CLOCK_H
#define TRANSPORT_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

static inline uint64_t clock_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Since 1970, by the wall clock, which may jump: for telling when something was, never for how long it took. */
static inline uint64_t clock_wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_after_ms(uint32_t ms)
{
    return clock_now_ns() + ms * NS_PER_MS;
}

/* Milliseconds until deadline_ns, rounded up, for poll(); 0 when it has passed. */
static inline int clock_left_ms(uint64_t deadline_ns)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;

    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

/* For pthread_cond_timedwait on a condition that uses CLOCK_MONOTONIC. */
static inline struct timespec clock_timespec(uint64_t at_ns)
{
    return (struct timespec){.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)};
}

#endif
