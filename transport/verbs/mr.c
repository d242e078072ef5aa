/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/error.h"
#include "transport/verbs/verbs.h"

int verbs_region_init(struct verbs_region *region, void *base, uint64_t length_bytes, uint64_t chunk_bytes,
                      struct tern_error *error)
{
    region->base = base;
    region->length_bytes = length_bytes;
    region->n_chunks = (length_bytes + chunk_bytes - 1) / chunk_bytes;
    region->mrs = calloc(region->n_chunks * LINK_RAILS_MAX, sizeof(struct ibv_mr *));
    region->keys = calloc(region->n_chunks, sizeof(*region->keys));
    region->through_ring = calloc(region->n_chunks, sizeof(*region->through_ring));
    if (!region->mrs || !region->keys || !region->through_ring)
        return error_set(error, -ENOMEM, NULL, "out of memory for the chunks of a region");
    return 0;
}

void verbs_region_free(struct verbs_region *region)
{
    for (uint64_t i = 0; region->mrs && i < region->n_chunks * LINK_RAILS_MAX; i++)
        if (region->mrs[i])
            ibv_dereg_mr(region->mrs[i]);
    free(region->mrs);
    free(region->keys);
    free(region->through_ring);
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

int verbs_cannot_register(uint64_t bytes, int code, struct tern_error *error)
{
    uint64_t limit = verbs_memlock_bytes(), pinned = pinned_bytes();
    char chunk[24], most[24], used[48] = "", size[24];

    if (pinned)
        snprintf(used, sizeof(used), ", of which %s are in use", size_text(pinned, size));
    if ((code == ENOMEM || code == EAGAIN || code == EPERM) && limit != UINT64_MAX && pinned + bytes > limit)
        return error_set(error, -code, "run 'ulimit -l unlimited' or set LimitMEMLOCK=infinity",
                         "cannot register %s: RLIMIT_MEMLOCK is %s%s", size_text(bytes, chunk), size_text(limit, most),
                         used);
    return error_set(error, -code,
                     code == ENOMEM   ? "free memory, or raise the limit of the cgroup"
                     : code == EFAULT ? "is the file system of the guest's memory full? (df)"
                                      : NULL,
                     "cannot register %s: %s", size_text(bytes, chunk), strerror(code));
}

/* A limit of this process or of its cgroup, or a right that it lacks: not a mistake. */
static bool is_forbidden(int code)
{
    return code == ENOMEM || code == EAGAIN || code == EPERM;
}

struct ibv_mr **verbs_mr(const struct verbs_region *region, uint64_t chunk, uint32_t rail)
{
    return &region->mrs[chunk * LINK_RAILS_MAX + rail];
}

/* On every rail, or on none. returns 0 or an errno */
static int register_on_rails(struct verbs_region *region, struct ibv_pd *const pds[LINK_RAILS_MAX], uint64_t chunk,
                             uint8_t *base, uint64_t bytes, int access)
{
    int code = 0;

    for (uint32_t rail = 0; rail < LINK_RAILS_MAX && !code; rail++)
        if (pds[rail] && !(*verbs_mr(region, chunk, rail) = ibv_reg_mr(pds[rail], base, bytes, access)))
            code = errno ? errno : EIO;
    for (uint32_t rail = 0; rail < LINK_RAILS_MAX && code; rail++)
        if (*verbs_mr(region, chunk, rail)) {
            ibv_dereg_mr(*verbs_mr(region, chunk, rail));
            *verbs_mr(region, chunk, rail) = NULL;
        }
    return code;
}

int verbs_region_register(struct verbs_region *region, struct ibv_pd *const pds[LINK_RAILS_MAX], uint64_t chunk,
                          uint64_t chunk_bytes, int access, enum link_register how, bool has_ring,
                          struct tern_error *error)
{
    uint64_t at = chunk * chunk_bytes, bytes = region->length_bytes - at;
    int code;

    if (bytes > chunk_bytes)
        bytes = chunk_bytes;
    if (how == LINK_REGISTER_RING) {
        error_set(error, 0, NULL, "asked for");
        region->through_ring[chunk] = true;
        return 1;
    }
    code = register_on_rails(region, pds, chunk, region->base + at, bytes,
                             access | (how == LINK_REGISTER_ODP ? IBV_ACCESS_ON_DEMAND : 0));
    if (!code)
        return 0;
    verbs_cannot_register(bytes, code, error);
    region->through_ring[chunk] = how == LINK_REGISTER_AUTO && has_ring && is_forbidden(code);
    return region->through_ring[chunk] ? 1 : -code;
}
