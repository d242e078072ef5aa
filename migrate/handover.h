/* SPDX-License-Identifier: BSD-2-Clause */
/* The handover: who runs the guest. A pure state machine for each side; no I/O, no clock, no allocation.
 *
 * The session feeds events; handover_step answers with actions. Rules for the session:
 *   1. do the actions of one answer in the order of their bits, lowest first; then feed the results (PAUSED,
 *      TORN, RESUMED, ...) of those that have one, before any other event;
 *   2. a SEND on a connection that has ended is skipped; the end itself is fed as LINK_CLOSED or LINK_LOST, once
 *      a connection, and only for the present one. A new connection replaces the old one: the destination
 *      closes the old one, and forgets what it has not read from it, before it feeds the QUERY of the new one;
 *   3. what was received before a connection's end is fed before its end;
 *   4. messages that belong to another session id are answered by the session (UNKNOWN), not fed.
 *
 * What holds, whatever the order of events, losses and crashes (tests/unit/test_handover*.c, tests/model/):
 *   - never two running: the source, once COMMIT may be on its way, resumes only after the destination said GONE,
 *     which is said only by one that has discarded the guest and can never run it, or by the operator's word;
 *   - never none without someone told: where nobody runs the guest at the end, a side's verdict is IN_DOUBT or HALTED;
 *   - never both gone: one side holds the guest whole until the other is known to run it, or never to need it;
 *   - no remote write after activation: RESUME at the destination follows only upon TORN.
 *
 * An orderly end of the first connection in READY proves that no COMMIT was ever sent: all that was sent has been
 * read. A source that QUERYs has sent COMMIT on an earlier connection (or runs its guest already), so from then on an
 * orderly end proves nothing and counts as a loss: hence READY_AGAIN.
 *
 * Must not know: sockets, messages' bytes, time.
 */
#ifndef MIGRATE_HANDOVER_H
#define MIGRATE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

enum handover_state {
    HANDOVER_INVALID = 0,

    /* source */
    HANDOVER_S_ACTIVE,    /* the guest runs here; pre-copy */
    HANDOVER_S_PAUSING,   /* pause() under way */
    HANDOVER_S_PAUSED,    /* paused; last round, device state */
    HANDOVER_S_PREPARED,  /* all sent, PREPARE sent; waits for READY */
    HANDOVER_S_COMMITTED, /* COMMIT may have been sent; waits for ACTIVE. No way back without the peer's word */
    HANDOVER_S_RECONNECT, /* committed, no link */
    HANDOVER_S_QUERYING,  /* committed, new link, QUERY sent */
    HANDOVER_S_RESUMING,  /* resume() under way: the guest stays here */
    HANDOVER_S_RUNS_ON,   /* end: the guest runs here */
    HANDOVER_S_HALTED,    /* end: the guest belongs here, but resume() failed */
    HANDOVER_S_DONE,      /* end: the guest belongs to the destination */
    HANDOVER_S_IN_DOUBT,  /* paused, whole; left only by the operator's word */

    /* destination */
    HANDOVER_D_RECEIVING,
    HANDOVER_D_READY,        /* whole, state loaded, READY sent; waits for COMMIT on the first connection */
    HANDOVER_D_READY_AGAIN,  /* the same, after a QUERY */
    HANDOVER_D_WAIT,         /* whole, no link; waits for the source to come back */
    HANDOVER_D_TEARING,      /* COMMIT heard; lanes being torn down */
    HANDOVER_D_RESUMING,     /* resume() under way */
    HANDOVER_D_OWN_TEARING,  /* as TEARING, by the operator's word */
    HANDOVER_D_OWN_RESUMING, /* as RESUMING, by the operator's word: a failure must not discard */
    HANDOVER_D_ACTIVE,       /* the guest runs here; the source may not know yet: answers QUERY */
    HANDOVER_D_DONE,         /* end: the guest runs here */
    HANDOVER_D_GONE,         /* discarded after READY; the source may not know yet: answers QUERY */
    HANDOVER_D_DISCARDED,    /* end: discarded */
    HANDOVER_D_IN_DOUBT,     /* paused, whole; left only by the operator's word */

    HANDOVER_STATES
};

