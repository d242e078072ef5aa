/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/image_load.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "transport/clock.h"
#include "transport/error.h"

#define THREADS  4u
#define SLOTS    (IMAGE_LOAD_SLOTS / THREADS) /* of each */
#define REQUESTS (SLOTS * IMAGE_EXTENTS_MAX)
#define SLICE_MS 100

/* What the threads have in common. */
struct shared {
    const struct image *image;
    const struct image_load_ops *ops;
    void *opaque;
    _Atomic uint64_t next; /* group */
    _Atomic bool stop;     /* one has failed */
};

/* A read under way: of one extent. */
struct request {
    uint32_t slot;
    uint8_t *to;
    uint64_t offset_bytes;
    uint32_t left_bytes;
};

struct slot {
    bool busy;
    uint64_t group;
    uint8_t *bytes;
    struct image_extents extents;
    uint32_t n_pending;
};

/* A thread's part. */
struct load {
    struct shared *shared;
    uint32_t index; /* 0: the caller's thread */
    pthread_t thread;
    struct io_uring ring;
    int no_ring; /* errno; 0: there is one */
    uint32_t n_busy;
    int code;
    struct tern_error error;
    struct slot slots[SLOTS];
    struct request requests[REQUESTS]; /* of slot s, extent e: s * IMAGE_EXTENTS_MAX + e */
};

static void fail(struct load *load, const struct slot *slot, int code)
{
    const struct shared *shared = load->shared;

    if (slot && shared->ops->failed)
        shared->ops->failed(shared->opaque, slot->group, !load->code && code != -ENOMEM);
    if (!load->code)
        load->code = code;
    atomic_store(&load->shared->stop, true);
}

static void finish_slot(struct load *load, struct slot *slot)
{
    uint64_t digests[DIGEST_GROUP_PAGES];
    int r = load->code;

    slot->busy = false;
    load->n_busy--;
    if (!r)
        r = image_check_group(load->shared->image, slot->group, &slot->extents, slot->bytes, digests, &load->error);
    if (!r && load->shared->ops->done)
        r = load->shared->ops->done(load->shared->opaque, slot->group, slot->bytes, digests, &load->error);
    if (r)
        fail(load, slot, r);
}

static void queue(struct load *load, uint32_t i)
{
    struct request *request = &load->requests[i];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&load->ring); /* the ring has as many as there are requests */

    io_uring_prep_read(sqe, load->shared->image->bulk_fd, request->to, request->left_bytes, request->offset_bytes);
    io_uring_sqe_set_data64(sqe, i);
}

static void complete(struct load *load, uint32_t i, int result)
{
    struct request *request = &load->requests[i];
    struct slot *slot = &load->slots[request->slot];
    uint32_t n = result > 0 ? (uint32_t)result : 0;

    request->to += n;
    request->offset_bytes += n;
    request->left_bytes -= n;
    if (!load->code && (result == -EINTR || result == -EAGAIN || (n && request->left_bytes))) {
        queue(load, i);
        return;
    }
    if (request->left_bytes && !load->code)
        load->code = image_cannot_read(load->shared->image, result < 0 ? result : -EIO, &load->error);
    if (!--slot->n_pending)
        finish_slot(load, slot);
}

static bool is_wanted(const struct load *load, uint64_t group)
{
    return !image_group_is_zero(load->shared->image, group) &&
           (!load->shared->ops->claim || load->shared->ops->claim(load->shared->opaque, group));
}

/* Only the caller's thread looks up; the others hear of it by the stop. */
static int turn(struct load *load)
{
    const struct shared *shared = load->shared;

    return load->index || !shared->ops->turn ? 0 : shared->ops->turn(shared->opaque, &load->error);
}

/* The next group that is wanted: whoever has claimed one reads it, though another thread fail. false: there is none. */
static bool take_group(struct load *load, uint64_t *group)
{
    struct shared *shared = load->shared;

    while (!atomic_load(&shared->stop)) {
        *group = atomic_fetch_add(&shared->next, 1);
        if (*group >= shared->image->n_groups)
            return false;
        if (is_wanted(load, *group))
            return true;
    }
    return false;
}

