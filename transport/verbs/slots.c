/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's ring: slots of a small registered buffer that receive what has no key, and a thread that copies it
 * into guest memory. The thread runs from the first chunk on that goes this way; until then, and without a ring,
 * whoever waits for a fence looks at the completions itself. */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/destination.h"

#define STRIDE      (VERBS_SLOT_BYTES + 64u) /* the payload begins a cache line */
#define HEADER_AT   (64u - sizeof(struct verbs_header))
#define NAP_MS      500
#define CREDIT_SEND UINT64_MAX

uint8_t *verbs_slot_place(const struct verbs_region *regions, uint32_t n_regions, const struct verbs_header *header,
                          uint32_t received)
{
    uint32_t region = le32toh(header->region), length = le32toh(header->length_bytes);
    uint64_t offset = le64toh(header->offset_bytes);

    if (received < sizeof(*header) || length != received - sizeof(*header) || region >= n_regions ||
        offset > regions[region].length_bytes || length > regions[region].length_bytes - offset)
        return NULL;
    return regions[region].base + offset;
}

int verbs_slots_init(struct link_destination *destination, struct tern_error *error)
{
    struct verbs_slots *slots = &destination->slots;
    enum link_register how = destination->options.registration;
    uint32_t bytes = verbs_ring_bytes_for(verbs_memlock_bytes(), destination->n_lanes);
    void *memory;

    if (!verbs_wants_ring(destination->options.operation, how))
        return 0;
    slots->n = bytes / VERBS_SLOT_BYTES < VERBS_SLOTS_MAX ? bytes / VERBS_SLOT_BYTES : VERBS_SLOTS_MAX;
    if (slots->n < VERBS_SLOTS_MIN) {
        slots->n = 0;
        return how == LINK_REGISTER_AUTO
                   ? 0
                   : verbs_cannot_register(VERBS_SLOTS_MIN * STRIDE * destination->n_lanes, ENOMEM, error);
    }
    slots->bytes = (uint64_t)slots->n * STRIDE * destination->n_lanes;
    memory = mmap(NULL, slots->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(error, -ENOMEM, NULL, "out of memory for the ring");
    slots->memory = memory;
    return 0;
}

static uint8_t *slots_at(const struct link_destination *destination, uint32_t lane)
{
    return destination->slots.memory + (size_t)lane * destination->slots.n * STRIDE;
}

int verbs_slots_of_lane(struct link_destination *destination, uint32_t lane)
{
    struct target_lane *target = &destination->lanes[lane];

    if (!destination->slots.n)
        return 0;
    if (target->mr) /* of a try that was not accepted */
        ibv_dereg_mr(target->mr);
    target->mr = ibv_reg_mr(destination->pds[target->rail], slots_at(destination, lane),
                            (size_t)destination->slots.n * STRIDE, IBV_ACCESS_LOCAL_WRITE);
    return target->mr ? 0 : errno ? errno : EIO;
}

void verbs_slots_free(struct link_destination *destination)
{
    struct verbs_slots *slots = &destination->slots;

    for (uint32_t i = 0; destination->lanes && i < destination->n_lanes; i++)
        if (destination->lanes[i].mr)
            ibv_dereg_mr(destination->lanes[i].mr);
    if (slots->memory)
        munmap(slots->memory, slots->bytes);
}

uint32_t verbs_receives_of(const struct link_destination *destination)
{
    return destination->slots.n ? destination->slots.n : RECEIVES;
}

static uint8_t *slot_at(const struct link_destination *destination, uint32_t lane, uint64_t slot)
{
    return slots_at(destination, lane) + slot * STRIDE + HEADER_AT;
}

int verbs_post_receive(struct link_destination *destination, struct rdma_cm_id *id, uint32_t lane, uint64_t slot)
{
    struct ibv_sge sge = {.length = VERBS_SLOT_BYTES + sizeof(struct verbs_header)};
    struct ibv_recv_wr wr = {.wr_id = slot}, *bad;

    if (destination->slots.n) {
        sge.addr = (uintptr_t)slot_at(destination, lane, slot);
        sge.lkey = destination->lanes[lane].mr->lkey;
        wr.sg_list = &sge;
        wr.num_sge = 1;
    }
    return -ibv_post_recv(id->qp, &wr, &bad);
}

/* Not one by one: a quarter of them at a time. */
static int give_credits_back(struct link_destination *destination, struct target_lane *lane)
{
    struct ibv_send_wr wr = {.wr_id = CREDIT_SEND,
                             .opcode = IBV_WR_SEND_WITH_IMM,
                             .imm_data = htonl(lane->owed),
                             .send_flags = IBV_SEND_SIGNALED},
                       *bad;
    int r = 0;

    if (lane->owed >= (destination->slots.n - VERBS_SLOTS_FENCES) / 4) {
        lane->owed = 0;
        r = -ibv_post_send(lane->id->qp, &wr, &bad);
    }
    return r;
}

int verbs_take_slot(struct link_destination *destination, struct target_lane *lane, const struct ibv_wc *wc,
                    struct tern_error *error)
{
    uint32_t index = (uint32_t)(lane - destination->lanes);
    const struct verbs_header *header;
    uint8_t *place;
    int r;

    if (!destination->slots.n)
        return error_set(error, -EPROTO, NULL, "lane %u: data came for a ring that is not here", index);
    header = (const struct verbs_header *)(const void *)slot_at(destination, index, wc->wr_id);
    place = verbs_slot_place(destination->regions, destination->n_regions, header, wc->byte_len);
    if (!place)
        return error_set(error, -EPROTO, "both sides must run the same version of tern",
                         "lane %u: data came for no place in guest memory", index);
    memcpy(place, header + 1, wc->byte_len - sizeof(*header));
    r = verbs_post_receive(destination, lane->id, index, wc->wr_id);
    lane->owed++;
    if (!r)
        r = give_credits_back(destination, lane);
    return r ? error_set(error, r, NULL, "lane %u: cannot give a slot back: %s", index, strerror(-r)) : 0;
}

/* ---- the thread ---- */

static void *receiver_main(void *argument)
{
    struct link_destination *destination = argument;
    struct verbs_slots *slots = &destination->slots;
    struct tern_error error = {0};
    int r;

    do {
        r = verbs_await_completions(destination, slots->stop_fd, NAP_MS, &error);
        pthread_mutex_lock(&slots->lock);
        if (r && r != -ETIMEDOUT) {
            slots->result = r;
            slots->error = error;
        }
        pthread_cond_broadcast(&slots->changed);
        pthread_mutex_unlock(&slots->lock);
    } while (!r || r == -ETIMEDOUT);
    return NULL;
}

int verbs_slots_start(struct link_destination *destination, bool wanted, bool joined, struct tern_error *error)
{
    struct verbs_slots *slots = &destination->slots;
    int r = 0;

    pthread_mutex_lock(&slots->lock);
    slots->wanted |= wanted;
    slots->joined |= joined;
    if (slots->wanted && slots->joined && !slots->running) {
        r = pthread_create(&slots->thread, NULL, receiver_main, destination);
        slots->running = !r;
    }
    pthread_mutex_unlock(&slots->lock);
    return r ? error_set(error, -r, NULL, "cannot start the copying of the ring: %s", strerror(r)) : 0;
}

void verbs_slots_stop(struct link_destination *destination)
{
    struct verbs_slots *slots = &destination->slots;
    uint64_t one = 1;
    ssize_t n = write(slots->stop_fd, &one, sizeof(one));

    (void)n;
    if (slots->running)
        pthread_join(slots->thread, NULL);
    slots->running = false;
}

int verbs_slots_wait_fence(struct link_destination *destination, uint32_t round, uint64_t deadline_ns,
                           struct tern_error *error)
{
    struct verbs_slots *slots = &destination->slots;
    struct timespec until = clock_timespec(deadline_ns);
    int fenced, r = 0;

    pthread_mutex_lock(&slots->lock);
    while (!(fenced = verbs_all_fenced(destination, round, error)) && !slots->result && !r)
        r = pthread_cond_timedwait(&slots->changed, &slots->lock, &until);
    if (fenced)
        r = fenced > 0 ? 0 : fenced;
    else if (slots->result && error)
        *error = slots->error;
    if (!fenced)
        r = slots->result ? slots->result : -r;
    pthread_mutex_unlock(&slots->lock);
    return r;
}
