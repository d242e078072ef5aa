/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "transport/error.h"
#include "transport/verbs/verbs.h"

int verbs_region_init(struct verbs_region *region, void *base, uint64_t length_bytes, uint64_t chunk_bytes,
                      struct tern_error *error)
{
    region->base = base;
    region->length_bytes = length_bytes;
    region->n_chunks = (length_bytes + chunk_bytes - 1) / chunk_bytes;
    region->mrs = calloc(region->n_chunks, sizeof(struct ibv_mr *));
    region->keys = calloc(region->n_chunks, sizeof(*region->keys));
    if (!region->mrs || !region->keys)
        return error_set(error, -ENOMEM, NULL, "out of memory for the chunks of a region");
    return 0;
}

void verbs_region_free(struct verbs_region *region)
{
    for (uint64_t i = 0; region->mrs && i < region->n_chunks; i++)
        if (region->mrs[i])
            ibv_dereg_mr(region->mrs[i]);
    free(region->mrs);
    free(region->keys);
    *region = (struct verbs_region){0};
}

static const char *size_text(uint64_t bytes, char text[24])
{
    if (bytes >= 1 << 20)
        snprintf(text, 24, "%llu MiB", (unsigned long long)(bytes + (1 << 19)) >> 20);
    else
        snprintf(text, 24, "%llu KiB", (unsigned long long)(bytes + 1023) >> 10);
    return text;
}

/* Bytes of this process that RDMA has pinned: the kernel counts them against RLIMIT_MEMLOCK. */
static uint64_t pinned_bytes(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    unsigned long long kib = 0;
    char line[128];

    while (f && fgets(line, sizeof(line), f) && sscanf(line, "VmPin: %llu", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return kib << 10;
}

/* May this process lock more than its limit (CAP_IPC_LOCK, seen from the first user namespace)? It is tried on memory
 * that nobody touches. */
static bool above_the_limit(uint64_t limit_bytes)
{
    size_t length = limit_bytes + 2 * 4096;
    void *p = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bool may;

    if (p == MAP_FAILED)
        return false;
    may = !mlock2(p, length, MLOCK_ONFAULT);
    munmap(p, length);
    return may;
}

static int cannot_register(uint64_t bytes, int code, struct tern_error *error)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    char chunk[24], most[24], used[48] = "", size[24];
    uint64_t pinned = pinned_bytes();

    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (pinned)
        snprintf(used, sizeof(used), ", of which %s are in use", size_text(pinned, size));
    if ((code == ENOMEM || code == EAGAIN || code == EPERM) && limit.rlim_cur != RLIM_INFINITY &&
        pinned + bytes > limit.rlim_cur && !above_the_limit(limit.rlim_cur))
        return error_set(error, -code, "run 'ulimit -l unlimited' or set LimitMEMLOCK=infinity",
                         "cannot register %s: RLIMIT_MEMLOCK is %s%s", size_text(bytes, chunk),
                         size_text(limit.rlim_cur, most), used);
    return error_set(error, -code, code == ENOMEM ? "free memory, or raise the limit of the cgroup" : NULL,
                     "cannot register %s: %s", size_text(bytes, chunk), strerror(code));
}

int verbs_region_register(struct verbs_region *region, struct ibv_pd *pd, uint64_t chunk, uint64_t chunk_bytes,
                          int access, struct tern_error *error)
{
    uint64_t at = chunk * chunk_bytes, bytes = region->length_bytes - at;
    struct ibv_mr *mr;

    if (bytes > chunk_bytes)
        bytes = chunk_bytes;
    mr = ibv_reg_mr(pd, region->base + at, bytes, access);
    if (!mr)
        return cannot_register(bytes, errno, error);
    region->mrs[chunk] = mr;
    return 0;
}
