/* SPDX-License-Identifier: BSD-2-Clause */
/* Phase 2: rounds of dirty pages while the guest runs, until the rest fits the downtime that was asked for. */
#include <errno.h>
#include <stdio.h>

#include "migrate/dirty/uffd.h"
#include "migrate/source.h"
#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PUMP_MS       100
#define TUNE_MS       150 /* the probe, with what runs over within 200 */
#define PROGRESS_NS   (200 * NS_PER_MS)
#define PATIENCE_NS   (10 * NS_PER_S)  /* for the last round's acknowledgement, beside what was predicted */
#define PREDICTED_MAX (600 * NS_PER_S) /* of the prediction that counts */

/* ---- one round ---- */

static void report_progress(struct source *source, uint64_t dirty_pages, uint64_t begin_ns)
{
    struct round_stats stats = rounds_stats(source->rounds);
    uint64_t ns = clock_now_ns() - begin_ns;
    struct tern_event event = {
        .kind = TERN_EVENT_PROGRESS,
        .round = source->round,
        .bytes_sent = source->result.bytes_sent + stats.bytes,
        .pages_sent = source->result.pages_sent + stats.pages,
        .zero_pages = source->result.zero_pages + stats.zero_pages,
        .bytes_left = dirty_pages > stats.done_pages ? (dirty_pages - stats.done_pages) * TERN_PAGE_BYTES : 0,
        .round_bytes = stats.bytes,
        .round_ns = ns,
        .rate_bps = ns ? (uint64_t)((double)stats.bytes * 8e9 / (double)ns) : 0,
        .dirty_pages_ps = estimate_dirty_pages_ps(&source->estimate),
        .predicted_downtime_ns = source->predicted_ns,
        .throttle_percent = source->converge.throttle_percent,
    };

    events_send(&source->events, &event);
}

static uint64_t elapsed_ns(const struct source *source)
{
    return clock_now_ns() - source->start_ns;
}

/* Within a round of pre-copy: at the deadline the policy decides at once. */
static int check_deadline(struct source *source, uint64_t dirty_pages, struct tern_error *error)
{
    uint64_t done = rounds_stats(source->rounds).done_pages;
    uint64_t unsent = dirty_pages > done ? (dirty_pages - done) * TERN_PAGE_BYTES : 0;
    struct converge_decision decision;

    if (source->overdue || source->handover.state != HANDOVER_S_ACTIVE ||
        !converge_overdue(&source->converge, elapsed_ns(source), unsent, &decision))
        return 0;
    if (decision.kind == CONVERGE_ABORT)
        return error_set(error, -ETIME, decision.hint, "%s", decision.text);
    events_warning(&source->events, "%s", decision.text);
    source->overdue = true;
    rounds_cut_short(source->rounds);
    return 0;
}

static int await_workers(struct source *source, uint64_t dirty_pages, struct tern_error *error)
{
    uint64_t begin_ns = clock_now_ns(), report_ns = begin_ns + PROGRESS_NS;
    int result, r;

    while (!rounds_ended(source->rounds, &result, error)) {
        r = source_pump(source, PUMP_MS, error);
        if (r && r != -ETIMEDOUT)
            return r;
        r = check_deadline(source, dirty_pages, error);
        if (r)
            return r;
        source_tend_lanes(source);
        if (clock_now_ns() >= report_ns) {
            report_progress(source, dirty_pages, begin_ns);
            report_ns += PROGRESS_NS;
        }
    }
    return result;
}

static int end_round(struct source *source, bool last, struct tern_error *error)
{
    struct wire_round_end end = {.round = source->round, .last = last};

    if (last && source->guest.verify) {
        end.n_digests = source->guest.n_regions;
        for (uint32_t i = 0; i < end.n_digests; i++)
            end.digests[i] = digest_table_root(&source->guest.regions[i].digests);
    }
    return source_send(source, WIRE_ROUND_END, wire_put_round_end(source->message, &end), error);
}

