/* SPDX-License-Identifier: BSD-2-Clause */
/* The handover's table: [state][event] -> next state, actions. What is not in the table is decided by
 * unexpected(), so that no pair is undefined. The protocol and its invariants are in the header.
 */
#include "migrate/handover.h"

#include <stddef.h>

struct rule {
    enum handover_state next; /* HANDOVER_INVALID: not in the table */
    uint32_t actions;
};

#define TO(state, actions)                                                                                             \
    {                                                                                                                  \
        HANDOVER_##state, (actions)                                                                                    \
    }
#define STAY(state) TO(state, 0)

/* Before COMMIT: the guest stays here. It runs again before the peer is told: that may block. */
#define GIVE_UP       TO(S_RESUMING, HANDOVER_DO_RESUME | HANDOVER_SEND_ABORT)
#define GIVE_UP_ALONE TO(S_RESUMING, HANDOVER_DO_RESUME)
/* After COMMIT: only the peer's word, over another connection, decides. */
#define SEEK  TO(S_RECONNECT, HANDOVER_DO_CUT | HANDOVER_DO_RECONNECT)
#define DOUBT TO(S_IN_DOUBT, HANDOVER_DO_CUT)
/* Destination: end the connection, whatever is left of it, and wait for the source in the same state. */
#define LINGER(state) TO(state, HANDOVER_DO_CUT | HANDOVER_DO_AWAIT)

