/* SPDX-License-Identifier: BSD-2-Clause */
/* Drives the handover's state machine at the source: does the actions, feeds back what came of them, and turns what the
 * destination says, the connection's end and time into events. Decides nothing. */
#include <errno.h>
#include <time.h>

#include "migrate/source.h"
#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PUMP_MS            100
#define ANSWER_MS          30000 /* READY: load_state() of a big device takes its time */
#define ACTIVE_MS          10000
#define QUERY_MS           3000
#define TELL_MS            2000
#define TELL_SILENT_MS     500 /* a peer that was silent for seconds will hardly answer now */
#define RECONNECT_PAUSE_NS 250000000

static int note_send(struct source *source, enum wire_type type, size_t length)
{
    return source->control ? source_send(source, type, length, NULL) : -ENOTCONN;
}

static void drop_connection(struct source *source, bool in_order)
{
    struct control *control;

    pthread_mutex_lock(&source->lock);
    control = source->control;
    source->control = NULL;
    pthread_mutex_unlock(&source->lock);
    if (in_order)
        control_destroy(control);
    else
        control_cut(control);
}

static enum handover_event do_pause(struct source *source)
{
    uint64_t begin_ns = clock_now_ns();
    int r =
        VM_ASK(source->vm->pause(source->vm->opaque, &source->failure), "pause", TERN_SIDE_SOURCE, &source->failure);

    source->at.paused_ns = clock_now_ns();
    source->at.pause_ns = begin_ns;
    if (!r && source->vm->paused_since) {
        uint64_t since_ns = source->vm->paused_since(source->vm->opaque);

        if (since_ns > begin_ns)
            source->at.pause_ns = since_ns < source->at.paused_ns ? since_ns : source->at.paused_ns;
    }
    return r ? HANDOVER_PAUSE_FAILED : HANDOVER_PAUSED;
}

static enum handover_event do_resume(struct source *source)
{
    struct tern_error error;

    if (!VM_ASK(source->vm->resume(source->vm->opaque, &error), "resume", TERN_SIDE_SOURCE, &error))
        return HANDOVER_RESUMED;
    source->failure = error;
    return HANDOVER_RESUME_FAILED;
}

static void send_actions(struct source *source, uint32_t actions)
{
    struct wire_prepare prepare = {source->round, source->state_bytes, source->state_digest};

    if (actions & HANDOVER_SEND_PREPARE) {
        note_send(source, WIRE_PREPARE, wire_put_prepare(source->message, &prepare));
        source->at.prepared_ns = clock_now_ns();
    }
    if (actions & HANDOVER_SEND_COMMIT) {
        events_phase(&source->events, TERN_PHASE_ACTIVATE);
        note_send(source, WIRE_COMMIT, 0);
        source->at.committed_ns = clock_now_ns();
    }
    if (actions & HANDOVER_SEND_QUERY)
        note_send(source, WIRE_QUERY, wire_put_query(source->message, source->session));
    if (actions & HANDOVER_SEND_ABORT) {
        struct tern_error text;

        error_set(&text, -ECANCELED, NULL, "%s", source->failure.message);
        note_send(source, WIRE_ABORT, wire_put_refuse(source->message, &text));
    }
}

/* Bounded by reconnect_ms from the first loss. */
static enum handover_event do_reconnect(struct source *source)
{
    struct timespec pause = {.tv_nsec = RECONNECT_PAUSE_NS};

    if (!source->reconnect_deadline_ns)
        source->reconnect_deadline_ns = clock_after_ms(source->options.reconnect_ms);
    for (;;) {
        int left_ms = clock_left_ms(source->reconnect_deadline_ns);

        if (!left_ms)
            return HANDOVER_RECONNECT_EXPIRED;
        source->inbox = (struct inbox){.acknowledged = true};
        if (!source_connect(source, left_ms < QUERY_MS ? (uint32_t)left_ms : QUERY_MS, NULL))
            return HANDOVER_RECONNECTED;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
}

void source_feed(struct source *source, enum handover_event event)
{
    for (bool more = true; more;) {
        uint32_t actions = handover_step(&source->handover, event);

        more = false;
        if (actions & HANDOVER_DO_PAUSE) {
            event = do_pause(source);
            more = true;
        }
        if (actions & HANDOVER_DO_RESUME) {
            event = do_resume(source);
            more = true;
        }
        send_actions(source, actions);
        if (actions & HANDOVER_DO_CLOSE)
            drop_connection(source, true);
        if (actions & HANDOVER_DO_CUT)
            drop_connection(source, false);
        if (actions & HANDOVER_DO_RECONNECT) {
            events_warning(&source->events, "the connection was cut after the commit: seeking the destination");
            event = do_reconnect(source);
            more = true;
        }
        source->tell |= !!(actions & HANDOVER_DO_TELL);
    }
}

/* What an error of source_pump means to the handover. */
enum handover_event source_event_of(int code, const struct tern_error *error)
{
    if (error->side == TERN_SIDE_SOURCE && code != -ECANCELED)
        return HANDOVER_FAILED; /* whatever the code of a callback or of the registration means there */
    switch (code) {
    case -ECANCELED:
        return HANDOVER_CANCEL;
    case -EPIPE:
        return HANDOVER_LINK_CLOSED;
    case -ECONNRESET:
    case -EHOSTDOWN:
        return HANDOVER_LINK_LOST;
    default:
        return error->side == TERN_SIDE_DESTINATION ? HANDOVER_HEARD_ABORT : HANDOVER_FAILED;
    }
}

/* The next thing that the destination said, if any: HANDOVER_EVENTS for none. */
static enum handover_event heard(struct inbox *inbox)
{
    static const enum handover_event standings[] = {
        [WIRE_STANDING_READY] = HANDOVER_HEARD_READY,
        [WIRE_STANDING_ACTIVE] = HANDOVER_HEARD_ACTIVE,
        [WIRE_STANDING_GONE] = HANDOVER_HEARD_GONE,
        [WIRE_STANDING_UNKNOWN] = HANDOVER_HEARD_UNKNOWN,
    };