static bool begin_slot(struct load *load, uint32_t index)
{
    struct slot *slot = &load->slots[index];
    const struct image *image = load->shared->image;
    struct image_group place;
    uint64_t group;

    if (!take_group(load, &group))
        return false;
    place = image_group(image, group);
    *slot = (struct slot){.busy = true, .group = group};
    slot->bytes = load->shared->ops->place(load->shared->opaque, group, load->index * SLOTS + index);
    slot->extents = image_find_extents(image, &place);
    slot->n_pending = slot->extents.n;
    load->n_busy++;
    for (uint32_t e = 0; e < slot->extents.n; e++) {
        uint32_t i = index * IMAGE_EXTENTS_MAX + e;

        load->requests[i] =
            (struct request){index, slot->bytes + slot->extents.at[e].offset_bytes,
                             place.file_offset + slot->extents.at[e].offset_bytes, slot->extents.at[e].length_bytes};
        queue(load, i);
    }
    if (!slot->extents.n) /* data lost to a hole: the check says so */
        finish_slot(load, slot);
    return true;
}

static void fill_slots(struct load *load)
{
    for (uint32_t i = 0; i < SLOTS && !load->code; i++)
        if (!load->slots[i].busy && !begin_slot(load, i))
            break;
}

static void reap(struct load *load)
{
    struct __kernel_timespec limit = {.tv_nsec = SLICE_MS * (long long)NS_PER_MS};
    struct io_uring_cqe *cqe;

    if (io_uring_wait_cqe_timeout(&load->ring, &cqe, &limit))
        return;
    while (!io_uring_peek_cqe(&load->ring, &cqe)) {
        uint32_t i = (uint32_t)io_uring_cqe_get_data64(cqe);
        int result = cqe->res;

        io_uring_cqe_seen(&load->ring, cqe);
        complete(load, i, result);
    }
}

static uint32_t pending(const struct load *load)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < SLOTS; i++)
        n += load->slots[i].busy ? load->slots[i].n_pending : 0;
    return n;
}

/* The kernel takes no more: what it has is waited for; what was queued only goes with the ring. */
static void give_up_ring(struct load *load, int code)
{
    load->code = load->code ? load->code : image_cannot_read(load->shared->image, code, &load->error);
    while (pending(load) > io_uring_sq_ready(&load->ring))
        reap(load);
    for (uint32_t i = 0; i < SLOTS; i++)
        if (load->slots[i].busy)
            finish_slot(load, &load->slots[i]);
}

static void run(struct load *load)
{
    for (;;) {
        int r = turn(load);

        if (r)
            fail(load, NULL, r);
        fill_slots(load);
        if (!load->n_busy)
            return;
        r = io_uring_submit(&load->ring);
        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY) {
            give_up_ring(load, r);
            return;
        }
        reap(load);
    }
}

static void run_without_ring(struct load *load)
{
    uint64_t digests[DIGEST_GROUP_PAGES];
    struct slot slot = {0};

    while (!load->code && take_group(load, &slot.group)) {
        const struct shared *shared = load->shared;
        int r;

        slot.bytes = shared->ops->place(shared->opaque, slot.group, load->index * SLOTS);
        r = image_read_group(shared->image, slot.group, slot.bytes, digests, &load->error);
        if (!r && shared->ops->done)
            r = shared->ops->done(shared->opaque, slot.group, slot.bytes, digests, &load->error);
        if (r)
            fail(load, &slot, r);
        r = turn(load);
        if (r)
            fail(load, NULL, r);
    }
}

static void *run_part(void *argument)
{
    struct load *load = argument;

    load->no_ring = -io_uring_queue_init(REQUESTS, &load->ring, 0);
    if (load->no_ring) {
        run_without_ring(load);
    } else {
        run(load);
        io_uring_queue_exit(&load->ring);
    }
    return NULL;
}

int image_load(const struct image *image, const struct image_load_ops *ops, void *opaque, int *no_ring_out,
               struct tern_error *error)
{
    struct load *loads = calloc(THREADS, sizeof(*loads));
    struct shared shared = {.image = image, .ops = ops, .opaque = opaque};
    uint32_t n = 1; /* as many as could be started */
    int r = 0;

    if (!loads)
        return error_set(error, -ENOMEM, NULL, "out of memory for reading the image");
    loads[0].shared = &shared;
    for (; n < THREADS; n++) {
        loads[n].shared = &shared;
        loads[n].index = n;
        if (pthread_create(&loads[n].thread, NULL, run_part, &loads[n]))
            break;
    }
    run_part(&loads[0]);
    for (uint32_t i = 1; i < n; i++)
        pthread_join(loads[i].thread, NULL);
    for (uint32_t i = 0; i < n && !r; i++) {
        r = loads[i].code;
        if (r && error)
            *error = loads[i].error;
    }
    if (no_ring_out)
        *no_ring_out = loads[0].no_ring;
    free(loads);
    return r;
}