/* clang-format off */
static const struct rule rules[HANDOVER_STATES][HANDOVER_EVENTS] = {
    [HANDOVER_S_ACTIVE] = {
        [HANDOVER_SWITCH_OVER] = TO(S_PAUSING, HANDOVER_DO_PAUSE),
        [HANDOVER_CANCEL] = TO(S_RUNS_ON, HANDOVER_SEND_ABORT),
        [HANDOVER_FAILED] = TO(S_RUNS_ON, HANDOVER_SEND_ABORT),
        [HANDOVER_TIMEOUT] = TO(S_RUNS_ON, HANDOVER_SEND_ABORT),
        [HANDOVER_HEARD_ABORT] = TO(S_RUNS_ON, 0),
        [HANDOVER_LINK_CLOSED] = TO(S_RUNS_ON, 0),
        [HANDOVER_LINK_LOST] = TO(S_RUNS_ON, 0),
    },
    [HANDOVER_S_PAUSING] = {
        [HANDOVER_PAUSED] = TO(S_PAUSED, 0),
        [HANDOVER_PAUSE_FAILED] = GIVE_UP,
        [HANDOVER_CANCEL] = GIVE_UP,
        [HANDOVER_FAILED] = GIVE_UP,
        [HANDOVER_TIMEOUT] = GIVE_UP,
        [HANDOVER_HEARD_ABORT] = GIVE_UP_ALONE,
        [HANDOVER_LINK_CLOSED] = GIVE_UP_ALONE,
        [HANDOVER_LINK_LOST] = GIVE_UP_ALONE,
    },
    [HANDOVER_S_PAUSED] = {
        [HANDOVER_ALL_SENT] = TO(S_PREPARED, HANDOVER_SEND_PREPARE),
        [HANDOVER_CANCEL] = GIVE_UP,
        [HANDOVER_FAILED] = GIVE_UP,
        [HANDOVER_TIMEOUT] = GIVE_UP,
        [HANDOVER_HEARD_ABORT] = GIVE_UP_ALONE,
        [HANDOVER_LINK_CLOSED] = GIVE_UP_ALONE,
        [HANDOVER_LINK_LOST] = GIVE_UP_ALONE,
    },
    [HANDOVER_S_PREPARED] = {
        /* The state changes before the session sends: from here on COMMIT may be on its way. */
        [HANDOVER_HEARD_READY] = TO(S_COMMITTED, HANDOVER_SEND_COMMIT),
        [HANDOVER_CANCEL] = GIVE_UP,
        [HANDOVER_FAILED] = GIVE_UP,
        [HANDOVER_TIMEOUT] = GIVE_UP,
        [HANDOVER_HEARD_ABORT] = GIVE_UP_ALONE,
        [HANDOVER_HEARD_GONE] = GIVE_UP_ALONE,
        [HANDOVER_LINK_CLOSED] = GIVE_UP_ALONE,
        /* The destination may be READY and would wait in vain. */
        [HANDOVER_LINK_LOST] = TO(S_RESUMING, HANDOVER_DO_RESUME | HANDOVER_DO_TELL),
    },
    [HANDOVER_S_COMMITTED] = {
        [HANDOVER_HEARD_ACTIVE] = TO(S_DONE, HANDOVER_DO_RELEASE | HANDOVER_DO_CLOSE),
        [HANDOVER_HEARD_GONE] = TO(S_RESUMING, HANDOVER_DO_RESUME | HANDOVER_DO_CLOSE),
        [HANDOVER_HEARD_UNKNOWN] = DOUBT,
        [HANDOVER_CANCEL] = STAY(S_COMMITTED), /* too late */
        [HANDOVER_FAILED] = SEEK,
        [HANDOVER_TIMEOUT] = SEEK,
        [HANDOVER_LINK_CLOSED] = SEEK,
        [HANDOVER_LINK_LOST] = SEEK,
        [HANDOVER_RECONNECT_EXPIRED] = DOUBT,
    },
    [HANDOVER_S_RECONNECT] = {
        [HANDOVER_RECONNECTED] = TO(S_QUERYING, HANDOVER_SEND_QUERY),
        [HANDOVER_RECONNECT_EXPIRED] = DOUBT,
        [HANDOVER_CANCEL] = STAY(S_RECONNECT),
        [HANDOVER_FAILED] = STAY(S_RECONNECT),
        [HANDOVER_TIMEOUT] = STAY(S_RECONNECT),
        [HANDOVER_LINK_CLOSED] = STAY(S_RECONNECT),
        [HANDOVER_LINK_LOST] = STAY(S_RECONNECT),
    },
    [HANDOVER_S_QUERYING] = {
        [HANDOVER_HEARD_READY] = TO(S_COMMITTED, HANDOVER_SEND_COMMIT),
        [HANDOVER_HEARD_ACTIVE] = TO(S_DONE, HANDOVER_DO_RELEASE | HANDOVER_DO_CLOSE),
        [HANDOVER_HEARD_GONE] = TO(S_RESUMING, HANDOVER_DO_RESUME | HANDOVER_DO_CLOSE),
        [HANDOVER_HEARD_UNKNOWN] = DOUBT,
        [HANDOVER_CANCEL] = STAY(S_QUERYING),
        [HANDOVER_FAILED] = SEEK,
        [HANDOVER_TIMEOUT] = SEEK,
        [HANDOVER_LINK_CLOSED] = SEEK,
        [HANDOVER_LINK_LOST] = SEEK,
        [HANDOVER_RECONNECT_EXPIRED] = DOUBT,
    },
    [HANDOVER_S_RESUMING] = {
        [HANDOVER_RESUMED] = TO(S_RUNS_ON, 0),
        [HANDOVER_RESUME_FAILED] = TO(S_HALTED, 0),
        [HANDOVER_FAILED] = STAY(S_RESUMING),
    },
    [HANDOVER_S_RUNS_ON] = {
        /* TELL, or a READY that crossed our ABORT. */
        [HANDOVER_RECONNECTED] = TO(S_RUNS_ON, HANDOVER_SEND_QUERY),
        [HANDOVER_HEARD_READY] = TO(S_RUNS_ON, HANDOVER_SEND_ABORT),
        [HANDOVER_HEARD_GONE] = TO(S_RUNS_ON, HANDOVER_DO_CLOSE),
        [HANDOVER_HEARD_UNKNOWN] = TO(S_RUNS_ON, HANDOVER_DO_CLOSE),
        [HANDOVER_HEARD_ABORT] = STAY(S_RUNS_ON),
        [HANDOVER_FAILED] = STAY(S_RUNS_ON),
    },
    [HANDOVER_S_HALTED] = {
        /* The destination's copy may be the better one: it is not told to drop it, the operator will say. */
        [HANDOVER_RECONNECTED] = TO(S_HALTED, HANDOVER_DO_CUT),
        [HANDOVER_HEARD_READY] = TO(S_HALTED, HANDOVER_DO_CUT),
        [HANDOVER_HEARD_GONE] = TO(S_HALTED, HANDOVER_DO_CLOSE),
        [HANDOVER_HEARD_ABORT] = STAY(S_HALTED),
        [HANDOVER_FAILED] = STAY(S_HALTED),
        [HANDOVER_RESOLVE_HERE] = GIVE_UP_ALONE,
        [HANDOVER_RESOLVE_THERE] = TO(S_DONE, HANDOVER_DO_RELEASE),
    },
    [HANDOVER_S_DONE] = {
        [HANDOVER_FAILED] = STAY(S_DONE),
        [HANDOVER_HEARD_ACTIVE] = STAY(S_DONE),
    },
    [HANDOVER_S_IN_DOUBT] = {
        [HANDOVER_RESOLVE_HERE] = GIVE_UP_ALONE,
        [HANDOVER_RESOLVE_THERE] = TO(S_DONE, HANDOVER_DO_RELEASE),
        [HANDOVER_FAILED] = STAY(S_IN_DOUBT),
    },

    [HANDOVER_D_RECEIVING] = {
        [HANDOVER_LOADED] = TO(D_READY, HANDOVER_SEND_READY),
        [HANDOVER_CANCEL] = TO(D_DISCARDED, HANDOVER_DO_DISCARD | HANDOVER_SEND_ABORT),
        [HANDOVER_FAILED] = TO(D_DISCARDED, HANDOVER_DO_DISCARD | HANDOVER_SEND_ABORT),
        [HANDOVER_TIMEOUT] = TO(D_DISCARDED, HANDOVER_DO_DISCARD | HANDOVER_SEND_ABORT),
        [HANDOVER_HEARD_ABORT] = TO(D_DISCARDED, HANDOVER_DO_DISCARD | HANDOVER_SEND_GONE),
        [HANDOVER_HEARD_QUERY] = TO(D_DISCARDED, HANDOVER_DO_DISCARD | HANDOVER_SEND_GONE),
        [HANDOVER_LINK_CLOSED] = TO(D_DISCARDED, HANDOVER_DO_DISCARD),
        [HANDOVER_LINK_LOST] = TO(D_DISCARDED, HANDOVER_DO_DISCARD),
    },
    [HANDOVER_D_READY] = {
        [HANDOVER_HEARD_COMMIT] = TO(D_TEARING, HANDOVER_DO_TEARDOWN),
        [HANDOVER_HEARD_ABORT] = TO(D_DISCARDED, HANDOVER_DO_DISCARD | HANDOVER_SEND_GONE),
        [HANDOVER_HEARD_QUERY] = TO(D_READY_AGAIN, HANDOVER_SEND_READY),
        /* COMMIT may be on its way: the source then hears GONE, and has the guest whole. */
        [HANDOVER_CANCEL] = TO(D_GONE, HANDOVER_DO_DISCARD | HANDOVER_SEND_GONE),
        [HANDOVER_FAILED] = TO(D_GONE, HANDOVER_DO_DISCARD | HANDOVER_SEND_GONE),
        [HANDOVER_TIMEOUT] = TO(D_GONE, HANDOVER_DO_DISCARD | HANDOVER_SEND_GONE),
        [HANDOVER_LINK_CLOSED] = TO(D_DISCARDED, HANDOVER_DO_DISCARD),
        [HANDOVER_LINK_LOST] = LINGER(D_WAIT),
    },
    [HANDOVER_D_READY_AGAIN] = {
        [HANDOVER_HEARD_COMMIT] = TO(D_TEARING, HANDOVER_DO_TEARDOWN),
        [HANDOVER_HEARD_ABORT] = TO(D_DISCARDED, HANDOVER_DO_DISCARD | HANDOVER_SEND_GONE),
        [HANDOVER_HEARD_QUERY] = TO(D_READY_AGAIN, HANDOVER_SEND_READY),
        [HANDOVER_CANCEL] = STAY(D_READY_AGAIN), /* the source has committed: its word decides */
        [HANDOVER_FAILED] = LINGER(D_WAIT),
        [HANDOVER_TIMEOUT] = LINGER(D_WAIT),
        [HANDOVER_LINK_CLOSED] = LINGER(D_WAIT),
        [HANDOVER_LINK_LOST] = LINGER(D_WAIT),
        [HANDOVER_RECONNECT_EXPIRED] = STAY(D_READY_AGAIN), /* an old alarm: there is a link */
    },
    [HANDOVER_D_WAIT] = {
        [HANDOVER_HEARD_QUERY] = TO(D_READY_AGAIN, HANDOVER_SEND_READY),
        [HANDOVER_CANCEL] = TO(D_IN_DOUBT, 0), /* this may be the only whole guest: kept */
        [HANDOVER_FAILED] = STAY(D_WAIT),
        [HANDOVER_TIMEOUT] = STAY(D_WAIT),
        [HANDOVER_LINK_CLOSED] = STAY(D_WAIT),
        [HANDOVER_LINK_LOST] = STAY(D_WAIT),
        [HANDOVER_RECONNECT_EXPIRED] = TO(D_IN_DOUBT, 0),
    },
    [HANDOVER_D_TEARING] = {
        [HANDOVER_TORN] = TO(D_RESUMING, HANDOVER_DO_RESUME),
        [HANDOVER_HEARD_COMMIT] = STAY(D_TEARING),
        [HANDOVER_HEARD_QUERY] = STAY(D_TEARING), /* answered with ACTIVE or GONE in a moment */
        [HANDOVER_CANCEL] = STAY(D_TEARING),
        [HANDOVER_FAILED] = LINGER(D_TEARING),
        [HANDOVER_TIMEOUT] = STAY(D_TEARING),
        [HANDOVER_LINK_CLOSED] = LINGER(D_TEARING),
        [HANDOVER_LINK_LOST] = LINGER(D_TEARING),
        [HANDOVER_RECONNECT_EXPIRED] = TO(D_TEARING, HANDOVER_DO_AWAIT),
    },
    [HANDOVER_D_RESUMING] = {
        [HANDOVER_RESUMED] = TO(D_ACTIVE, HANDOVER_SEND_ACTIVE),
        [HANDOVER_RESUME_FAILED] = TO(D_GONE, HANDOVER_DO_DISCARD | HANDOVER_SEND_GONE),
        [HANDOVER_HEARD_COMMIT] = STAY(D_RESUMING),
        [HANDOVER_HEARD_QUERY] = STAY(D_RESUMING),
        [HANDOVER_CANCEL] = STAY(D_RESUMING),
        [HANDOVER_FAILED] = LINGER(D_RESUMING),
        [HANDOVER_TIMEOUT] = STAY(D_RESUMING),
        [HANDOVER_LINK_CLOSED] = LINGER(D_RESUMING),
        [HANDOVER_LINK_LOST] = LINGER(D_RESUMING),
        [HANDOVER_RECONNECT_EXPIRED] = TO(D_RESUMING, HANDOVER_DO_AWAIT),
    },
    [HANDOVER_D_OWN_TEARING] = {
        [HANDOVER_TORN] = TO(D_OWN_RESUMING, HANDOVER_DO_RESUME),
        [HANDOVER_FAILED] = STAY(D_OWN_TEARING),
    },
    [HANDOVER_D_OWN_RESUMING] = {
        [HANDOVER_RESUMED] = TO(D_DONE, 0),
        [HANDOVER_RESUME_FAILED] = TO(D_IN_DOUBT, 0), /* the source may have dropped it: never discarded */
        [HANDOVER_FAILED] = STAY(D_OWN_RESUMING),
    },
    [HANDOVER_D_ACTIVE] = {
        [HANDOVER_HEARD_QUERY] = TO(D_ACTIVE, HANDOVER_SEND_ACTIVE),
        [HANDOVER_HEARD_COMMIT] = TO(D_ACTIVE, HANDOVER_SEND_ACTIVE),
        [HANDOVER_CANCEL] = STAY(D_ACTIVE),
        [HANDOVER_FAILED] = LINGER(D_ACTIVE),
        [HANDOVER_TIMEOUT] = LINGER(D_ACTIVE),
        [HANDOVER_LINK_CLOSED] = TO(D_DONE, HANDOVER_DO_CLOSE), /* only who has heard ACTIVE closes in order */
        [HANDOVER_LINK_LOST] = LINGER(D_ACTIVE),
        [HANDOVER_RECONNECT_EXPIRED] = TO(D_DONE, HANDOVER_DO_CLOSE),
    },
    [HANDOVER_D_DONE] = {
        [HANDOVER_HEARD_QUERY] = TO(D_DONE, HANDOVER_SEND_ACTIVE),
        [HANDOVER_HEARD_COMMIT] = TO(D_DONE, HANDOVER_SEND_ACTIVE),
        [HANDOVER_FAILED] = STAY(D_DONE),
    },
    [HANDOVER_D_GONE] = {
        [HANDOVER_HEARD_QUERY] = TO(D_GONE, HANDOVER_SEND_GONE),
        [HANDOVER_HEARD_COMMIT] = TO(D_GONE, HANDOVER_SEND_GONE),
        [HANDOVER_HEARD_ABORT] = TO(D_DISCARDED, HANDOVER_SEND_GONE),
        [HANDOVER_CANCEL] = STAY(D_GONE),
        [HANDOVER_FAILED] = LINGER(D_GONE),
        [HANDOVER_TIMEOUT] = LINGER(D_GONE),
        [HANDOVER_LINK_CLOSED] = TO(D_DISCARDED, HANDOVER_DO_CLOSE),
        [HANDOVER_LINK_LOST] = LINGER(D_GONE),
        [HANDOVER_RECONNECT_EXPIRED] = TO(D_DISCARDED, HANDOVER_DO_CLOSE),
    },
    [HANDOVER_D_DISCARDED] = {
        [HANDOVER_HEARD_QUERY] = TO(D_DISCARDED, HANDOVER_SEND_GONE),
        [HANDOVER_HEARD_COMMIT] = TO(D_DISCARDED, HANDOVER_SEND_GONE),
        [HANDOVER_HEARD_ABORT] = TO(D_DISCARDED, HANDOVER_SEND_GONE),
        [HANDOVER_FAILED] = STAY(D_DISCARDED),
    },
    [HANDOVER_D_IN_DOUBT] = {
        /* Said to the user already, who may be acting on it: nothing the source says changes it any more. */
        [HANDOVER_HEARD_QUERY] = TO(D_IN_DOUBT, HANDOVER_SEND_UNKNOWN),
        [HANDOVER_HEARD_COMMIT] = TO(D_IN_DOUBT, HANDOVER_SEND_UNKNOWN),
        [HANDOVER_RESOLVE_HERE] = TO(D_OWN_TEARING, HANDOVER_DO_TEARDOWN),
        [HANDOVER_RESOLVE_THERE] = TO(D_DISCARDED, HANDOVER_DO_DISCARD),
        [HANDOVER_FAILED] = STAY(D_IN_DOUBT),
    },
};