    if (inbox->ready) {
        inbox->ready = false;
        return HANDOVER_HEARD_READY;
    }
    if (inbox->active) {
        inbox->active = false;
        return HANDOVER_HEARD_ACTIVE;
    }
    if (inbox->has_standing) {
        inbox->has_standing = false;
        return standings[inbox->standing];
    }
    return HANDOVER_EVENTS;
}

static uint32_t answer_ms(const struct source *source)
{
    enum handover_state state = source->handover.state;
    int left_ms = clock_left_ms(source->reconnect_deadline_ns);

    if (state == HANDOVER_S_QUERYING && left_ms < QUERY_MS)
        return (uint32_t)left_ms;
    return state == HANDOVER_S_PREPARED ? ANSWER_MS : state == HANDOVER_S_QUERYING ? QUERY_MS : ACTIVE_MS;
}

/* READY on the first connection leads to the first COMMIT: the VMM is asked before, and may still say no. */
static enum handover_event ask_commit(struct source *source)
{
    if (!source->vm->commit || source->handover.state != HANDOVER_S_PREPARED)
        return HANDOVER_HEARD_READY;
    return VM_ASK(source->vm->commit(source->vm->opaque, &source->failure), "commit", TERN_SIDE_SOURCE,
                  &source->failure)
               ? HANDOVER_FAILED
               : HANDOVER_HEARD_READY;
}

void source_await_verdict(struct source *source)
{
    enum handover_state state = source->handover.state;
    uint32_t patience_ms = answer_ms(source);
    uint64_t deadline_ns = clock_after_ms(patience_ms);

    while (handover_verdict(&source->handover) == HANDOVER_UNDECIDED) {
        struct tern_error error = {0};
        int r = source->control ? source_pump(source, PUMP_MS, &error) : -ECONNRESET;
        enum handover_event event = heard(&source->inbox);

        if (event == HANDOVER_HEARD_ACTIVE)
            source->at.active_ns = clock_now_ns();
        if (event == HANDOVER_EVENTS && r && r != -ETIMEDOUT) {
            source->failure = error;
            event = source_event_of(r, &error);
        }
        if (event == HANDOVER_EVENTS && !clock_left_ms(deadline_ns)) {
            error_set(&source->failure, -ETIMEDOUT, "look at the destination's own messages",
                      "the destination did not answer within %u s", patience_ms / 1000);
            event = HANDOVER_TIMEOUT;
        }
        if (event == HANDOVER_HEARD_READY)
            event = ask_commit(source);
        if (event != HANDOVER_EVENTS)
            source_feed(source, event);
        if (source->handover.state != state) {
            state = source->handover.state;
            patience_ms = answer_ms(source);
            deadline_ns = clock_after_ms(patience_ms);
        }
    }
}

/* The guest runs here; a destination that holds it READY should know, so that it need not end in doubt. Once, bounded.
 */
void source_tell(struct source *source)
{
    uint32_t most_ms = source->failure.code == -EHOSTDOWN ? TELL_SILENT_MS : TELL_MS;
    uint64_t deadline_ns = clock_after_ms(most_ms);
    bool answered = false;

    if (!source->tell)
        return;
    drop_connection(source, false);
    source->inbox = (struct inbox){.acknowledged = true};
    if (source_connect(source, most_ms, NULL))
        return;
    source_feed(source, HANDOVER_RECONNECTED);
    while (source->control && clock_left_ms(deadline_ns)) {
        int r = source_pump(source, PUMP_MS, NULL);
        enum handover_event event = heard(&source->inbox);

        if (event != HANDOVER_EVENTS)
            source_feed(source, event);
        else if (r && r != -ETIMEDOUT)
            return;
        answered |= event != HANDOVER_EVENTS;
    }
    if (!answered)
        drop_connection(source, false); /* an end in order would wait once more */
}
