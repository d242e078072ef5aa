/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/image_load.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "transport/clock.h"
#include "transport/error.h"

#define REQUESTS (IMAGE_LOAD_SLOTS * IMAGE_EXTENTS_MAX)
#define SLICE_MS 100

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

struct load {
    const struct image *image;
    const struct image_load_ops *ops;
    void *opaque;
    struct io_uring ring;
    uint64_t next; /* group */
    uint32_t n_busy;
    int code;
    struct tern_error error;
    struct slot slots[IMAGE_LOAD_SLOTS];
    struct request requests[REQUESTS]; /* of slot s, extent e: s * IMAGE_EXTENTS_MAX + e */
};

static void fail(struct load *load, const struct slot *slot, int code)
{
    if (slot && load->ops->failed)
        load->ops->failed(load->opaque, slot->group, !load->code);
    if (!load->code)
        load->code = code;
}

static void finish_slot(struct load *load, struct slot *slot)
{
    uint64_t digests[DIGEST_GROUP_PAGES];
    int r = load->code;

    slot->busy = false;
    load->n_busy--;
    if (!r)
        r = image_check_group(load->image, slot->group, &slot->extents, slot->bytes, digests, &load->error);
    if (!r && load->ops->done)
        r = load->ops->done(load->opaque, slot->group, slot->bytes, digests, &load->error);
    if (r)
        fail(load, slot, r);
}

static void queue(struct load *load, uint32_t i)
{
    struct request *request = &load->requests[i];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&load->ring); /* the ring has as many as there are requests */

    io_uring_prep_read(sqe, load->image->bulk_fd, request->to, request->left_bytes, request->offset_bytes);
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
        load->code = image_cannot_read(load->image, result < 0 ? result : -EIO, &load->error);
    if (!--slot->n_pending)
        finish_slot(load, slot);
}

static bool is_wanted(const struct load *load, uint64_t group)
{
    return !image_group_is_zero(load->image, group) && (!load->ops->claim || load->ops->claim(load->opaque, group));
}

static int turn(struct load *load)
{
    return load->ops->turn ? load->ops->turn(load->opaque, &load->error) : 0;
}

/* The next group that is wanted, into this slot. false: there is none. */
static bool begin_slot(struct load *load, uint32_t index)
{
    struct slot *slot = &load->slots[index];
    struct image_group place;

    while (load->next < load->image->n_groups && !is_wanted(load, load->next))
        load->next++;
    if (load->next == load->image->n_groups)
        return false;
    place = image_group(load->image, load->next);
    *slot = (struct slot){.busy = true, .group = load->next++};
    slot->bytes = load->ops->place(load->opaque, slot->group, index);
    slot->extents = image_find_extents(load->image, &place);
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
    for (uint32_t i = 0; i < IMAGE_LOAD_SLOTS && !load->code; i++)
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

static void run(struct load *load)
{
    for (;;) {
        int r = turn(load);

        if (r)
            fail(load, NULL, r);
        fill_slots(load);
        if (!load->n_busy)
            return;
        io_uring_submit(&load->ring);
        reap(load);
    }
}

static void run_without_ring(struct load *load)
{
    uint64_t digests[DIGEST_GROUP_PAGES];

    for (uint64_t group = 0; group < load->image->n_groups && !load->code; group++) {
        struct slot slot = {.group = group};
        int r = turn(load);

        if (r) {
            fail(load, NULL, r);
            return;
        }
        if (!is_wanted(load, group))
            continue;
        slot.bytes = load->ops->place(load->opaque, group, 0);
        r = image_read_group(load->image, group, slot.bytes, digests, &load->error);
        if (!r && load->ops->done)
            r = load->ops->done(load->opaque, group, slot.bytes, digests, &load->error);
        if (r)
            fail(load, &slot, r);
    }
}

int image_load(const struct image *image, const struct image_load_ops *ops, void *opaque, int *no_ring_out,
               struct tern_error *error)
{
    struct load *load = calloc(1, sizeof(*load));
    int no_ring, r;

    if (!load)
        return error_set(error, -ENOMEM, NULL, "out of memory for reading the image");
    load->image = image;
    load->ops = ops;
    load->opaque = opaque;
    no_ring = -io_uring_queue_init(REQUESTS, &load->ring, 0);
    if (no_ring_out)
        *no_ring_out = no_ring;
    if (no_ring) {
        run_without_ring(load);
    } else {
        run(load);
        io_uring_queue_exit(&load->ring);
    }
    r = load->code;
    if (r && error)
        *error = load->error;
    free(load);
    return r;
}