static const char *const state_names[HANDOVER_STATES] = {
    [HANDOVER_INVALID] = "invalid",
    [HANDOVER_S_ACTIVE] = "source active",
    [HANDOVER_S_PAUSING] = "source pausing",
    [HANDOVER_S_PAUSED] = "source paused",
    [HANDOVER_S_PREPARED] = "source prepared",
    [HANDOVER_S_COMMITTED] = "source committed",
    [HANDOVER_S_RECONNECT] = "source reconnecting",
    [HANDOVER_S_QUERYING] = "source querying",
    [HANDOVER_S_RESUMING] = "source resuming",
    [HANDOVER_S_RUNS_ON] = "source runs on",
    [HANDOVER_S_HALTED] = "source halted",
    [HANDOVER_S_DONE] = "source done",
    [HANDOVER_S_IN_DOUBT] = "source in doubt",
    [HANDOVER_D_RECEIVING] = "destination receiving",
    [HANDOVER_D_READY] = "destination ready",
    [HANDOVER_D_READY_AGAIN] = "destination ready again",
    [HANDOVER_D_WAIT] = "destination waiting for the source",
    [HANDOVER_D_TEARING] = "destination tearing lanes down",
    [HANDOVER_D_RESUMING] = "destination resuming",
    [HANDOVER_D_OWN_TEARING] = "destination tearing lanes down, by the operator",
    [HANDOVER_D_OWN_RESUMING] = "destination resuming, by the operator",
    [HANDOVER_D_ACTIVE] = "destination active",
    [HANDOVER_D_DONE] = "destination done",
    [HANDOVER_D_GONE] = "destination gone",
    [HANDOVER_D_DISCARDED] = "destination discarded",
    [HANDOVER_D_IN_DOUBT] = "destination in doubt",
};

