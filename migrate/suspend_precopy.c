/* SPDX-License-Identifier: BSD-2-Clause */
/* Rounds of dirty pages into the image while the guest runs, until the rest fits the time that it may stand still. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "migrate/suspend.h"
#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PROGRESS_NS (200 * NS_PER_MS)
#define SLICE_NS    (100 * NS_PER_MS)
#define LANES       2u /* one digests while the other writes; a disk is faster than one thread at both */

static uint64_t rate_bps(uint64_t bytes, uint64_t ns)
{
    return ns ? (uint64_t)((double)bytes * 8e9 / (double)ns) : 0;
}

/* What has been written so far, the running round's stats on top. */
static struct tern_event event_of(const struct suspend *suspend, enum tern_event_kind kind,
                                  const struct round_stats *stats, uint64_t begin_ns)
{
    uint64_t ns = clock_now_ns() - begin_ns;

    return (struct tern_event){
        .kind = kind,
        .round = suspend->round,
        .bytes_sent = suspend->result.bytes_sent,
        .pages_sent = suspend->result.pages_sent,
        .zero_pages = suspend->result.zero_pages,
        .round_bytes = stats->bytes,
        .round_ns = ns,
        .rate_bps = rate_bps(stats->bytes, ns),
        .dirty_pages_ps = estimate_dirty_pages_ps(&suspend->estimate),
        .predicted_downtime_ns = suspend->predicted_ns,
        .throttle_percent = suspend->converge.throttle_percent,
    };
}

/* ---- one round ---- */

static void report_progress(struct suspend *suspend, uint64_t dirty_pages, uint64_t begin_ns)
{
    struct round_stats stats = rounds_stats(suspend->rounds);
    struct tern_event event = event_of(suspend, TERN_EVENT_PROGRESS, &stats, begin_ns);

    event.bytes_sent += stats.bytes;
    event.pages_sent += stats.pages;
    event.zero_pages += stats.zero_pages;
    event.bytes_left = dirty_pages > stats.done_pages ? (dirty_pages - stats.done_pages) * TERN_PAGE_BYTES : 0;
    events_send(&suspend->events, &event);
}

static int check_deadline(struct suspend *suspend, uint64_t dirty_pages, struct tern_error *error)
{
    uint64_t done = rounds_stats(suspend->rounds).done_pages;
    uint64_t unsent = dirty_pages > done ? (dirty_pages - done) * TERN_PAGE_BYTES : 0;
    struct converge_decision decision;

    if (suspend->overdue || suspend->paused ||
        !converge_overdue(&suspend->converge, clock_now_ns() - suspend->start_ns, unsent, &decision))
        return 0;
    if (decision.kind == CONVERGE_ABORT)
        return error_set(error, -ETIME, decision.hint, "%s", decision.text);
    events_warning(&suspend->events, "%s", decision.text);
    suspend->overdue = true;
    rounds_cut_short(suspend->rounds);
    return 0;
}

static int await_workers(struct suspend *suspend, uint64_t dirty_pages, struct tern_error *error)
{
    uint64_t begin_ns = clock_now_ns(), report_ns = begin_ns + PROGRESS_NS;
    int result = 0, r = 0;

    while (!r && !rounds_ended(suspend->rounds, &result, error)) {
        suspend_rest(suspend, SLICE_NS);
        r = suspend_cancelled(suspend, error);
        if (!r)
            r = check_deadline(suspend, dirty_pages, error);
        if (clock_now_ns() >= report_ns) {
            report_progress(suspend, dirty_pages, begin_ns);
            report_ns += PROGRESS_NS;
        }
    }
    return r ? r : result;
}

int suspend_round(struct suspend *suspend, bool last, struct tern_error *error)
{
    uint64_t dirty_pages = last ? 0 : guest_count_dirty(&suspend->guest);
    struct round_stats stats;
    int r;

    suspend->round++;
    rounds_start(suspend->rounds, suspend->round);
    r = await_workers(suspend, dirty_pages, error);
    stats = rounds_stats(suspend->rounds);
    suspend->result.bytes_sent += stats.bytes;
    suspend->result.pages_sent += stats.pages;
    suspend->result.zero_pages += stats.zero_pages;
    return r;
}

/* ---- from round to round ---- */

static int start(struct suspend *suspend, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;
    struct rounds_config config = {.provider = &link_file,
                                   .guest = &suspend->guest,
                                   .tracker = &vm->tracker,
                                   .pacer = &suspend->pacer,
                                   .chunk_bytes = LINK_CHUNK_BYTES_DEFAULT,
                                   .n_lanes = suspend->options.lanes ? suspend->options.lanes : LANES,
                                   .over = suspend_wake,
                                   .opaque = suspend};
    int r = file_link_open(suspend->writer.bulk_fd, suspend->writer.partial, suspend->regions, vm->n_regions,
                           config.n_lanes, &suspend->link, error);

    if (r)
        return r;
    config.link = suspend->link;
    suspend->result.lanes = config.n_lanes;
    suspend->events.device = link_file.source_device(suspend->link);
    r = file_link_without_ring(suspend->link);
    if (r)
        events_warning(&suspend->events, "the kernel gives no io_uring (%s): the image is written more slowly",
                       strerrordesc_np(r));
    r = VM_ASK(vm->tracker.ops->start(vm->tracker.self, error), "tracker.start", TERN_SIDE_SOURCE, error);
    suspend->tracking = !r;
    suspend->fetched_ns = clock_now_ns();
    if (!r)
        r = guest_mark_touched(&suspend->guest, &vm->tracker, error);
    if (!r)
        r = rounds_create(&config, &suspend->rounds, error);
    snprintf(suspend->result.tracker, sizeof(suspend->result.tracker), "%s", vm->tracker.ops->name);
    return r;
}

