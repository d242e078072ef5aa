/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/process_guest.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS              1000000ull
#define STATE_MAGIC          0x7465736775657374ull
#define HIGH_ADDRESS         (4ull << 30)
#define NS_PER_SECOND        1000000000ull
#define MAP_HUGE_LOG2(bytes) (__builtin_ctzll(bytes) << 26)

struct process_guest {
    struct process_guest_config config;
    struct tern_region regions[2];
    uint32_t n_regions;
    struct tern_tracker tracker;

    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards all below but steps */
    pthread_cond_t changed;
    bool run, running, ending;
    uint32_t throttle_percent;
    _Atomic uint64_t steps;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

uint8_t *process_guest_at(const struct process_guest *guest, uint64_t offset_bytes)
{
    uint64_t low = guest->regions[0].length_bytes;

    return offset_bytes < low ? (uint8_t *)guest->regions[0].base + offset_bytes
                              : (uint8_t *)guest->regions[1].base + (offset_bytes - low);
}

/* ---- what the guest does ---- */

static uint64_t pick_page(const struct process_guest *guest, uint64_t step)
{
    uint64_t pages = guest->config.working_set_bytes / TERN_PAGE_BYTES, random = mix(step + guest->config.seed);

    if (guest->config.pattern == PROCESS_GUEST_SEQUENTIAL)
        return step % pages;
    if (guest->config.pattern == PROCESS_GUEST_HOT_COLD && pages >= 10 && random % 10)
        return (random >> 8) % (pages / 10);
    return (random >> 8) % pages;
}

static void one_step(struct process_guest *guest)
{
    uint64_t step = atomic_load_explicit(&guest->steps, memory_order_relaxed);
    uint64_t page = pick_page(guest, step);
    uint64_t value = mix(step ^ guest->config.seed);

    memcpy(process_guest_at(guest, page * TERN_PAGE_BYTES + value % (TERN_PAGE_BYTES / 8) * 8), &value, sizeof(value));
    atomic_store_explicit(&guest->steps, step + 1, memory_order_relaxed);
}

/* Until the next tick, or until a pause: a vCPU that halts is kicked out at once. With the lock. */
static void sleep_until(struct process_guest *guest, struct timespec *at, uint64_t ns)
{
    at->tv_nsec += (long)ns;
    while (at->tv_nsec >= (long)NS_PER_SECOND) {
        at->tv_nsec -= (long)NS_PER_SECOND;
        at->tv_sec++;
    }
    while (guest->run && !guest->ending && pthread_cond_timedwait(&guest->changed, &guest->lock, at) != ETIMEDOUT)
        ;
}

/* One tick's steps, less what the throttle takes. A guest that fell behind does not catch up: no vCPU does.
 * returns  whether to sleep until the next tick */
static bool one_tick(struct process_guest *guest, uint32_t throttle_percent, double *owed, struct timespec *at)
{
    uint64_t begin_ns, now_ns;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec > at->tv_sec || (now.tv_sec == at->tv_sec && now.tv_nsec > at->tv_nsec + 5000000))
        *at = now;
    if (!guest->config.working_set_bytes)
        return true;
    if (guest->config.dirty_pages_ps) {
        *owed += (double)guest->config.dirty_pages_ps * (100 - throttle_percent) / 100 * TICK_NS / NS_PER_SECOND;
        for (; *owed >= 1; *owed -= 1)
            one_step(guest);
        return true;
    }
    begin_ns = (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
    do {
        for (int i = 0; i < 64; i++)
            one_step(guest);
        clock_gettime(CLOCK_MONOTONIC, &now);
        now_ns = (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
    } while (now_ns - begin_ns < TICK_NS * (100 - throttle_percent) / 100);
    return throttle_percent > 0;
}

static void *guest_main(void *argument)
{
    struct process_guest *guest = argument;
    struct timespec at = {0};
    double owed = 0;

    pthread_mutex_lock(&guest->lock);
    while (!guest->ending) {
        uint32_t percent = guest->throttle_percent;
        bool sleeps;

        if (!guest->run) {
            guest->running = false;
            pthread_cond_broadcast(&guest->changed);
            pthread_cond_wait(&guest->changed, &guest->lock);
            continue;
        }
        guest->running = true;
        pthread_mutex_unlock(&guest->lock);
        sleeps = one_tick(guest, percent, &owed, &at);
        pthread_mutex_lock(&guest->lock);
        if (sleeps)
            sleep_until(guest, &at, TICK_NS);
    }
    guest->running = false;
    pthread_cond_broadcast(&guest->changed);
    pthread_mutex_unlock(&guest->lock);
    return NULL;
}

/* ---- callbacks ---- */

static int guest_pause(void *opaque, struct tern_error *error)
{
    struct process_guest *guest = opaque;

    (void)error;
    pthread_mutex_lock(&guest->lock);
    guest->run = false;
    pthread_cond_broadcast(&guest->changed);
    while (guest->running)
        pthread_cond_wait(&guest->changed, &guest->lock);
    pthread_mutex_unlock(&guest->lock);
    return 0;
}

static int guest_resume(void *opaque, struct tern_error *error)
{
    struct process_guest *guest = opaque;

    (void)error;
    pthread_mutex_lock(&guest->lock);
    guest->run = true;
    pthread_cond_broadcast(&guest->changed);
    pthread_mutex_unlock(&guest->lock);
    return 0;
}

static int guest_throttle(void *opaque, uint32_t percent, struct tern_error *error)
{
    struct process_guest *guest = opaque;

    (void)error;
    pthread_mutex_lock(&guest->lock);
    guest->throttle_percent = percent;
    pthread_mutex_unlock(&guest->lock);
    return 0;
}

static int guest_save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    struct process_guest *guest = opaque;
    uint64_t state[2] = {STATE_MAGIC, atomic_load(&guest->steps)};

    (void)error;
    if (capacity_bytes < sizeof(state))
        return -ENOSPC;
    memcpy(buffer, state, sizeof(state));
    *length_bytes = sizeof(state);
    return 0;
}

static int guest_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    struct process_guest *guest = opaque;
    uint64_t state[2] = {0};

