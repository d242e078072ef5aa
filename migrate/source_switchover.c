/* SPDX-License-Identifier: BSD-2-Clause */
/* Phases 3 to 5: the guest stands still from here to the end. Everything that can be made ready before, is. */
#include <errno.h>

#include "migrate/digest.h"
#include "migrate/source.h"
#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define SLICE_MS 100

/* Lanes are the session's own between rounds. */
static int lane_wait(struct source *source, uint32_t lane, enum link_wait what, struct tern_error *error)
{
    int r;

    do {
        r = source->provider->wait(source->link, lane, what, SLICE_MS, error);
    } while (r == -ETIMEDOUT && !control_lost(source->control));
    return r;
}

static int await_state_chunks(struct source *source, struct tern_error *error)
{
    uint64_t n_chunks = (source->state_bytes + source->chunk_bytes - 1) / source->chunk_bytes;

    for (uint64_t chunk = 0; source->chunks && chunk < n_chunks; chunk++)
        while (!chunks_ready(source->chunks, source->vm->n_regions, chunk)) {
            int r = source_pump(source, SLICE_MS, error);

            if (r && r != -ETIMEDOUT)
                return r;
        }
    return 0;
}

/* Device state goes over one lane into the destination's buffer, and ends with a fence on every lane. */
static int send_state(struct source *source, struct tern_error *error)
{
    struct link_run run = {.region = source->vm->n_regions};
    uint32_t lane = 0;
    size_t length = 0;
    int r = VM_ASK(
        source->vm->save_state(source->vm->opaque, source->state_buffer, source->state_capacity_bytes, &length, error),
        "save_state", TERN_SIDE_SOURCE, error);

    if (r == -ENOSPC || (!r && length > source->state_capacity_bytes))
        r = error_set(error, -ENOSPC, "raise tern_vm.state_capacity_bytes", "the device state does not fit %llu bytes",
                      (unsigned long long)source->state_capacity_bytes);
    if (r)
        return r;
    source->state_bytes = run.length_bytes = length;
    source->state_digest = digest_bytes(source->state_buffer, length);
    source->round++;
    r = await_state_chunks(source, error);
    while (!lost_lanes_in_use(&source->lost_lanes, lane))
        lane++;
    while (!r && length && (r = source->provider->post(source->link, lane, &run, 1, error)) == 0)
        r = lane_wait(source, lane, LINK_WAIT_ROOM, error);
    r = r > 0 ? 0 : r;
    for (lane = 0; lane < source->link_options.n_lanes && !r; lane++)
        if (lost_lanes_in_use(&source->lost_lanes, lane))
            r = source->provider->fence(source->link, lane, source->round, error);
    for (lane = 0; lane < source->link_options.n_lanes && !r; lane++)
        if (lost_lanes_in_use(&source->lost_lanes, lane))
            r = lane_wait(source, lane, LINK_WAIT_DRAINED, error);
    return r;
}

static int stop_and_copy(struct source *source, struct tern_error *error)
{
    int r = guest_fetch(&source->guest, &source->vm->tracker, error);

    source->at.scanned_ns = clock_now_ns();
    if (!r)
        r = source_round(source, true, &source->at.written_ns, error);
    source->at.fenced_ns = clock_now_ns();
    if (!r)
        r = send_state(source, error);
    return r;
}

/* Each moment is the end of one member and the beginning of the next, so they add up. */
static void fill_ledger(struct source *source)
{
    struct tern_ledger *ledger = &source->result.ledger;

    ledger->stop_ns = source->at.paused_ns - source->at.pause_ns;
    ledger->last_scan_ns = source->at.scanned_ns - source->at.paused_ns;
    ledger->last_write_ns = source->at.written_ns - source->at.scanned_ns;
    ledger->fence_ns = source->at.fenced_ns - source->at.written_ns;
    ledger->state_ns = source->at.prepared_ns - source->at.fenced_ns;
    ledger->commit_ns = source->at.committed_ns - source->at.prepared_ns;
    ledger->activate_ns = source->at.active_ns - source->at.committed_ns;
    source->result.downtime_ns = source->at.active_ns - source->at.pause_ns;
}

static int conclude(struct source *source, struct tern_error *error)
{
    struct tern_error why = *error;

    switch (handover_verdict(&source->handover)) {
    case HANDOVER_MIGRATED:
        source->result.outcome = TERN_OUTCOME_MIGRATED;
        source->result.verified = source->guest.verify;
        fill_ledger(source);
        return 0;
    case HANDOVER_DOUBT:
        source->result.outcome = TERN_OUTCOME_IN_DOUBT;
        return error_set(
            error, -EINPROGRESS, "find out where the guest is, then name its owner with 'tern resolve'",
            "the handover is in doubt: the commit was sent and %s does not answer; the guest is paused here",
            source->result.peer);
    case HANDOVER_HALT:
        error_set(error, -EIO, "look at the VMM's messages; 'tern cont' tries again",
                  "the migration failed (%s) and the guest could not be resumed: %s", why.message,
                  source->failure.message);
        error_side(error, TERN_SIDE_SOURCE);
        return -EIO;
    default:
        if (!error->message[0])
            error_set(error, -EIO, "look at the destination's messages", "the destination could not run the guest");
        return error->code ? error->code : -EIO;
    }
}

int source_switchover(struct source *source, struct tern_error *error)
{
    const struct tern_vm *vm = source->vm;
    int r = 0;

    if (vm->prepare)
        r = VM_ASK(vm->prepare(vm->opaque, error), "prepare", TERN_SIDE_SOURCE, error);
    if (r)
        return r;
    events_phase(&source->events, TERN_PHASE_STOP_AND_COPY);
    source_feed(source, HANDOVER_SWITCH_OVER);
    if (source->handover.state != HANDOVER_S_PAUSED) {
        *error = source->failure;
        return conclude(source, error);
    }
    r = stop_and_copy(source, error);
    if (r)
        return r; /* given up by the caller, as from any other phase */
    events_phase(&source->events, TERN_PHASE_COMMIT);
    source_feed(source, HANDOVER_ALL_SENT);
    source_await_verdict(source);
    *error = source->failure;
    r = conclude(source, error);
    source_tell(source);
    return r;
}

int source_give_up(struct source *source, int code, struct tern_error *error)
{
    enum handover_event event = source_event_of(code, error);

    source->failure = *error;
    source_feed(source, event);
    return handover_verdict(&source->handover) == HANDOVER_HALT ? conclude(source, error) : code;
}
