/* SPDX-License-Identifier: BSD-2-Clause */
/* What an RDMA device and this process's limits allow, and the sizes that follow. Those are pure. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "transport/error.h"
#include "transport/verbs/verbs.h"

/* ---- choices ---- */

bool verbs_has_odp(const struct ibv_device_attr_ex *attr, enum link_operation operation)
{
    uint32_t needed = operation == LINK_READ ? IBV_ODP_SUPPORT_READ : IBV_ODP_SUPPORT_WRITE;

    return (attr->odp_caps.general_caps & IBV_ODP_SUPPORT) && (attr->odp_caps.per_transport_caps.rc_odp_caps & needed);
}

struct link_limits verbs_limits_of(const struct ibv_device_attr *attr)
{
    struct link_limits limits = {.chunk_bytes_max = attr->max_mr_size};

    if (attr->max_mr > 0)
        limits.chunks_max = attr->max_mr > 1 ? (uint64_t)attr->max_mr / 2 : 1;
    return limits;
}

uint32_t verbs_depth_for(const struct ibv_device_attr *attr, uint32_t wanted)
{
    uint32_t depth = wanted ? wanted : VERBS_DEPTH_DEFAULT;
    int most = attr->max_cqe - (int)VERBS_SLOTS_MAX - 1; /* the queue takes what gives credits back, too */

    if (attr->max_qp_wr > 0 && attr->max_qp_wr < most)
        most = attr->max_qp_wr;
    if (most > 0 && depth > (uint32_t)most)
        depth = (uint32_t)most;
    return depth < 4 ? 4 : depth; /* a quarter of it is signalled */
}

uint32_t verbs_ring_bytes_for(uint64_t memlock_bytes, uint32_t n_lanes)
{
    uint32_t bytes = VERBS_RING_BYTES_MAX;

    while (bytes > memlock_bytes / 4 / n_lanes)
        bytes /= 2;
    return bytes < VERBS_RING_BYTES_MIN ? 0 : bytes;
}

/* ---- what there is ---- */

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

uint64_t verbs_memlock_bytes(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    getrlimit(RLIMIT_MEMLOCK, &limit);
    return limit.rlim_cur == RLIM_INFINITY || above_the_limit(limit.rlim_cur) ? UINT64_MAX : limit.rlim_cur;
}

int verbs_limits(const char *device, struct link_limits *out, struct tern_error *error)
{
    struct ibv_device **devices = ibv_get_device_list(NULL);
    struct ibv_context *context = NULL;
    struct ibv_device_attr attr;
    int r = 0;

    for (int i = 0; devices && devices[i] && !context; i++)
        if (!strcmp(ibv_get_device_name(devices[i]), device))
            context = ibv_open_device(devices[i]);
    if (!context || ibv_query_device(context, &attr))
        r = error_set(error, -ENODEV, NULL, "cannot ask RDMA device %s for its limits", device);
    else
        *out = verbs_limits_of(&attr);
    if (context)
        ibv_close_device(context);
    if (devices)
        ibv_free_device_list(devices);
    return r;
}
