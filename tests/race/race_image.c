/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that meet in an image: the two that write it, with one that cancels; then, of a guest that runs out of it,
 * the ones that touch its memory while it is read. Exit status: 0, 1 wrong, 77 not here. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/tern.h"

#define MIB     (1ull << 20)
#define BYTES   (64 * MIB)
#define READERS 3

static _Atomic bool wrong;
static pthread_t readers[READERS];

static uint64_t word_of(uint64_t page)
{
    return page % 5 ? page * 0x9e3779b97f4a7c15ull : 0;
}

static void *read_all(void *argument)
{
    const uint8_t *base = argument;
    uint64_t n = BYTES / TERN_PAGE_BYTES;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t page = i * 677 % n, word;

        memcpy(&word, base + page * TERN_PAGE_BYTES, sizeof(word));
        if (word != word_of(page))
            atomic_store(&wrong, true);
    }
    return NULL;
}

static int start_readers(void *opaque, struct tern_error *error)
{
    const struct tern_region *region = opaque;

    (void)error;
    for (int i = 0; i < READERS; i++)
        if (pthread_create(&readers[i], NULL, read_all, region->base))
            return -1;
    return 0;
}

static int nothing(void *opaque, struct tern_error *error)
{
    (void)opaque;
    (void)error;
    return 0;
}

static int save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    (void)opaque;
    (void)buffer;
    (void)capacity_bytes;
    (void)error;
    *length_bytes = 0;
    return 0;
}

static int load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    (void)opaque;
    (void)buffer;
    (void)error;
    return length_bytes ? -1 : 0;
}

static void *cancel(void *suspend)
{
    usleep(20000);
    tern_suspend_cancel(suspend);
    return NULL;
}

static int suspend(const struct tern_vm *vm, const char *path, bool give_up)
{
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct tern_options options;
    struct tern_suspend *session;
    struct tern_error error = {0};
    pthread_t thread;
    int r;

    tern_options_init(&options);
    options.bandwidth_bps = give_up ? 100000000 : 0;
    if (tern_suspend_create(vm, path, &options, &session, &error))
        return 1;
    if (give_up)
        pthread_create(&thread, NULL, cancel, session);
    r = tern_suspend_run(session, &result, &error);
    if (give_up)
        pthread_join(thread, NULL);
    tern_suspend_destroy(session);
    fprintf(stderr, "suspend: %d %s\n", r, error.message);
    return give_up ? !r : r;
}

static int resume(const struct tern_vm *vm, const char *path)
{
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct tern_options options;
    struct tern_resume *session;
    struct tern_error error = {0};
    int r;

    tern_options_init(&options);
    if (tern_resume_create(vm, path, &options, &session, &error))
        return 1;
    r = tern_resume_run(session, &result, &error);
    tern_resume_destroy(session);
    fprintf(stderr, "resume: %d %s, %s\n", r, error.message, result.device);
    for (int i = 0; i < READERS && !r; i++)
        pthread_join(readers[i], NULL);
    return r;
}

int main(void)
{
    struct tern_region region = {.length_bytes = BYTES, .page_bytes = TERN_PAGE_BYTES, .name = "ram"};
    struct tern_vm vm = {.struct_bytes = sizeof(vm), .opaque = &region, .kind = "race 1", .regions = &region};
    char folder[] = "/var/tmp/tern-race.XXXXXX", path[64];
    int r;

    vm.n_regions = 1;
    vm.pause = nothing;
    vm.resume = nothing;
    vm.save_state = save;
    vm.load_state = load;
    region.base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region.base == MAP_FAILED || tern_tracker_uffd_create(&region, 1, false, &vm.tracker, NULL) || !mkdtemp(folder))
        return 77;
    snprintf(path, sizeof(path), "%s/image", folder);
    for (uint64_t page = 0; page < BYTES / TERN_PAGE_BYTES; page++)
        memcpy((uint8_t *)region.base + page * TERN_PAGE_BYTES, &(uint64_t){word_of(page)}, sizeof(uint64_t));
    r = suspend(&vm, path, true) || suspend(&vm, path, false);
    tern_tracker_destroy(&vm.tracker);
    munmap(region.base, BYTES);
    region.base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    vm.resume = start_readers;
    r = r || resume(&vm, path) || atomic_load(&wrong);
    unlink(path);
    rmdir(folder);
    return r;
}
