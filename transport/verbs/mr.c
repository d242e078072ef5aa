/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int cannot_register(uint64_t bytes, int code, struct tern_error *error)
{
    unsigned long long mib = (bytes + (1 << 20) - 1) >> 20;
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    getrlimit(RLIMIT_MEMLOCK, &limit);
    if ((code == ENOMEM || code == EAGAIN || code == EPERM) && limit.rlim_cur != RLIM_INFINITY)
        return error_set(error, -code, "run 'ulimit -l unlimited' or set LimitMEMLOCK=infinity",
                         "cannot register %llu MiB: RLIMIT_MEMLOCK is %llu MiB", mib,
                         (unsigned long long)limit.rlim_cur >> 20);
    return error_set(error, -code, code == ENOMEM ? "free memory, or raise the limit of the cgroup" : NULL,
                     "cannot register %llu MiB: %s", mib, strerror(code));
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