static const char *const event_names[HANDOVER_EVENTS] = {
    [HANDOVER_SWITCH_OVER] = "switch over",
    [HANDOVER_PAUSED] = "paused",
    [HANDOVER_PAUSE_FAILED] = "pause failed",
    [HANDOVER_ALL_SENT] = "all sent",
    [HANDOVER_LOADED] = "loaded",
    [HANDOVER_TORN] = "lanes torn down",
    [HANDOVER_RESUMED] = "resumed",
    [HANDOVER_RESUME_FAILED] = "resume failed",
    [HANDOVER_CANCEL] = "cancel",
    [HANDOVER_FAILED] = "failed",
    [HANDOVER_HEARD_READY] = "heard READY",
    [HANDOVER_HEARD_ACTIVE] = "heard ACTIVE",
    [HANDOVER_HEARD_GONE] = "heard GONE",
    [HANDOVER_HEARD_UNKNOWN] = "heard UNKNOWN",
    [HANDOVER_HEARD_COMMIT] = "heard COMMIT",
    [HANDOVER_HEARD_QUERY] = "heard QUERY",
    [HANDOVER_HEARD_ABORT] = "heard ABORT",
    [HANDOVER_LINK_CLOSED] = "link closed",
    [HANDOVER_LINK_LOST] = "link lost",
    [HANDOVER_RECONNECTED] = "reconnected",
    [HANDOVER_RECONNECT_EXPIRED] = "reconnect expired",
    [HANDOVER_TIMEOUT] = "time-out",
    [HANDOVER_RESOLVE_HERE] = "resolve: here",
    [HANDOVER_RESOLVE_THERE] = "resolve: there",
};
/* clang-format on */