/* What the round told; the dirty bitmaps are those of the next one then. What it wrote is synced while the guest runs,
 * so that little is left to sync when it stands still; how long that takes is what an answer is from a peer. */
static int measure(struct suspend *suspend, uint64_t begin_ns, uint64_t bytes, uint64_t *left_bytes,
                   struct tern_error *error)
{
    uint64_t written_ns = clock_now_ns(), unsent = guest_count_dirty(&suspend->guest), synced_ns, now_ns;
    struct estimate_round round = {.sent_bytes = bytes};
    int r = image_writer_sync(&suspend->writer, suspend->head.file_bytes, &suspend->cancelled, error);

    synced_ns = clock_now_ns();
    if (!r)
        r = guest_fetch(&suspend->guest, &suspend->vm->tracker, error);
    if (r)
        return r;
    now_ns = clock_now_ns();
    *left_bytes = guest_count_dirty(&suspend->guest);
    round.send_ns = synced_ns - begin_ns;
    round.dirtied_pages = *left_bytes > unsent ? *left_bytes - unsent : 0;
    *left_bytes *= TERN_PAGE_BYTES;
    round.dirty_ns = now_ns - suspend->fetched_ns;
    round.scan_ns = now_ns - synced_ns;
    suspend->fetched_ns = now_ns;
    estimate_add_round(&suspend->estimate, &round);
    if (suspend->round > 1)
        estimate_add_round_trip(&suspend->estimate, synced_ns - written_ns);
    if (suspend->round == 1)
        suspend->result.first_round_bps = rate_bps(bytes, round.send_ns);
    return 0;
}

static void report_round(struct suspend *suspend, uint64_t begin_ns, uint64_t left_bytes)
{
    struct round_stats stats = rounds_stats(suspend->rounds);
    struct tern_event event = event_of(suspend, TERN_EVENT_ROUND, &stats, begin_ns);

    event.bytes_left = left_bytes;
    events_send(&suspend->events, &event);
}

static void decide(struct suspend *suspend, uint64_t left_bytes, struct converge_decision *decision)
{
    const struct estimate *estimate = &suspend->estimate;
    struct converge_round round = {
        .round = suspend->round,
        .elapsed_ns = clock_now_ns() - suspend->start_ns,
        .left_bytes = left_bytes,
        .page_bytes = TERN_PAGE_BYTES,
        .bytes_ps = estimate_bytes_ps(estimate),
        .dirty_pages_ps = estimate_dirty_pages_ps(estimate),
        .downtime_ns = suspend->predicted_ns,
        .fixed_ns = estimate_fixed_ns(estimate),
        .round_ns = estimate_round_ns(estimate, left_bytes),
    };

    converge_decide(&suspend->converge, &round, decision);
}

/* One round and what follows from it. returns 1 when it is time to stop the guest */
static int step(struct suspend *suspend, struct tern_error *error)
{
    uint64_t begin_ns = clock_now_ns(), before = suspend->result.bytes_sent, left_bytes;
    struct converge_decision decision;
    int r = suspend_round(suspend, false, error);

    if (!r)
        r = measure(suspend, begin_ns, suspend->result.bytes_sent - before, &left_bytes, error);
    if (r)
        return r;
    suspend->predicted_ns = estimate_downtime_ns(&suspend->estimate, left_bytes);
    decide(suspend, left_bytes, &decision);
    report_round(suspend, begin_ns, left_bytes);
    if (decision.kind == CONVERGE_ABORT)
        return error_set(error, -ETIME, decision.hint, "%s", decision.text);
    if (decision.text[0])
        events_warning(&suspend->events, "%s", decision.text);
    if (decision.kind == CONVERGE_THROTTLE) {
        suspend->throttled = true;
        r = VM_ASK(suspend->vm->throttle(suspend->vm->opaque, decision.throttle_percent, error), "throttle",
                   TERN_SIDE_SOURCE, error);
    }
    if (!r && decision.settle_ns)
        suspend_rest(suspend, decision.settle_ns);
    return r ? r : decision.kind == CONVERGE_SWITCH_OVER || suspend->overdue;
}

int suspend_precopy(struct suspend *suspend, struct tern_error *error)
{
    struct converge_options options = {.downtime_limit_ns = suspend->options.downtime_limit_ns,
                                       .deadline_ns = suspend->options.deadline_ns,
                                       .on_no_converge = suspend->options.on_no_converge,
                                       .can_throttle = suspend->vm->throttle != NULL};
    int r;

    events_phase(&suspend->events, TERN_PHASE_PRE_COPY);
    converge_init(&suspend->converge, &options);
    estimate_init(&suspend->estimate, TERN_PAGE_BYTES);
    suspend->estimate.limit_bytes_ps = suspend->options.bandwidth_bps / 8;
    r = start(suspend, error);
    suspend->first_page_ns = clock_now_ns();
    while (!r)
        r = step(suspend, error);
    return r == 1 ? 0 : r;
}
