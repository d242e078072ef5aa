/* SPDX-License-Identifier: BSD-2-Clause */
/* Drives the handover's state machine at the destination: does the actions, feeds back what came of them, and turns
 * what the source says, the connection's end and time into events. Decides nothing. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "migrate/destination.h"
#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define QUERY_MS    3000
#define COMMIT_MS   60000 /* the source lives (the channel's pings say so) but sends no COMMIT */
#define FAREWELL_MS 5000

static void note_send(struct tern_destination *destination, enum wire_type type, size_t length)
{
    if (destination->door.control)
        (void)control_send(destination->door.control, (uint16_t)type, destination->message, length, NULL);
}

static void drop_connection(struct tern_destination *destination, bool in_order)
{
    struct control *control;

    pthread_mutex_lock(&destination->door.lock);
    control = destination->door.control;
    destination->door.control = NULL;
    pthread_mutex_unlock(&destination->door.lock);
    if (in_order)
        control_destroy(control);
    else
        control_cut(control);
}

static void teardown(struct tern_destination *destination)
{
    if (destination->door.link && !destination->torn)
        destination->door.provider->destination_teardown(destination->door.link);
    destination->torn = true;
}

static void send_standing(struct tern_destination *destination, enum wire_standing standing)
{
    note_send(destination, WIRE_STANDING, wire_put_standing(destination->message, standing));
}

static void send_actions(struct tern_destination *destination, uint32_t actions)
{
    bool queried = destination->queried;

    if (actions & HANDOVER_SEND_READY) {
        if (queried)
            send_standing(destination, WIRE_STANDING_READY);
        else
            note_send(destination, WIRE_READY, 0);
    }
    if (actions & HANDOVER_SEND_ACTIVE) {
        if (queried)
            send_standing(destination, WIRE_STANDING_ACTIVE);
        else
            note_send(destination, WIRE_ACTIVE, 0);
    }
    if (actions & HANDOVER_SEND_GONE)
        send_standing(destination, WIRE_STANDING_GONE);
    if (actions & HANDOVER_SEND_UNKNOWN)
        send_standing(destination, WIRE_STANDING_UNKNOWN);
    if ((actions & HANDOVER_SEND_ABORT) && destination->door.control)
        destination_refuse(destination, &destination->failure);
}

static void start_waiting(struct tern_destination *destination)
{
    /* Longer than the source seeks: it counts from a loss that it may have noticed later. */
    uint64_t ms = (uint64_t)destination->hello.reconnect_ms + 2ull * destination->options.peer_timeout_ms;

    if (!destination->await_deadline_ns)
        destination->await_deadline_ns = clock_now_ns() + ms * NS_PER_MS;
}

void destination_feed(struct tern_destination *destination, enum handover_event event)
{
    for (bool more = true; more;) {
        uint32_t actions = handover_step(&destination->handover, event);

        more = false;
        if (actions & (HANDOVER_DO_TEARDOWN | HANDOVER_DO_DISCARD))
            teardown(destination);
        if (actions & HANDOVER_DO_TEARDOWN) {
            event = HANDOVER_TORN;
            more = true;
        }
        if (actions & HANDOVER_DO_RESUME) {
            int r = VM_ASK(destination->vm->resume(destination->vm->opaque, &destination->failure), "resume",
                           TERN_SIDE_DESTINATION, &destination->failure);

            event = r ? HANDOVER_RESUME_FAILED : HANDOVER_RESUMED;
            more = true;
        }
        send_actions(destination, actions);
        if (actions & HANDOVER_DO_CLOSE)
            drop_connection(destination, true);
        if (actions & HANDOVER_DO_CUT)
            drop_connection(destination, false);
        if (actions & HANDOVER_DO_AWAIT)
            start_waiting(destination);
    }
}

enum handover_event destination_event_of(int code, const struct tern_error *error)
{
    if (error->side == TERN_SIDE_DESTINATION && code != -ECANCELED)
        return HANDOVER_FAILED; /* whatever the code of a callback means there */
    switch (code) {
    case -ECANCELED:
        return error->side == TERN_SIDE_SOURCE ? HANDOVER_HEARD_ABORT : HANDOVER_CANCEL;
    case -EPIPE:
        return HANDOVER_LINK_CLOSED;
    case -ECONNRESET:
    case -EHOSTDOWN:
        return HANDOVER_LINK_LOST;
    default:
        return error->side == TERN_SIDE_SOURCE ? HANDOVER_HEARD_ABORT : HANDOVER_FAILED;
    }
}

/* ---- what comes in ---- */

static enum handover_event message_event(struct tern_destination *destination, const struct control_frame *frame)
{
    uint8_t session[WIRE_SESSION_BYTES];