static int await_ack(struct source *source, uint64_t patience_ns, struct tern_error *error)
{
    uint64_t deadline_ns = clock_now_ns() + patience_ns;
    int r = 0;

    while ((!r || r == -ETIMEDOUT) && source->inbox.round_ack.round != source->round) {
        if (patience_ns && !clock_left_ms(deadline_ns))
            return error_set(error, -ETIMEDOUT, "look at the destination's own messages",
                             "the destination did not acknowledge the last round within %u s",
                             (unsigned int)(patience_ns / NS_PER_S));
        r = source_pump(source, PUMP_MS, error);
    }
    return r == -ETIMEDOUT ? 0 : r;
}

/* The guest stands still, and a destination may live and yet get nowhere: longer than this is not waited for it. */
static uint64_t patience_ns(const struct source *source, uint64_t sent_bytes)
{
    uint64_t predicted_ns = estimate_downtime_ns(&source->estimate, sent_bytes);

    return PATIENCE_NS + 2 * (predicted_ns < PREDICTED_MAX ? predicted_ns : PREDICTED_MAX);
}

/* returns 1: lanes were lost on the way, and what they had not brought over is dirty */
static int send_round(struct source *source, bool last, uint64_t *written_ns, struct tern_error *error)
{
    uint64_t dirty_pages = last ? 0 : guest_count_dirty(&source->guest), lost;
    struct round_stats stats;
    int r = last ? 0 : source_take_lanes_back(source, error);

    if (r)
        return r;
    source->round++;
    rounds_start(source->rounds, source->round);
    r = await_workers(source, dirty_pages, error);
    if (written_ns)
        *written_ns = clock_now_ns();
    stats = rounds_stats(source->rounds);
    source->result.bytes_sent += stats.bytes;
    source->result.pages_sent += stats.pages;
    source->result.zero_pages += stats.zero_pages;
    lost = r ? 0 : rounds_lost(source->rounds);
    if (lost)
        r = source_lose_lanes(source, lost, error);
    if (!r)
        r = end_round(source, last && !lost, error);
    if (!r)
        r = await_ack(source, last ? patience_ns(source, stats.bytes) : 0, error);
    return r ? r : lost != 0;
}

int source_round(struct source *source, bool last, uint64_t *written_ns, struct tern_error *error)
{
    int r;

    do {
        r = send_round(source, last, written_ns, error);
    } while (r == 1 && last); /* in pre-copy the next round sends it; a lane is lost once, so this ends */
    return r < 0 ? r : 0;
}

/* ---- from round to round ---- */

/* The probe needs the device state's first chunk; it goes on while the tracker starts. */
static int start_tuning(struct source *source, struct tern_error *error)
{
    struct tern_options *options = &source->options;
    uint32_t region = source->vm->n_regions;
    int r;

    if (!source->provider->tune)
        return 0;
    r = source_want(source, region, 0, error);
    while ((r >= 0 || r == -ETIMEDOUT) && !chunks_ready(source->chunks, region, 0))
        r = source_pump(source, PUMP_MS, error);
    if (r < 0 && r != -ETIMEDOUT)
        return r;
    source->tuner = (struct tuner){.provider = source->provider,
                                   .link = source->link,
                                   .region = region,
                                   .budget_ms = TUNE_MS,
                                   .given = {.write_bytes = options->write_bytes,
                                             .queue_depth = options->queue_depth,
                                             .signal_every = options->signal_every}};
    tuner_start(&source->tuner);
    return 0;
}

static void end_tuning(struct source *source)
{
    const struct link_tuning *chosen = &source->tuner.chosen;

    tuner_join(&source->tuner);
    source->result.write_bytes = chosen->write_bytes;
    source->result.queue_depth = chosen->queue_depth;
    source->result.signal_every = chosen->signal_every;
    source->result.tune_samples = chosen->n_samples;
    source->result.tune_ns = chosen->ns;
}