static bool is_message(enum handover_event event)
{
    return event >= HANDOVER_HEARD_READY && event <= HANDOVER_HEARD_ABORT;
}

/* They come from outside and may cross a decision that made them pointless. */
static bool comes_late(enum handover_event event)
{
    return event == HANDOVER_CANCEL || event == HANDOVER_LINK_CLOSED || event == HANDOVER_LINK_LOST ||
           event == HANDOVER_RECONNECT_EXPIRED || event == HANDOVER_TIMEOUT;
}

/* A message that has no place here is the peer's failure, and FAILED is in the table for every state.
 * Any other event without a place changes nothing. */
static struct rule unexpected(enum handover_state state, enum handover_event event)
{
    struct rule rule = {state, comes_late(event) ? 0 : HANDOVER_UNEXPECTED};

    if (is_message(event)) {
        rule = rules[state][HANDOVER_FAILED];
        rule.actions |= HANDOVER_PROTOCOL_ERROR;
    }
    return rule;
}

void handover_init(struct handover *h, enum handover_role role)
{
    h->role = role;
    h->state = role == HANDOVER_SOURCE ? HANDOVER_S_ACTIVE : HANDOVER_D_RECEIVING;
}

uint32_t handover_step(struct handover *h, enum handover_event event)
{
    struct rule rule;

    if (h->state <= HANDOVER_INVALID || h->state >= HANDOVER_STATES || event < 0 || event >= HANDOVER_EVENTS)
        return HANDOVER_UNEXPECTED;
    rule = rules[h->state][event];
    if (rule.next == HANDOVER_INVALID)
        rule = unexpected(h->state, event);
    h->state = rule.next;
    return rule.actions;
}

