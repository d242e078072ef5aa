/* SPDX-License-Identifier: BSD-2-Clause */
/* Every order of events: messages, cuts, crashes, cancels, time-outs, restarts, the operator. And proof that the walk
 * can fail: machines with one rule broken must each be caught, for the promise that they break. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/model/handover_walk.h"

#define MAX_WORLDS 2000000u

static struct walk walk; /* too large for a stack; each test is a process of its own */

Test(handover_world, every_promise_holds_in_every_order, .timeout = 60)
{
    cr_assert_eq(walk_all(handover_step, MAX_WORLDS, &walk), 0);
    cr_assert_null(walk.violation, "%s, reached by (last first)\n%s", walk.violation, walk.path);
    cr_assert_eq(walk.n_stuck, 0, "%zu worlds never end", walk.n_stuck);
    /* What was walked is not a husk: all states, and every kind of end. */
    cr_assert_gt(walk.n_worlds, 5000, "only %zu worlds", walk.n_worlds);
    for (int state = 1; state < HANDOVER_STATES; state++)
        cr_assert_gt(walk.seen[state], 0, "never %s", handover_state_name(state));
    cr_assert_gt(walk.n_migrated, 10);
    cr_assert_gt(walk.n_doubt, 10);
    cr_assert_gt(walk.n_resolved, 10);
}

/* Without faults and second thoughts, the guest moves. */
Test(handover_world, the_plain_way_migrates)
{
    static const enum handover_event source_events[] = {HANDOVER_SWITCH_OVER, HANDOVER_PAUSED, HANDOVER_ALL_SENT,
                                                        HANDOVER_HEARD_READY, HANDOVER_HEARD_ACTIVE};
    static const uint32_t source_actions[] = {HANDOVER_DO_PAUSE, 0, HANDOVER_SEND_PREPARE, HANDOVER_SEND_COMMIT,
                                              HANDOVER_DO_RELEASE | HANDOVER_DO_CLOSE};
    static const enum handover_event destination_events[] = {HANDOVER_LOADED, HANDOVER_HEARD_COMMIT, HANDOVER_TORN,
                                                             HANDOVER_RESUMED, HANDOVER_LINK_CLOSED};
    static const uint32_t destination_actions[] = {HANDOVER_SEND_READY, HANDOVER_DO_TEARDOWN, HANDOVER_DO_RESUME,
                                                   HANDOVER_SEND_ACTIVE, HANDOVER_DO_CLOSE};
    struct handover source, destination;

    handover_init(&source, HANDOVER_SOURCE);
    handover_init(&destination, HANDOVER_DESTINATION);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(handover_step(&source, source_events[i]), source_actions[i], "source, step %d", i);
        cr_assert_eq(handover_step(&destination, destination_events[i]), destination_actions[i], "destination, %d", i);
    }
    cr_assert_eq(handover_verdict(&source), HANDOVER_MIGRATED);
    cr_assert_eq(handover_verdict(&destination), HANDOVER_MIGRATED);
    cr_assert(!handover_pending(&source) && !handover_pending(&destination));
}

/* ---- machines with one rule broken ---- */

struct mutant {
    const char *what;
    enum handover_state state;
    enum handover_event event;
    enum handover_state next;
    uint32_t actions;
    const char *broken; /* what the walk must say; NULL: anything */
};