static int start(struct source *source, struct tern_error *error)
{
    const struct tern_vm *vm = source->vm;
    struct rounds_config config = {.provider = source->provider,
                                   .link = source->link,
                                   .control = source->control,
                                   .guest = &source->guest,
                                   .tracker = &vm->tracker,
                                   .pacer = &source->pacer,
                                   .chunks = source->chunks,
                                   .chunk_bytes = source->chunk_bytes,
                                   .n_lanes = source->link_options.n_lanes,
                                   .locality = source->locality,
                                   .want = source_want,
                                   .over = source_round_is_over,
                                   .opaque = source};
    struct rounds *rounds;
    int r = 0;

    r = start_tuning(source, error);
    if (!r && uffd_keeps_from_pinning(&vm->tracker))
        r = source_register_all(source, error);
    if (!r)
        r = VM_ASK(vm->tracker.ops->start(vm->tracker.self, error), "tracker.start", TERN_SIDE_SOURCE, error);
    source->tracking = !r;
    if (!r)
        r = guest_mark_touched(&source->guest, &vm->tracker, error);
    if (!r)
        r = source_want_touched(source, error);
    end_tuning(source);
    if (!r)
        r = rounds_create(&config, &rounds, error);
    if (r)
        return r;
    pthread_mutex_lock(&source->lock);
    source->rounds = rounds;
    pthread_mutex_unlock(&source->lock);
    snprintf(source->result.tracker, sizeof(source->result.tracker), "%s", vm->tracker.ops->name);
    return 0;
}

/* What one round told, for the estimates; the dirty bitmaps are those of the next one then. */
static int measure(struct source *source, uint64_t begin_ns, uint64_t bytes_before, uint64_t *left_bytes,
                   struct tern_error *error)
{
    uint64_t acked_ns = clock_now_ns(), unsent = guest_count_dirty(&source->guest);
    struct estimate_round round = {.sent_bytes = source->result.bytes_sent - bytes_before,
                                   .send_ns = acked_ns - begin_ns};
    uint64_t now_ns;
    int r = guest_fetch(&source->guest, &source->vm->tracker, error);

    if (r)
        return r;
    now_ns = clock_now_ns();
    *left_bytes = guest_count_dirty(&source->guest);
    round.dirtied_pages = *left_bytes > unsent ? *left_bytes - unsent : 0;
    *left_bytes *= TERN_PAGE_BYTES;
    round.dirty_ns = now_ns - source->fetched_ns;
    round.scan_ns = now_ns - acked_ns;
    source->fetched_ns = now_ns;
    estimate_add_round(&source->estimate, &round);
    if (!round.sent_bytes && source->round > 1 && !source->guest.verify)
        estimate_add_round_trip(&source->estimate, round.send_ns);
    if (source->guest.verify)
        estimate_set_digest(&source->estimate, source->inbox.round_ack.backlog_pages,
                            source->inbox.round_ack.digest_pages_ps);
    if (source->round == 1 && round.send_ns)
        source->result.first_round_bps = (uint64_t)((double)round.sent_bytes * 8e9 / (double)round.send_ns);
    return 0;
}

static void report_round(struct source *source, uint64_t begin_ns, uint64_t bytes_before, uint64_t left_bytes)
{
    uint64_t ns = clock_now_ns() - begin_ns, bytes = source->result.bytes_sent - bytes_before;
    struct tern_event event = {
        .kind = TERN_EVENT_ROUND,
        .round = source->round,
        .bytes_sent = source->result.bytes_sent,
        .pages_sent = source->result.pages_sent,
        .zero_pages = source->result.zero_pages,
        .bytes_left = left_bytes,
        .round_bytes = bytes,
        .round_ns = ns,
        .rate_bps = ns ? (uint64_t)((double)bytes * 8e9 / (double)ns) : 0,
        .dirty_pages_ps = estimate_dirty_pages_ps(&source->estimate),
        .predicted_downtime_ns = source->predicted_ns,
        .throttle_percent = source->converge.throttle_percent,
    };

    events_send(&source->events, &event);
}

