/* SPDX-License-Identifier: BSD-2-Clause */
/* Every (state, event) pair of the handover is defined; and the pairs on which the promises hang are as they must be.
 * All orders of events are walked in tests/model/. */
#include <criterion/criterion.h>

#include "migrate/handover.h"

static enum handover_role role_of(int state)
{
    return state <= HANDOVER_S_IN_DOUBT ? HANDOVER_SOURCE : HANDOVER_DESTINATION;
}

static uint32_t step(enum handover_state state, enum handover_event event, enum handover_state *next)
{
    struct handover h = {role_of((int)state), state};
    uint32_t actions = handover_step(&h, event);

    cr_assert_eq(h.role, role_of((int)state));
    *next = h.state;
    return actions;
}

#define FOR_EACH_PAIR(state, event)                                                                                    \
    for (int state = HANDOVER_INVALID + 1; state < HANDOVER_STATES; state++)                                           \
        for (int event = 0; event < HANDOVER_EVENTS; event++)

#define NAMES(state, event)                                                                                            \
    handover_state_name((enum handover_state)state), handover_event_name((enum handover_event)event)

Test(handover, every_pair_is_defined)
{
    FOR_EACH_PAIR(state, event)
    {
        enum handover_state next;
        uint32_t actions = step((enum handover_state)state, (enum handover_event)event, &next);

        cr_assert(next > HANDOVER_INVALID && next < HANDOVER_STATES, "%s, %s", NAMES(state, event));
        cr_assert_eq(role_of((int)next), role_of(state), "%s, %s leaves its side", NAMES(state, event));
        cr_assert_eq(actions & ~(uint32_t)HANDOVER_ACTIONS_ALL, 0, "%s, %s", NAMES(state, event));
        cr_assert(!(actions & HANDOVER_UNEXPECTED) || (int)next == state, "%s, %s changes though unexpected",
                  NAMES(state, event));
        cr_assert(handover_state_name((enum handover_state)state) && handover_event_name((enum handover_event)event));
    }
}

Test(handover, what_is_out_of_range_changes_nothing)
{
    struct handover h;

    handover_init(&h, HANDOVER_SOURCE);
    cr_assert_eq(handover_step(&h, HANDOVER_EVENTS), HANDOVER_UNEXPECTED);
    cr_assert_eq(h.state, HANDOVER_S_ACTIVE);
    h.state = HANDOVER_STATES;
    cr_assert_eq(handover_step(&h, HANDOVER_CANCEL), HANDOVER_UNEXPECTED);
    h.state = HANDOVER_INVALID;
    cr_assert_eq(handover_step(&h, HANDOVER_CANCEL), HANDOVER_UNEXPECTED);
    cr_assert_str_eq(handover_state_name(HANDOVER_STATES), "?");
    cr_assert_str_eq(handover_event_name(HANDOVER_EVENTS), "?");
}

Test(handover, each_side_does_only_its_own_actions)
{
    const uint32_t source_only = HANDOVER_DO_PAUSE | HANDOVER_SEND_PREPARE | HANDOVER_SEND_COMMIT |
                                 HANDOVER_SEND_QUERY | HANDOVER_DO_RELEASE | HANDOVER_DO_RECONNECT | HANDOVER_DO_TELL;
    const uint32_t destination_only = HANDOVER_DO_TEARDOWN | HANDOVER_DO_DISCARD | HANDOVER_SEND_READY |
                                      HANDOVER_SEND_ACTIVE | HANDOVER_SEND_GONE | HANDOVER_SEND_UNKNOWN |
                                      HANDOVER_DO_AWAIT;

    FOR_EACH_PAIR(state, event)
    {
        enum handover_state next;
        uint32_t actions = step((enum handover_state)state, (enum handover_event)event, &next);

        cr_assert_eq(actions & (role_of(state) == HANDOVER_SOURCE ? destination_only : source_only), 0, "%s, %s",
                     NAMES(state, event));
    }
}

/* The only ways back for a source that may have sent COMMIT. */
Test(handover, a_committed_source_resumes_only_on_gone_or_the_operators_word)
{
    for (int event = 0; event < HANDOVER_EVENTS; event++) {
        for (int state = HANDOVER_S_COMMITTED; state <= HANDOVER_S_IN_DOUBT; state++) {
            enum handover_state next;
            uint32_t actions;
            bool waits = state == HANDOVER_S_COMMITTED || state == HANDOVER_S_QUERYING;

            if (state >= HANDOVER_S_RESUMING && state <= HANDOVER_S_HALTED)
                continue; /* the guest is the source's again */
            actions = step((enum handover_state)state, (enum handover_event)event, &next);
            if (actions & HANDOVER_DO_RESUME)
                cr_assert((waits && event == HANDOVER_HEARD_GONE) ||
                              (state == HANDOVER_S_IN_DOUBT && event == HANDOVER_RESOLVE_HERE),
                          "%s, %s resumes", NAMES(state, event));
            if (actions & HANDOVER_DO_RELEASE)
                cr_assert((waits && event == HANDOVER_HEARD_ACTIVE) ||
                              (state == HANDOVER_S_IN_DOUBT && event == HANDOVER_RESOLVE_THERE),
                          "%s, %s releases", NAMES(state, event));
        }
    }
}