static const struct mutant mutants[] = {
    {"a committed source resumes when the link is lost", HANDOVER_S_COMMITTED, HANDOVER_LINK_LOST, HANDOVER_S_RESUMING,
     HANDOVER_DO_RESUME, "two run"},
    {"a committed source can be cancelled", HANDOVER_S_COMMITTED, HANDOVER_CANCEL, HANDOVER_S_RESUMING,
     HANDOVER_DO_RESUME | HANDOVER_SEND_ABORT, "two run"},
    {"a source that finds no peer resumes", HANDOVER_S_RECONNECT, HANDOVER_RECONNECT_EXPIRED, HANDOVER_S_RESUMING,
     HANDOVER_DO_RESUME, "two run"},
    {"a source takes a restarted peer for one that is gone", HANDOVER_S_QUERYING, HANDOVER_HEARD_UNKNOWN,
     HANDOVER_S_RESUMING, HANDOVER_DO_RESUME, "two run"},
    {"an active destination says that it is gone", HANDOVER_D_ACTIVE, HANDOVER_HEARD_QUERY, HANDOVER_D_ACTIVE,
     HANDOVER_SEND_GONE, NULL},
    {"the guest resumes with its lanes open", HANDOVER_D_READY, HANDOVER_HEARD_COMMIT, HANDOVER_D_RESUMING,
     HANDOVER_DO_RESUME, "the destination resumed before its lanes were torn down"},
    {"the destination runs what it was not told to", HANDOVER_D_READY, HANDOVER_LINK_LOST, HANDOVER_D_TEARING,
     HANDOVER_DO_TEARDOWN, "two run"},
    {"the destination runs when nobody comes back", HANDOVER_D_WAIT, HANDOVER_RECONNECT_EXPIRED, HANDOVER_D_TEARING,
     HANDOVER_DO_TEARDOWN, "two run"},
    {"an orderly end is believed after a QUERY too", HANDOVER_D_READY_AGAIN, HANDOVER_LINK_CLOSED, HANDOVER_D_DISCARDED,
     HANDOVER_DO_DISCARD, "a committed guest was discarded because a connection ended"},
    {"a cut in READY is taken for an orderly end", HANDOVER_D_READY, HANDOVER_LINK_LOST, HANDOVER_D_DISCARDED,
     HANDOVER_DO_DISCARD, "a committed guest was discarded because a connection ended"},
    {"the source lets go before ACTIVE", HANDOVER_S_COMMITTED, HANDOVER_LINK_CLOSED, HANDOVER_S_DONE,
     HANDOVER_DO_RELEASE, NULL},
    {"a failed activation is reported as done", HANDOVER_D_RESUMING, HANDOVER_RESUME_FAILED, HANDOVER_D_ACTIVE,
     HANDOVER_SEND_ACTIVE, "the destination said ACTIVE and had not run it"},
    {"a failed activation keeps the guest and says GONE", HANDOVER_D_RESUMING, HANDOVER_RESUME_FAILED, HANDOVER_D_GONE,
     HANDOVER_SEND_GONE, "the destination said GONE and had it"},
    {"the operator's guest is discarded when it does not start", HANDOVER_D_OWN_RESUMING, HANDOVER_RESUME_FAILED,
     HANDOVER_D_DISCARDED, HANDOVER_DO_DISCARD, "both have dropped it"},
    {"a source forgets to resume after a lost link", HANDOVER_S_PREPARED, HANDOVER_LINK_LOST, HANDOVER_S_RUNS_ON, 0,
     "the source says that its guest runs on, and it does not"},
    {"a discarded destination says ACTIVE", HANDOVER_D_DISCARDED, HANDOVER_HEARD_QUERY, HANDOVER_D_DISCARDED,
     HANDOVER_SEND_ACTIVE, NULL},
    {"READY is said before anything was loaded", HANDOVER_D_RECEIVING, HANDOVER_TIMEOUT, HANDOVER_D_READY,
     HANDOVER_SEND_READY, NULL},
    {"a destination that gave up after READY runs on COMMIT", HANDOVER_D_GONE, HANDOVER_HEARD_COMMIT,
     HANDOVER_D_TEARING, HANDOVER_DO_TEARDOWN, "the destination resumed what it had discarded"},
    {"a destination in READY waits for ever", HANDOVER_D_WAIT, HANDOVER_RECONNECT_EXPIRED, HANDOVER_D_WAIT, 0, NULL},
    {"a source in doubt drops its guest", HANDOVER_S_RECONNECT, HANDOVER_RECONNECT_EXPIRED, HANDOVER_S_DONE,
     HANDOVER_DO_RELEASE, NULL},
    {"a guest that nobody runs is called given up", HANDOVER_S_RESUMING, HANDOVER_RESUME_FAILED, HANDOVER_S_RUNS_ON, 0,
     "the source says that its guest runs on, and it does not"},
};
#define N_MUTANTS (sizeof(mutants) / sizeof(mutants[0]))

static const struct mutant *active_mutant;

static uint32_t mutant_step(struct handover *h, enum handover_event event)
{
    if (h->state != active_mutant->state || event != active_mutant->event)
        return handover_step(h, event);
    h->state = active_mutant->next;
    return active_mutant->actions;
}

Test(handover_world, a_broken_rule_is_caught, .timeout = 100)
{
    for (size_t i = 0; i < N_MUTANTS; i++) {
        active_mutant = &mutants[i];
        cr_assert_eq(walk_all(mutant_step, MAX_WORLDS, &walk), 0, "%s", mutants[i].what);
        cr_assert(walk.violation || walk.n_stuck > 0, "not caught: %s", mutants[i].what);
        if (mutants[i].broken)
            cr_assert_str_eq(walk.violation ? walk.violation : "stuck", mutants[i].broken, "%s", mutants[i].what);
    }
}