static void decide(struct source *source, uint64_t left_bytes, struct converge_decision *decision)
{
    struct converge_round round = {
        .round = source->round,
        .elapsed_ns = elapsed_ns(source),
        .left_bytes = left_bytes,
        .page_bytes = TERN_PAGE_BYTES,
        .bytes_ps = estimate_bytes_ps(&source->estimate),
        .dirty_pages_ps = estimate_dirty_pages_ps(&source->estimate),
        .downtime_ns = source->predicted_ns,
        .fixed_ns = estimate_fixed_ns(&source->estimate),
        .backlog_ns = estimate_backlog_ns(&source->estimate),
        .digest_ns = estimate_digest_ns(&source->estimate, left_bytes),
        .round_ns = estimate_round_ns(&source->estimate, left_bytes),
    };

    converge_decide(&source->converge, &round, decision);
}

static int settle(struct source *source, uint64_t ns, struct tern_error *error)
{
    uint64_t until_ns = clock_now_ns() + ns;
    int r = 0;

    while ((!r || r == -ETIMEDOUT) && clock_left_ms(until_ns)) {
        source_tend_lanes(source);
        r = source_pump(source, clock_left_ms(until_ns), error);
    }
    return r == -ETIMEDOUT ? 0 : r;
}

static int throttle(struct source *source, uint32_t percent, struct tern_error *error)
{
    source->throttled = true;
    return VM_ASK(source->vm->throttle(source->vm->opaque, percent, error), "throttle", TERN_SIDE_SOURCE, error);
}

/* One round and what follows from it. returns 1 when it is time to switch over */
static int step(struct source *source, struct tern_error *error)
{
    uint64_t begin_ns = clock_now_ns(), bytes_before = source->result.bytes_sent, left_bytes;
    struct converge_decision decision;
    int r = source_round(source, false, NULL, error);

    if (!r)
        r = measure(source, begin_ns, bytes_before, &left_bytes, error);
    if (r)
        return r;
    source->predicted_ns = estimate_downtime_ns(&source->estimate, left_bytes);
    decide(source, left_bytes, &decision);
    report_round(source, begin_ns, bytes_before, left_bytes);
    if (decision.kind == CONVERGE_ABORT)
        return error_set(error, -ETIME, decision.hint, "%s", decision.text);
    if (decision.text[0])
        events_warning(&source->events, "%s", decision.text);
    if (decision.kind == CONVERGE_THROTTLE)
        r = throttle(source, decision.throttle_percent, error);
    if (!r && decision.settle_ns)
        r = settle(source, decision.settle_ns, error);
    return r ? r : decision.kind == CONVERGE_SWITCH_OVER || source->overdue;
}

int source_precopy(struct source *source, struct tern_error *error)
{
    struct converge_options options = {.downtime_limit_ns = source->options.downtime_limit_ns,
                                       .deadline_ns = source->options.deadline_ns,
                                       .on_no_converge = source->options.on_no_converge,
                                       .can_throttle = source->vm->throttle != NULL};
    int r;

    events_phase(&source->events, TERN_PHASE_PRE_COPY);
    converge_init(&source->converge, &options);
    estimate_init(&source->estimate, TERN_PAGE_BYTES);
    source->estimate.limit_bytes_ps = source->options.bandwidth_bps / 8;
    source->fetched_ns = clock_now_ns();
    r = start(source, error);
    source->first_page_ns = clock_now_ns();
    while (!r)
        r = step(source, error);
    source_end_tries(source);
    if (r == 1 && source->guest.verify)
        for (uint32_t i = 0; i < source->guest.n_regions; i++) /* so that the last time is cheap */
            digest_table_root(&source->guest.regions[i].digests);
    return r == 1 ? 0 : r;
}
