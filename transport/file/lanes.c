/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/file/file.h"

#include <errno.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"

#define DEPTH    32u /* writes under way a lane */
#define SLICE_MS 100

struct slot {
    const uint8_t *from;
    uint64_t offset_bytes, left_bytes;
};

struct file_lane {
    struct io_uring ring;
    int no_ring; /* errno; 0: there is one */
    struct slot slots[DEPTH];
    uint32_t free[DEPTH], n_free;
    int code; /* of the first write that failed */
    struct tern_error error;
};

struct link_source {
    int fd;
    const char *name;
    const struct file_region *regions;
    uint32_t n_regions, n_lanes;
    _Atomic bool aborted;
    struct file_lane *lanes;
};

static int aborted(struct link_source *link, struct tern_error *error)
{
    return atomic_load(&link->aborted) ? error_set(error, -ECANCELED, NULL, "the writing was given up") : 0;
}

static int note_failure(struct link_source *link, struct file_lane *lane, int code)
{
    if (!lane->code)
        lane->code =
            error_set(&lane->error, code,
                      code == -ENOSPC || code == -EDQUOT ? "free space there, or name a file on another disk" : NULL,
                      "cannot write %s: %s", link->name, strerror(-code));
    return lane->code;
}

static int failed(const struct file_lane *lane, struct tern_error *error)
{
    if (lane->code && error)
        *error = lane->error;
    return lane->code;
}

/* ---- without a ring ---- */

static int write_now(struct link_source *link, struct file_lane *lane, struct slot slot)
{
    while (slot.left_bytes) {
        ssize_t n = pwrite(link->fd, slot.from, slot.left_bytes, (off_t)slot.offset_bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return note_failure(link, lane, n < 0 ? -errno : -EIO);
        slot.from += n;
        slot.offset_bytes += (uint64_t)n;
        slot.left_bytes -= (uint64_t)n;
    }
    return 0;
}

/* ---- with one ---- */

static void queue(struct link_source *link, struct file_lane *lane, uint32_t i)
{
    struct slot *slot = &lane->slots[i];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&lane->ring); /* the ring has as many as there are slots */

    io_uring_prep_write(sqe, link->fd, slot->from, (unsigned)slot->left_bytes, slot->offset_bytes);
    io_uring_sqe_set_data64(sqe, i);
}

static int submit(struct link_source *link, struct file_lane *lane)
{
    int r;

    do {
        r = io_uring_submit(&lane->ring);
    } while (r == -EINTR);
    return r < 0 && r != -EAGAIN && r != -EBUSY ? note_failure(link, lane, r) : 0;
}

/* A write may end short: the rest is queued again. */
static void complete(struct link_source *link, struct file_lane *lane, const struct io_uring_cqe *cqe)
{
    uint32_t i = (uint32_t)io_uring_cqe_get_data64(cqe);
    struct slot *slot = &lane->slots[i];
    uint64_t written = cqe->res > 0 ? (uint64_t)cqe->res : 0;

    slot->from += written;
    slot->offset_bytes += written;
    slot->left_bytes -= written;
    if (cqe->res == -EINTR || cqe->res == -EAGAIN || (written && slot->left_bytes)) {
        queue(link, lane, i);
        return;
    }
    if (slot->left_bytes)
        note_failure(link, lane, cqe->res < 0 ? cqe->res : -EIO);
    lane->free[lane->n_free++] = i;
}

static int reap(struct link_source *link, struct file_lane *lane)
{
    struct io_uring_cqe *cqe;

    while (!io_uring_peek_cqe(&lane->ring, &cqe)) {
        struct io_uring_cqe seen = *cqe;

        io_uring_cqe_seen(&lane->ring, cqe);
        complete(link, lane, &seen);
    }
    return io_uring_sq_ready(&lane->ring) ? submit(link, lane) : 0;
}

/* ---- the table ---- */

static int file_post(struct link_source *link, uint32_t index, const struct link_run *runs, size_t n_runs,
                     struct tern_error *error)
{
    struct file_lane *lane = &link->lanes[index];
    size_t taken = 0;
    int r = aborted(link, error);

