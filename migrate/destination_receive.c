/* SPDX-License-Identifier: BSD-2-Clause */
/* The rounds as the destination sees them: chunks asked for, pages listed, rounds ended; then the device state. */
#include <errno.h>
#include <string.h>

#include "migrate/destination.h"
#include "migrate/digest.h"
#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define FENCE_SLICE_MS 500
#define LOOK_MS        50 /* how soon a lane that comes back is answered */

static int on_want(struct tern_destination *destination, const struct control_frame *frame, struct tern_error *error)
{
    struct wire_chunk chunks[WIRE_KEYS_MAX];
    uint32_t n;

    if (!destination->registrar || wire_get_want(frame->payload, frame->length_bytes, chunks, WIRE_KEYS_MAX, &n))
        return destination_bad_message(frame->type, error);
    for (uint32_t i = 0; i < n; i++)
        if (registrar_want(destination->registrar, chunks[i].region, chunks[i].chunk) < 0)
            return error_set(error, -EPROTO, NULL, "the source asked for chunk %llu of region %u, which is not there",
                             (unsigned long long)chunks[i].chunk, chunks[i].region);
    return 0;
}

/* A page that became zero: clear it where a write may have landed before. Rounds keep the two apart. */
static int clear_run(struct tern_destination *destination, uint32_t region, struct wire_run run)
{
    uint64_t length;
    uint8_t *base = destination_memory(destination, region, &length);
    uint64_t n_pages = length / TERN_PAGE_BYTES;

    if (!base || run.first_page > n_pages || run.n_pages > n_pages - run.first_page)
        return -EPROTO;
    memset(base + run.first_page * TERN_PAGE_BYTES, 0, run.n_pages * TERN_PAGE_BYTES);
    return 0;
}

static int on_list(struct tern_destination *destination, const struct control_frame *frame, struct tern_error *error)
{
    struct wire_list list;
    int r = 0;

    if (wire_get_list(frame->payload, frame->length_bytes, &list) || list.region >= destination->vm->n_regions ||
        list.round != destination->round + 1 || destination->last)
        return destination_bad_message(frame->type, error);
    for (uint32_t i = 0; i < list.n_runs && !r; i++) {
        struct wire_run run = wire_list_run(&list, i);

        if (list.kind == WIRE_LIST_CLEAR)
            r = clear_run(destination, list.region, run);
        if (!r && destination->verifier)
            r = verifier_note(destination->verifier, list.region, run.first_page, run.n_pages);
    }
    return r ? error_set(error, -EPROTO, NULL, "the source listed pages beyond the end of region %u", list.region) : 0;
}

/* Bounded by the control channel: its loss aborts the link. */
static int await_fence(struct tern_destination *destination, uint32_t round, struct tern_error *error)
{
    struct destination_door *door = &destination->door;
    int r;

    do {
        r = door->provider->wait_fence(door->link, round, FENCE_SLICE_MS, error);
        if (r == -ETIMEDOUT && control_lost(door->control))
            r = error_set(error, -ECONNRESET, NULL, "the source is gone");
        if (r == -ETIMEDOUT && destination_check_cancelled(destination, error))
            r = -ECANCELED;
    } while (r == -ETIMEDOUT);
    return r;
}

static int on_round_end(struct tern_destination *destination, const struct control_frame *frame,
                        struct tern_error *error)
{
    struct tern_event event = {.kind = TERN_EVENT_ROUND};
    struct wire_round_ack ack = {0};
    struct wire_round_end end;
    int r;

    if (wire_get_round_end(frame->payload, frame->length_bytes, &end) || end.round != destination->round + 1 ||
        destination->last)
        return destination_bad_message(frame->type, error);
    r = await_fence(destination, end.round, error);
    if (r)
        return r;
    destination->round = ack.round = event.round = end.round;
    events_send(&destination->events, &event);
    if (destination->verifier) {
        if (end.round == 1)
            r = verifier_note_touched(destination->verifier, error);
        verifier_release(destination->verifier);
        if (!r && end.last)
            r = destination_compare(destination, &end, error);
        ack.backlog_pages = verifier_backlog(destination->verifier, &ack.digest_pages_ps);
    }
    if (r)
        return r;
    destination->last = end.last;
    return control_send(destination->door.control, WIRE_ROUND_ACK, destination->message,
                        wire_put_round_ack(destination->message, &ack), error);
}

static int on_prepare(struct tern_destination *destination, const struct control_frame *frame, struct tern_error *error)
{
    struct wire_prepare prepare;
    int r;

    if (wire_get_prepare(frame->payload, frame->length_bytes, &prepare) || prepare.round != destination->round + 1 ||
        !destination->last || prepare.state_bytes > destination->state_capacity_bytes)
        return destination_bad_message(frame->type, error);
    r = await_fence(destination, prepare.round, error);
    if (r)
        return r;
    if (digest_bytes(destination->state_buffer, prepare.state_bytes) != prepare.state_digest)
        return error_set(error, -EBADMSG, "check the network and the memory of both hosts",
                         "the device state arrived changed");
    destination->state_bytes = prepare.state_bytes;
    return VM_ASK(
        destination->vm->load_state(destination->vm->opaque, destination->state_buffer, prepare.state_bytes, error),
        "load_state", TERN_SIDE_DESTINATION, error);
}

