/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/registration.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migrate/tern.h"
#include "transport/clock.h"
#include "transport/error.h"

#define THREADS_MAX          64u
#define MAP_HUGE_LOG2(bytes) (__builtin_ctzll(bytes) << 26)

int registration_open(const char *name, struct registration_device *out, struct tern_error *error)
{
    struct registration_device device = {0};
    int n = 0;
    struct ibv_device **list = ibv_get_device_list(&n);

    for (int i = 0; i < n && !device.context; i++)
        if (!name || !strcmp(name, ibv_get_device_name(list[i]))) {
            snprintf(device.name, sizeof(device.name), "%s", ibv_get_device_name(list[i]));
            device.context = ibv_open_device(list[i]);
        }
    if (list)
        ibv_free_device_list(list);
    if (!device.context)
        return error_set(error, -ENODEV,
                         "'ibv_devices' lists them; a soft one: rdma link add rxe0 type rxe netdev IFACE",
                         name ? "no RDMA device %.60s" : "no RDMA device", name);
    device.pd = ibv_alloc_pd(device.context);
    if (!device.pd) {
        registration_close(&device);
        return error_set(error, -ENOMEM, NULL, "no protection domain: %s", strerror(errno));
    }
    *out = device;
    return 0;
}

void registration_close(struct registration_device *device)
{
    if (device->pd)
        ibv_dealloc_pd(device->pd);
    if (device->context)
        ibv_close_device(device->context);
}

/* ---- one pass over all chunks, by all threads ---- */

struct pass {
    const struct registration_device *device;
    const struct registration_case *what;
    uint8_t *memory;
    uint64_t n_chunks;
    struct ibv_mr **mrs;
    bool deregister;
    _Atomic uint64_t next;
    _Atomic int failed; /* an errno */
};

static int do_chunk(struct pass *pass, uint64_t chunk)
{
    uint64_t at = chunk * pass->what->chunk_bytes, left = pass->what->memory_bytes - at;
    uint64_t bytes = left < pass->what->chunk_bytes ? left : pass->what->chunk_bytes;

    if (pass->deregister)
        return pass->mrs[chunk] ? ibv_dereg_mr(pass->mrs[chunk]) : 0;
    pass->mrs[chunk] =
        ibv_reg_mr(pass->device->pd, pass->memory + at, bytes, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    return pass->mrs[chunk] ? 0 : errno;
}

static void *pass_main(void *argument)
{
    struct pass *pass = argument;
    uint64_t chunk;
    int r;

    while ((chunk = atomic_fetch_add(&pass->next, 1)) < pass->n_chunks) {
        r = do_chunk(pass, chunk);
        if (r)
            atomic_store(&pass->failed, r);
        if (r && !pass->deregister)
            break;
    }
    return NULL;
}

static int run_pass(struct pass *pass, bool deregister, uint64_t *ns_out, struct tern_error *error)
{
    pthread_t threads[THREADS_MAX];
    uint64_t begin_ns = clock_now_ns();
    uint32_t started = 0;

    pass->deregister = deregister;
    atomic_store(&pass->next, 0);
    atomic_store(&pass->failed, 0);
    for (; started + 1 < pass->what->n_threads; started++) /* this one is a thread too */
        if (pthread_create(&threads[started], NULL, pass_main, pass))
            break;
    pass_main(pass);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    *ns_out = clock_now_ns() - begin_ns;
    if (started + 1 < pass->what->n_threads)
        return error_set(error, -EAGAIN, NULL, "cannot start %u threads", pass->what->n_threads);
    if (pass->failed)
        return error_set(error, -pass->failed, "run 'ulimit -l unlimited', or take a smaller --memory",
                         "cannot %sregister a chunk of %llu bytes: %s", deregister ? "de" : "",
                         (unsigned long long)pass->what->chunk_bytes, strerror(pass->failed));
    return 0;
}

static int map_memory(const struct registration_case *what, uint8_t **out, struct tern_error *error)
{
    int huge = what->page_bytes > TERN_PAGE_BYTES ? MAP_HUGETLB | MAP_HUGE_LOG2(what->page_bytes) : 0;
    void *memory = mmap(NULL, what->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);

    if (memory == MAP_FAILED)
        return error_set(error, -ENOMEM, huge ? "/proc/sys/vm/nr_hugepages must hold --memory" : NULL,
                         "cannot map %llu bytes: %s", (unsigned long long)what->memory_bytes, strerror(errno));
    if (!huge)
        madvise(memory, what->memory_bytes, MADV_NOHUGEPAGE); /* 4K is what was asked for */
    if (what->populated)
        memset(memory, 1, what->memory_bytes);
    *out = memory;
    return 0;
}

int registration_measure(const struct registration_device *device, const struct registration_case *what,
                         struct registration_times *out, struct tern_error *error)
{
    struct pass pass = {
        .device = device, .what = what, .n_chunks = (what->memory_bytes + what->chunk_bytes - 1) / what->chunk_bytes};
    struct registration_times times = {0};
    struct tern_error second;
    int r = map_memory(what, &pass.memory, error);

    if (r)
        return r;
    pass.mrs = calloc(pass.n_chunks, sizeof(*pass.mrs));
    r = pass.mrs ? run_pass(&pass, false, &times.register_ns, error)
                 : error_set(error, -ENOMEM, NULL, "out of memory for the chunks");
    if (pass.mrs && run_pass(&pass, true, &times.deregister_ns, r ? &second : error) && !r)
        r = -EIO;
    free(pass.mrs);
    munmap(pass.memory, what->memory_bytes);
    if (!r)
        *out = times;
    return r;
}