enum handover_event {
    /* the session's own decisions and results */
    HANDOVER_SWITCH_OVER,   /* source: pre-copy is over */
    HANDOVER_PAUSED,        /* source: pause() succeeded */
    HANDOVER_PAUSE_FAILED,  /* source: it did not; the guest may be in part stopped */
    HANDOVER_ALL_SENT,      /* source: last round acknowledged (and verified), device state sent */
    HANDOVER_LOADED,        /* destination: PREPARE heard, all in memory, verified, load_state() succeeded */
    HANDOVER_TORN,          /* destination: lanes torn down */
    HANDOVER_RESUMED,       /* resume() succeeded */
    HANDOVER_RESUME_FAILED, /* it did not; no vCPU has run */
    HANDOVER_CANCEL,        /* this side's user wants to give up */
    HANDOVER_FAILED,        /* this side cannot go on (a lane, memory, digest, load_state() ...) */
    /* heard from the peer */
    HANDOVER_HEARD_READY,   /* READY, or STANDING ready */
    HANDOVER_HEARD_ACTIVE,  /* ACTIVE, or STANDING active */
    HANDOVER_HEARD_GONE,    /* STANDING gone */
    HANDOVER_HEARD_UNKNOWN, /* STANDING unknown */
    HANDOVER_HEARD_COMMIT,
    HANDOVER_HEARD_QUERY, /* on a new connection, which is the present one from here on */
    HANDOVER_HEARD_ABORT, /* ABORT or REFUSE */
    /* the connection and time */
    HANDOVER_LINK_CLOSED,       /* ended in order, between two messages (with TLS: and its close was authentic) */
    HANDOVER_LINK_LOST,         /* ended in any other way: cut, reset, silent, not understood */
    HANDOVER_RECONNECTED,       /* source: a new connection stands */
    HANDOVER_RECONNECT_EXPIRED, /* the time for RECONNECT or AWAIT has passed (counted from the first loss) */
    HANDOVER_TIMEOUT,           /* the peer lives, but what this state waits for did not come in its time */
    /* the operator (tern resolve). To be asked only when neither side is still deciding */
    HANDOVER_RESOLVE_HERE,
    HANDOVER_RESOLVE_THERE,

    HANDOVER_EVENTS
};

/* Actions, to be done from the lowest bit to the highest. */
enum handover_action {
    HANDOVER_DO_PAUSE = 1u << 0,    /* pause(); feed PAUSED or PAUSE_FAILED */
    HANDOVER_DO_TEARDOWN = 1u << 1, /* destination_teardown, unless done; feed TORN */
    HANDOVER_DO_DISCARD = 1u << 2,  /* teardown, forget the guest for good; the session id is remembered */
    HANDOVER_DO_RESUME = 1u << 3,   /* resume() (source: only if it ran before); feed RESUMED or RESUME_FAILED */
    HANDOVER_SEND_PREPARE = 1u << 4,
    HANDOVER_SEND_READY = 1u << 5, /* READY, or STANDING ready where a QUERY was heard */
    HANDOVER_SEND_COMMIT = 1u << 6,
    HANDOVER_SEND_ACTIVE = 1u << 7, /* ACTIVE, or STANDING active where a QUERY was heard */
    HANDOVER_SEND_QUERY = 1u << 8,
    HANDOVER_SEND_GONE = 1u << 9,       /* STANDING gone */
    HANDOVER_SEND_UNKNOWN = 1u << 10,   /* STANDING unknown */
    HANDOVER_SEND_ABORT = 1u << 11,     /* ABORT, or REFUSE where there is a reason to tell */
    HANDOVER_DO_RELEASE = 1u << 12,     /* source: the guest is the destination's: drop it here */
    HANDOVER_DO_CLOSE = 1u << 13,       /* end the connection in order */
    HANDOVER_DO_CUT = 1u << 14,         /* end it so that the peer sees no orderly end (SO_LINGER 0) */
    HANDOVER_DO_RECONNECT = 1u << 15,   /* source: connect again, bounded; feed RECONNECTED or RECONNECT_EXPIRED */
    HANDOVER_DO_AWAIT = 1u << 16,       /* destination: accept a QUERY; after the bound (longer than the source's: add
                                           twice the peer time-out) feed RECONNECT_EXPIRED */
    HANDOVER_DO_TELL = 1u << 17,        /* source, optional, the guest runs: connect again once and feed RECONNECTED, so
                                           that a destination that is READY need not end in doubt */
    HANDOVER_PROTOCOL_ERROR = 1u << 18, /* the peer said what it must not say here; counted as a failure */
    HANDOVER_UNEXPECTED = 1u << 19, /* the event has no meaning here; nothing changed. From the session itself: a bug */
};
#define HANDOVER_ACTIONS_ALL ((1u << 20) - 1)

enum handover_role {
    HANDOVER_SOURCE,
    HANDOVER_DESTINATION,
};

enum handover_verdict {
    HANDOVER_UNDECIDED,
    HANDOVER_MIGRATED, /* the guest runs at the destination, or the operator said that it is its */
    HANDOVER_NOT,      /* it was given up: source runs on, destination has discarded */
    HANDOVER_DOUBT,    /* paused here, to be resolved: exit 3 */
    HANDOVER_HALT,     /* source: the guest is here and whole, but resume() failed */
};

struct handover {
    enum handover_role role;
    enum handover_state state;
};

/* handover_init: a source whose guest runs, or a destination that receives. */
void handover_init(struct handover *h, enum handover_role role);

/* handover_step: feed one event. Every event is defined in every state.
 * returns  enum handover_action bits, 0 for none */
uint32_t handover_step(struct handover *h, enum handover_event event);

/* What can be said to the user now. ACTIVE and GONE have a verdict already, though they still answer the peer. */
enum handover_verdict handover_verdict(const struct handover *h);

/* May this state still change without the operator? False: the session may end. True with a verdict (D_ACTIVE, D_GONE):
 * the session keeps answering the peer, until the connection ends in order or AWAIT's time has passed. */
bool handover_pending(const struct handover *h);

/* May the session still give up of its own accord (source: COMMIT cannot have been sent)? */
bool handover_can_cancel(const struct handover *h);

const char *handover_state_name(enum handover_state state);
const char *handover_event_name(enum handover_event event);

#endif