enum handover_verdict handover_verdict(const struct handover *h)
{
    switch (h->state) {
    case HANDOVER_S_DONE:
    case HANDOVER_D_ACTIVE:
    case HANDOVER_D_DONE:
        return HANDOVER_MIGRATED;
    case HANDOVER_S_RUNS_ON:
    case HANDOVER_D_GONE:
    case HANDOVER_D_DISCARDED:
        return HANDOVER_NOT;
    case HANDOVER_S_IN_DOUBT:
    case HANDOVER_D_IN_DOUBT:
        return HANDOVER_DOUBT;
    case HANDOVER_S_HALTED:
        return HANDOVER_HALT;
    default:
        return HANDOVER_UNDECIDED;
    }
}

bool handover_pending(const struct handover *h)
{
    return handover_verdict(h) == HANDOVER_UNDECIDED || h->state == HANDOVER_D_ACTIVE || h->state == HANDOVER_D_GONE;
}

bool handover_can_cancel(const struct handover *h)
{
    return h->state >= HANDOVER_S_ACTIVE && h->state <= HANDOVER_S_PREPARED;
}

const char *handover_state_name(enum handover_state state)
{
    return state >= 0 && state < HANDOVER_STATES ? state_names[state] : "?";
}

const char *handover_event_name(enum handover_event event)
{
    return event >= 0 && event < HANDOVER_EVENTS ? event_names[event] : "?";
}