    switch (frame->type) {
    case WIRE_COMMIT:
        return HANDOVER_HEARD_COMMIT;
    case WIRE_ABORT:
    case WIRE_REFUSE:
        error_set(&destination->failure, -ECANCELED, NULL, "the source gave up");
        return HANDOVER_HEARD_ABORT;
    case WIRE_QUERY:
        if (wire_get_query(frame->payload, frame->length_bytes, session) ||
            memcmp(session, destination->hello.session, sizeof(session)))
            return HANDOVER_FAILED;
        destination->queried = true;
        return HANDOVER_HEARD_QUERY;
    default:
        destination_bad_message(frame->type, &destination->failure);
        return HANDOVER_FAILED;
    }
}

/* The source came again: the old connection, and what is unread of it, goes. */
static void take_new_connection(struct tern_destination *destination, int fd)
{
    drop_connection(destination, false);
    destination->queried = false;
    (void)door_open_control(destination, fd, NULL);
}

/* One event: a message, the connection's end, a new connection's QUERY, or time. HANDOVER_EVENTS: none yet. */
static enum handover_event next_event(struct tern_destination *destination, uint64_t deadline_ns)
{
    struct control_frame frame;
    uint8_t session[WIRE_SESSION_BYTES];
    struct tern_error error = {0};
    enum handover_event event;
    int fd, r;

    r = door_wait(destination, destination->door.control ? 0 : 200, &fd, session);
    if (!r)
        take_new_connection(destination, fd);
    if (atomic_exchange(&destination->cancelled, false))
        return HANDOVER_CANCEL;
    if (destination->await_deadline_ns && !clock_left_ms(destination->await_deadline_ns)) {
        destination->await_deadline_ns = 0;
        return HANDOVER_RECONNECT_EXPIRED;
    }
    if (!destination->door.control)
        return HANDOVER_EVENTS;
    r = control_receive(destination->door.control, 200, &frame, &error);
    if (r == -ETIMEDOUT || r == -EINTR)
        return !clock_left_ms(deadline_ns) ? HANDOVER_TIMEOUT : HANDOVER_EVENTS;
    if (r) {
        error_prefix(&error, "the source is gone");
        if (handover_verdict(&destination->handover) == HANDOVER_UNDECIDED)
            destination->failure = error; /* after the verdict it is no reason */
        return destination_event_of(r, &error);
    }
    event = message_event(destination, &frame);
    control_frame_free(&frame);
    return event;
}

static void expect_reconnect(struct tern_destination *destination, bool expect)
{
    pthread_mutex_lock(&destination->door.lock);
    destination->door.wants_reconnect = expect;
    pthread_mutex_unlock(&destination->door.lock);
}

/* The link's own end after ACTIVE or GONE was said is waited for only so long: the guest runs, or is gone, already. */
static uint64_t patience_ns(const struct tern_destination *destination)
{
    bool decided = handover_verdict(&destination->handover) != HANDOVER_UNDECIDED;

    return clock_after_ms(decided ? FAREWELL_MS : COMMIT_MS);
}

int destination_handover(struct tern_destination *destination, struct tern_error *error)
{
    enum handover_state state;
    uint64_t deadline_ns;

    expect_reconnect(destination, true);
    events_phase(&destination->events, TERN_PHASE_COMMIT);
    destination_feed(destination, HANDOVER_LOADED);
    state = destination->handover.state;
    deadline_ns = patience_ns(destination);
    while (handover_pending(&destination->handover)) {
        enum handover_event event = next_event(destination, deadline_ns);

        if (event == HANDOVER_HEARD_COMMIT)
            events_phase(&destination->events, TERN_PHASE_ACTIVATE);
        if (event != HANDOVER_EVENTS)
            destination_feed(destination, event);
        if (destination->handover.state != state) {
            state = destination->handover.state;
            deadline_ns = patience_ns(destination);
        }
    }
    expect_reconnect(destination, false);
    *error = destination->failure;
    switch (handover_verdict(&destination->handover)) {
    case HANDOVER_MIGRATED:
        destination->result.outcome = TERN_OUTCOME_MIGRATED;
        return 0;
    case HANDOVER_DOUBT:
        destination->result.outcome = TERN_OUTCOME_IN_DOUBT;
        return error_set(error, -EINPROGRESS, "find out where the guest is, then name its owner with 'tern resolve'",
                         "the handover is in doubt: the source was lost before its commit came; the guest is whole and "
                         "paused here");
    default:
        if (!error->message[0])
            error_set(error, -ECANCELED, NULL, "the source gave up");
        return error->code ? error->code : -ECANCELED;
    }
}