/* The source sends nothing of that lane again before it has heard the answer. */
static int on_lane_down(struct tern_destination *destination, const struct control_frame *frame,
                        struct tern_error *error)
{
    struct destination_door *door = &destination->door;
    uint32_t lane;
    int r;

    if (!door->provider->destination_drop_lane || wire_get_lane(frame->payload, frame->length_bytes, &lane))
        return destination_bad_message(frame->type, error);
    r = door->provider->destination_drop_lane(door->link, lane, error);
    if (r)
        return r;
    destination->lanes_dropped |= 1ull << lane;
    events_warning(&destination->events, "lane %u is lost with its rail; the others go on", lane);
    return control_send(door->control, WIRE_LANE_GONE, destination->message, wire_put_lane(destination->message, lane),
                        error);
}

/* Between two rounds: the next one's fences are counted with this lane. */
static int on_lane_up(struct tern_destination *destination, const struct control_frame *frame, struct tern_error *error)
{
    struct destination_door *door = &destination->door;
    uint32_t lane;
    int r;

    if (!door->provider->destination_readmit_lane || wire_get_lane(frame->payload, frame->length_bytes, &lane) ||
        destination->last)
        return destination_bad_message(frame->type, error);
    r = door->provider->destination_readmit_lane(door->link, lane, error);
    if (r)
        return r;
    destination->lanes_dropped &= ~(1ull << lane);
    events_warning(&destination->events, "lane %u is back with its rail", lane);
    return 0;
}

/* returns 1 when the device state has been loaded */
static int handle(struct tern_destination *destination, const struct control_frame *frame, struct tern_error *error)
{
    int r;

    switch (frame->type) {
    case WIRE_WANT:
        return on_want(destination, frame, error);
    case WIRE_LANE_DOWN:
        return on_lane_down(destination, frame, error);
    case WIRE_LANE_UP:
        return on_lane_up(destination, frame, error);
    case WIRE_LIST:
        return on_list(destination, frame, error);
    case WIRE_ROUND_END:
        return on_round_end(destination, frame, error);
    case WIRE_PREPARE:
        r = on_prepare(destination, frame, error);
        return r ? r : 1;
    default:
        return destination_bad_message(frame->type, error);
    }
}

int destination_check_cancelled(struct tern_destination *destination, struct tern_error *error)
{
    return atomic_load(&destination->cancelled)
               ? error_set(error, -ECANCELED, NULL, "the migration was cancelled at the destination")
               : 0;
}

/* Whatever the source's code means there, here it means that it gave up. */
static int gave_up(const struct control_frame *frame, struct tern_error *error)
{
    struct wire_refuse refuse;

    if (wire_get_refuse(frame->payload, frame->length_bytes, &refuse))
        return destination_bad_message(frame->type, error);
    error_set(error, -ECANCELED, NULL, "the source gave up: %s", refuse.message);
    error_side(error, TERN_SIDE_SOURCE);
    return -ECANCELED;
}

int destination_next(struct tern_destination *destination, int timeout_ms, struct control_frame *out,
                     struct tern_error *error)
{
    int r;

    do {
        r = destination_check_cancelled(destination, error);
        if (!r)
            r = control_receive(destination->door.control, timeout_ms, out, error);
    } while (r == -EINTR);
    if (r == -ECANCELED || r == -ETIMEDOUT)
        return r;
    if (r) {
        error_prefix(error, "the source is gone");
        error_side(error, TERN_SIDE_SOURCE);
        return r;
    }
    if (out->type == WIRE_ABORT || out->type == WIRE_REFUSE) {
        r = gave_up(out, error);
        control_frame_free(out);
    }
    return r;
}

/* The next message; lanes that were dropped may connect again meanwhile. */
static int next(struct tern_destination *destination, struct control_frame *out, struct tern_error *error)
{
    const struct destination_door *door = &destination->door;
    int r;

    do {
        bool look = destination->lanes_dropped && !destination->last && door->provider->destination_look;

        if (look)
            door->provider->destination_look(door->link);
        r = destination_next(destination, look ? LOOK_MS : -1, out, error);
    } while (r == -ETIMEDOUT);
    return r;
}

int destination_receive(struct tern_destination *destination, struct tern_error *error)
{
    int r = 0;

    events_phase(&destination->events, TERN_PHASE_PRE_COPY);
    while (!r) {
        struct control_frame frame;

        r = next(destination, &frame, error);
        if (r)
            return r;
        r = handle(destination, &frame, error);
        control_frame_free(&frame);
    }
    return r == 1 ? 0 : r;
}