    if (r)
        return r;
    if (!lane->no_ring)
        reap(link, lane);
    while (taken < n_runs && lane->n_free && !lane->code) {
        const struct link_run *run = &runs[taken++];
        const struct file_region *region = &link->regions[run->region];
        uint32_t i = lane->free[lane->n_free - 1];

        if (run->region >= link->n_regions || run->offset_bytes > region->length_bytes ||
            run->length_bytes > region->length_bytes - run->offset_bytes || run->length_bytes > INT32_MAX)
            return error_set(error, -EINVAL, NULL, "a run lies outside of its region");
        lane->slots[i] = (struct slot){(const uint8_t *)region->base + run->offset_bytes,
                                       region->offset_bytes + run->offset_bytes, run->length_bytes};
        if (lane->no_ring) {
            write_now(link, lane, lane->slots[i]);
            continue;
        }
        lane->n_free--;
        queue(link, lane, i);
    }
    if (!lane->no_ring)
        submit(link, lane);
    r = failed(lane, error);
    return r ? r : (int)taken;
}

/* Draining is all the order that a file needs. */
static int file_fence(struct link_source *link, uint32_t index, uint32_t round, struct tern_error *error)
{
    (void)index;
    (void)round;
    return aborted(link, error);
}

static int file_wait(struct link_source *link, uint32_t index, enum link_wait what, int timeout_ms,
                     struct tern_error *error)
{
    struct file_lane *lane = &link->lanes[index];
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;

    for (;;) {
        struct __kernel_timespec limit = {.tv_nsec = SLICE_MS * (long long)NS_PER_MS};
        struct io_uring_cqe *cqe;
        int r = aborted(link, error);

        if (!r && !lane->no_ring)
            reap(link, lane);
        if (!r)
            r = failed(lane, error);
        if (r)
            return r;
        if (what == LINK_WAIT_ROOM ? lane->n_free > 0 : lane->n_free == DEPTH)
            return 0;
        if (!clock_left_ms(deadline_ns))
            return -ETIMEDOUT;
        io_uring_wait_cqe_timeout(&lane->ring, &cqe, &limit);
    }
}

static void file_abort(struct link_source *link)
{
    atomic_store(&link->aborted, true);
}

/* Writes under way read memory that its owner may unmap next: they are waited for. Those that the kernel has not taken
 * go with the ring. */
static void close_lane(struct file_lane *lane)
{
    if (lane->no_ring)
        return;
    while (lane->n_free + io_uring_sq_ready(&lane->ring) < DEPTH) {
        struct io_uring_cqe *cqe;
        int r = io_uring_wait_cqe(&lane->ring, &cqe);

        if (r && r != -EINTR)
            break;
        if (r)
            continue;
        io_uring_cqe_seen(&lane->ring, cqe);
        lane->n_free++;
    }
    io_uring_queue_exit(&lane->ring);
}

static void file_close(struct link_source *link)
{
    if (!link)
        return;
    for (uint32_t i = 0; i < link->n_lanes; i++)
        close_lane(&link->lanes[i]);
    free(link->lanes);
    free(link);
}

static const char *file_device(struct link_source *link)
{
    return link->lanes[0].no_ring ? "pwrite" : "io_uring";
}

int file_link_open(int fd, const char *name, const struct file_region *regions, uint32_t n_regions, uint32_t n_lanes,
                   struct link_source **out, struct tern_error *error)
{
    struct link_source *link = calloc(1, sizeof(*link));

    if (link)
        link->lanes = calloc(n_lanes, sizeof(*link->lanes));
    if (!link || !link->lanes) {
        free(link);
        return error_set(error, -ENOMEM, NULL, "out of memory for writing %s", name);
    }
    link->fd = fd;
    link->name = name;
    link->regions = regions;
    link->n_regions = n_regions;
    link->n_lanes = n_lanes;
    for (uint32_t i = 0; i < n_lanes; i++) {
        struct file_lane *lane = &link->lanes[i];

        lane->no_ring = -io_uring_queue_init(DEPTH, &lane->ring, 0);
        for (; lane->n_free < DEPTH; lane->n_free++)
            lane->free[lane->n_free] = lane->n_free;
    }
    *out = link;
    return 0;
}

int file_link_without_ring(const struct link_source *link)
{
    int code = 0;

    for (uint32_t i = 0; i < link->n_lanes && !code; i++)
        code = link->lanes[i].no_ring;
    return code;
}

const struct link_provider link_file = {
    .name = "file",
    .run_cost_bytes = 16384, /* a request of its own beside a little more of the next one */
    .source_close = file_close,
    .post = file_post,
    .fence = file_fence,
    .wait = file_wait,
    .source_abort = file_abort,
    .source_device = file_device,
};