Test(handover, a_destination_resumes_only_when_its_lanes_are_down)
{
    FOR_EACH_PAIR(state, event)
    {
        enum handover_state next;
        uint32_t actions = step((enum handover_state)state, (enum handover_event)event, &next);

        if (role_of(state) == HANDOVER_DESTINATION && (actions & HANDOVER_DO_RESUME))
            cr_assert_eq(event, HANDOVER_TORN, "%s, %s", NAMES(state, event));
    }
}

Test(handover, doubt_is_left_only_by_the_operator)
{
    static const int doubts[] = {HANDOVER_S_IN_DOUBT, HANDOVER_D_IN_DOUBT};

    for (int i = 0; i < 2; i++) {
        for (int event = 0; event < HANDOVER_EVENTS; event++) {
            enum handover_state next;

            step((enum handover_state)doubts[i], (enum handover_event)event, &next);
            if (event != HANDOVER_RESOLVE_HERE && event != HANDOVER_RESOLVE_THERE)
                cr_assert_eq((int)next, doubts[i], "%s, %s", NAMES(doubts[i], event));
            else
                cr_assert_neq((int)next, doubts[i]);
        }
    }
}

/* What a hostile or broken peer says cannot do more than a failure of the connection can. */
Test(handover, a_message_out_of_place_is_a_failure)
{
    int n_errors = 0;

    FOR_EACH_PAIR(state, event)
    {
        enum handover_state next, failed;
        uint32_t actions = step((enum handover_state)state, (enum handover_event)event, &next);

        if (!(actions & HANDOVER_PROTOCOL_ERROR))
            continue;
        n_errors++;
        cr_assert_eq(actions & ~(uint32_t)HANDOVER_PROTOCOL_ERROR,
                     step((enum handover_state)state, HANDOVER_FAILED, &failed), "%s, %s", NAMES(state, event));
        cr_assert_eq(next, failed, "%s, %s", NAMES(state, event));
    }
    cr_assert_gt(n_errors, 50);
}

Test(handover, before_commit_every_failure_leaves_the_guest_at_the_source)
{
    static const enum handover_event failures[] = {HANDOVER_CANCEL,      HANDOVER_FAILED,      HANDOVER_TIMEOUT,
                                                   HANDOVER_HEARD_ABORT, HANDOVER_LINK_CLOSED, HANDOVER_LINK_LOST};

    for (int state = HANDOVER_S_ACTIVE; state <= HANDOVER_S_PREPARED; state++) {
        struct handover h = {HANDOVER_SOURCE, (enum handover_state)state};

        cr_assert(handover_can_cancel(&h));
        for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
            uint32_t actions;

            h.state = (enum handover_state)state;
            actions = handover_step(&h, failures[i]);
            if (state != HANDOVER_S_ACTIVE) {
                cr_assert(actions & HANDOVER_DO_RESUME, "%s, %s", NAMES(state, failures[i]));
                handover_step(&h, HANDOVER_RESUMED);
            }
            cr_assert_eq(h.state, HANDOVER_S_RUNS_ON, "%s, %s", NAMES(state, failures[i]));
            cr_assert_eq(handover_verdict(&h), HANDOVER_NOT);
        }
    }
}

Test(handover, a_lost_ready_is_told_later)
{
    struct handover h = {HANDOVER_SOURCE, HANDOVER_S_PREPARED};

    cr_assert(handover_step(&h, HANDOVER_LINK_LOST) & HANDOVER_DO_TELL);
    handover_step(&h, HANDOVER_RESUMED);
    cr_assert_eq(handover_step(&h, HANDOVER_RECONNECTED), HANDOVER_SEND_QUERY);
    cr_assert_eq(handover_step(&h, HANDOVER_HEARD_READY), HANDOVER_SEND_ABORT);
    cr_assert_eq(handover_step(&h, HANDOVER_HEARD_GONE), HANDOVER_DO_CLOSE);
    cr_assert_eq(h.state, HANDOVER_S_RUNS_ON);
}