    if (length_bytes == sizeof(state))
        memcpy(state, buffer, sizeof(state));
    if (state[0] != STATE_MAGIC) {
        if (error)
            snprintf(error->message, sizeof(error->message), "the device state is not a process guest's");
        return -EINVAL;
    }
    atomic_store(&guest->steps, state[1]);
    return 0;
}

/* ---- life ---- */

static int map_region(struct process_guest *guest, uint32_t i, uint64_t bytes, uint64_t address, const char *name,
                      struct tern_error *error)
{
    uint64_t page = guest->config.page_bytes;
    int huge = page > TERN_PAGE_BYTES ? MAP_HUGETLB | MAP_HUGE_LOG2(page) : 0;
    int flags = huge | (guest->config.shared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED) {
        if (error)
            snprintf(error->message, sizeof(error->message), "cannot map %llu bytes in pages of %llu: %s",
                     (unsigned long long)bytes, (unsigned long long)page, strerror(errno));
        return -errno;
    }
    if (!huge && !guest->config.shared)
        madvise(base, bytes, MADV_HUGEPAGE);
    guest->regions[i] =
        (struct tern_region){.base = base, .guest_address = address, .length_bytes = bytes, .page_bytes = page};
    snprintf(guest->regions[i].name, sizeof(guest->regions[i].name), "%s", name);
    guest->n_regions = i + 1;
    return 0;
}

static void fill_random(struct process_guest *guest)
{
    for (uint64_t at = 0; at < guest->config.random_bytes; at += TERN_PAGE_BYTES) {
        uint64_t *page = (uint64_t *)process_guest_at(guest, at);
        uint64_t x = mix(at + guest->config.seed) | 1;

        for (uint32_t i = 0; i < TERN_PAGE_BYTES / 8; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            page[i] = x;
        }
    }
}

static void fill_zero(struct process_guest *guest)
{
    uint64_t end = guest->config.random_bytes + guest->config.zero_bytes;

    for (uint64_t at = guest->config.random_bytes; at < end; at += TERN_PAGE_BYTES)
        memset(process_guest_at(guest, at), 0, TERN_PAGE_BYTES);
}

int process_guest_create(const struct process_guest_config *config, bool fill, struct process_guest **out,
                         struct tern_error *error)
{
    struct process_guest *guest = calloc(1, sizeof(*guest));
    pthread_condattr_t attributes;
    int r;

    if (!guest)
        return -ENOMEM;
    guest->config = *config;
    if (!guest->config.page_bytes)
        guest->config.page_bytes = TERN_PAGE_BYTES;
    pthread_mutex_init(&guest->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&guest->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    r = map_region(guest, 0, config->memory_bytes - config->high_bytes, 0, "low", error);
    if (!r && config->high_bytes)
        r = map_region(guest, 1, config->high_bytes, HIGH_ADDRESS, "high", error);
    if (!r && fill) {
        fill_random(guest);
        fill_zero(guest);
        r = process_guest_load_tracker(guest, error);
    }
    if (!r) {
        r = -pthread_create(&guest->thread, NULL, guest_main, guest);
        guest->started = !r;
    }
    if (r)
        process_guest_destroy(guest);
    else
        *out = guest;
    return r;
}

int process_guest_load_tracker(struct process_guest *guest, struct tern_error *error)
{
    return tern_tracker_uffd_create(guest->regions, guest->n_regions, guest->config.sync_tracker, &guest->tracker,
                                    error);
}

void process_guest_destroy(struct process_guest *guest)
{
    if (!guest)
        return;
    if (guest->started) {
        pthread_mutex_lock(&guest->lock);
        guest->ending = true;
        pthread_cond_broadcast(&guest->changed);
        pthread_mutex_unlock(&guest->lock);
        pthread_join(guest->thread, NULL);
    }
    tern_tracker_destroy(&guest->tracker);
    for (uint32_t i = 0; i < guest->n_regions; i++)
        munmap(guest->regions[i].base, guest->regions[i].length_bytes);
    pthread_cond_destroy(&guest->changed);
    pthread_mutex_destroy(&guest->lock);
    free(guest);
}

void process_guest_describe(struct process_guest *guest, struct tern_vm *vm)
{
    *vm = (struct tern_vm){
        .struct_bytes = sizeof(*vm),
        .opaque = guest,
        .kind = "process guest 1",
        .regions = guest->regions,
        .n_regions = guest->n_regions,
        .tracker = guest->tracker,
        .pause = guest_pause,
        .resume = guest_resume,
        .throttle = guest_throttle,
        .save_state = guest_save,
        .load_state = guest_load,
    };
}

void process_guest_start(struct process_guest *guest)
{
    guest_resume(guest, NULL);
}

bool process_guest_runs(struct process_guest *guest)
{
    bool run;

    pthread_mutex_lock(&guest->lock);
    run = guest->run;
    pthread_mutex_unlock(&guest->lock);
    return run;
}

uint64_t process_guest_steps(struct process_guest *guest)
{
    return atomic_load(&guest->steps);
}

bool process_guest_equal(const struct process_guest *a, const struct process_guest *b, uint64_t *first_difference)
{
    for (uint64_t at = 0; at < a->config.memory_bytes; at += TERN_PAGE_BYTES) {
        const uint8_t *x = process_guest_at(a, at), *y = process_guest_at(b, at);

        if (!memcmp(x, y, TERN_PAGE_BYTES))
            continue;
        for (*first_difference = at; *x == *y; x++, y++)
            ++*first_difference;
        return false;
    }
    return true;
}
