/* SPDX-License-Identifier: BSD-2-Clause */
/* How long a write is best, how many of them under way, and one completion in how many: measured for a moment on one
 * lane, into memory of the destination that will be written anew. The decision is pure.
 *
 * How many lanes is not probed. Between two lab hosts one, two and four lanes carried 191, 337 and 338 Mb/s in 2 s, but
 * in 20 ms, which is what a sample can have, anything from 74 to 512, 257 to 721 and 179 to 501 (twelve times each):
 * that would be a throw of dice. And a lane has a worker that looks for zero pages and takes digests, of which writes
 * show nothing. So a rule chooses (migrate/source_initiate.c), and --lanes overrides it. */
#include <errno.h>

#include "transport/clock.h"
#include "transport/verbs/verbs.h"

#define SAMPLES      8u
#define SLICES       10u /* of the budget: the samples, the first look, and what runs over */
#define FIRST_BYTES  (256u << 10)
#define WRITES_MIN   4u /* a sample of fewer tells nothing */
#define NEAR_PERCENT 95u
#define WAIT_MS      200
#define WRITE_SIZES  3u
#define WINDOWS      3u
#define BATCH        32u /* runs posted at once, as a worker does: one by one, each would be signalled */

/* ---- the decision ---- */

static uint64_t rate_of(const struct verbs_sample *sample)
{
    return sample->ns ? (uint64_t)((double)sample->bytes * 1e9 / (double)sample->ns) : 0;
}

static bool is_lighter(const struct verbs_sample *a, const struct verbs_sample *b)
{
    uint64_t under_way_a = (uint64_t)a->write_bytes * a->depth, under_way_b = (uint64_t)b->write_bytes * b->depth;

    return under_way_a < under_way_b || (under_way_a == under_way_b && a->signal_every > b->signal_every);
}

const struct verbs_sample *verbs_tune_choose(const struct verbs_sample *samples, uint32_t n)
{
    const struct verbs_sample *choice = NULL;
    uint64_t best = 0;

    for (uint32_t i = 0; i < n; i++)
        if (rate_of(&samples[i]) > best)
            best = rate_of(&samples[i]);
    for (uint32_t i = 0; i < n && best; i++) {
        bool near = rate_of(&samples[i]) >= best / 100 * NEAR_PERCENT;

        if (near && (!choice || is_lighter(&samples[i], choice)))
            choice = &samples[i];
    }
    return choice;
}

uint64_t verbs_tune_volume(uint64_t bytes_ps, uint64_t slice_ns, uint32_t write_bytes)
{
    uint64_t volume = (uint64_t)((double)bytes_ps * (double)slice_ns / 1e9);

    volume -= volume % write_bytes;
    return volume / write_bytes < WRITES_MIN ? 0 : volume;
}

/* ---- the measurement ---- */

struct probe {
    struct link_source *source;
    uint32_t region;
    uint64_t length_bytes;
    uint64_t slice_ns, bytes_ps;
    struct verbs_sample samples[SAMPLES];
    uint32_t n;
};

/* A batch of runs from `at` on, over and over the same memory. */
static uint32_t make_batch(const struct probe *probe, uint32_t write_bytes, uint64_t volume, uint64_t *at,
                           struct link_run runs[BATCH])
{
    uint32_t n = 0;

    for (; n < BATCH && (uint64_t)n * write_bytes < volume; n++) {
        runs[n] = (struct link_run){probe->region, *at, write_bytes};
        *at = *at + 2ull * write_bytes <= probe->length_bytes ? *at + write_bytes : 0;
    }
    return n;
}

/* All of a batch; room is waited for. returns 0 or -errno */
static int post_batch(struct probe *probe, const struct link_run *runs, uint32_t n)
{
    int r = 0;

    for (uint32_t posted = 0; posted < n && r >= 0; posted += r > 0 ? (uint32_t)r : 0) {
        r = verbs_post(probe->source, 0, runs + posted, n - posted, NULL);
        if (!r)
            r = verbs_wait(probe->source, 0, LINK_WAIT_ROOM, WAIT_MS, NULL);
    }
    return r < 0 ? r : 0;
}

/* volume bytes in writes of one size, until all have completed. */
static int write_volume(struct probe *probe, struct verbs_sample *sample, uint64_t volume)
{
    struct verbs_lane *lane = &probe->source->lanes[0];
    uint64_t begin_ns = clock_now_ns(), at = 0;
    struct link_run runs[BATCH];
    int r = 0;

    lane->window = sample->depth;
    lane->signal_every = sample->signal_every;
    probe->source->write_bytes_max = sample->write_bytes;
    for (sample->bytes = 0; sample->bytes < volume && !r;) {
        uint32_t n = make_batch(probe, sample->write_bytes, volume - sample->bytes, &at, runs);

        r = post_batch(probe, runs, n);
        sample->bytes += (uint64_t)n * sample->write_bytes;
    }
    if (!r)
        r = verbs_wait(probe->source, 0, LINK_WAIT_DRAINED, WAIT_MS, NULL);
    sample->ns = clock_now_ns() - begin_ns;
    return r;
}

/* Writes of a sample. 0: too few to tell anything */
static uint64_t writes_in_a_slice(const struct probe *probe, uint32_t write_bytes)
{
    return verbs_tune_volume(probe->bytes_ps, probe->slice_ns, write_bytes) / write_bytes;
}

static int measure(struct probe *probe, uint32_t write_bytes, uint32_t depth, uint32_t signal_every)
{
    struct verbs_sample *sample = &probe->samples[probe->n];
    uint64_t volume = writes_in_a_slice(probe, write_bytes) * write_bytes;
    int r;

    if (!volume || write_bytes > probe->length_bytes || probe->n == SAMPLES)
        return 0;
    *sample = (struct verbs_sample){.write_bytes = write_bytes, .depth = depth, .signal_every = signal_every};
    r = write_volume(probe, sample, volume);
    probe->n += !r;
    return r;
}

/* Until it is measured: a quarter of the queue, so that room comes back in good time and completions stay few. */
static uint32_t signal_for(const struct link_tuning *given, uint32_t depth)
{
    uint32_t signal_every = given->signal_every ? given->signal_every : depth / 4;

    return signal_every > depth ? depth : signal_every ? signal_every : 1;
}

/* Twice as many completions, and half as many, beside what the best so far was measured with. */
static int measure_signals(struct probe *probe, const struct link_tuning *given, struct verbs_sample best)
{
    int r = 0;

    if (given->signal_every || best.depth < 8 || writes_in_a_slice(probe, best.write_bytes) < 2ull * best.depth)
        return 0;
    r = measure(probe, best.write_bytes, best.depth, best.depth / 8);
    return r ? r : measure(probe, best.write_bytes, best.depth, best.depth / 2);
}

static int probe_all(struct probe *probe, const struct link_tuning *given)
{
    static const uint32_t sizes[WRITE_SIZES] = {64u << 10, 256u << 10, 1u << 20};
    static const uint32_t windows[WINDOWS] = {16, 32, 64};
    struct verbs_sample first = {.write_bytes = sizes[0], .depth = 4, .signal_every = 1};
    uint32_t depth = probe->source->lanes[0].window, write_bytes;
    const struct verbs_sample *best;
    int r = write_volume(probe, &first, FIRST_BYTES); /* cold: it tells nothing */

    if (!r)
        r = write_volume(probe, &first, FIRST_BYTES);
    probe->bytes_ps = rate_of(&first);
    for (uint32_t i = 0; i < WRITE_SIZES && !r && !given->write_bytes; i++)
        r = measure(probe, sizes[i], depth, signal_for(given, depth));
    best = verbs_tune_choose(probe->samples, probe->n);
    write_bytes = given->write_bytes ? given->write_bytes : best ? best->write_bytes : 0;
    for (uint32_t i = 0; i < WINDOWS && !r && !given->queue_depth && write_bytes; i++)
        if (windows[i] < depth && writes_in_a_slice(probe, write_bytes) >= 2ull * windows[i])
            r = measure(probe, write_bytes, windows[i], signal_for(given, windows[i])); /* else it fills no window */
    if (!r && !probe->n && write_bytes)
        r = measure(probe, write_bytes, depth, signal_for(given, depth)); /* the signals are compared with something */
    best = verbs_tune_choose(probe->samples, probe->n);
    return r || !best ? r : measure_signals(probe, given, *best);
}

static void apply(struct link_source *source, const struct link_tuning *tuning)
{
    source->write_bytes_max = tuning->write_bytes;
    for (uint32_t i = 0; i < source->n_lanes; i++) {
        source->lanes[i].window = tuning->queue_depth;
        source->lanes[i].signal_every = tuning->signal_every;
    }
}

int verbs_tune(struct link_source *source, uint32_t region, const struct link_tuning *given, uint32_t budget_ms,
               struct link_tuning *out)
{
    const struct verbs_region *memory = &source->regions[region];
    struct probe probe = {.source = source,
                          .region = region,
                          .length_bytes =
                              memory->length_bytes < source->chunk_bytes ? memory->length_bytes : source->chunk_bytes,
                          .slice_ns = budget_ms * NS_PER_MS / SLICES};
    struct link_tuning tuning = *given;
    const struct verbs_sample *best;
    uint64_t begin_ns = clock_now_ns();
    uint32_t depth = source->lanes[0].depth;
    bool all_given = given->write_bytes && given->queue_depth && given->signal_every;
    int r = 0;

    if (!tuning.queue_depth || tuning.queue_depth > depth)
        tuning.queue_depth = depth;
    if (!tuning.write_bytes)
        tuning.write_bytes = VERBS_WRITE_BYTES_MAX;
    source->lanes[0].window = tuning.queue_depth;
    if (budget_ms && !all_given && memory->keys[0].address && !memory->through_ring[0])
        r = probe_all(&probe, given);
    best = probe.n > 1 ? verbs_tune_choose(probe.samples, probe.n) : NULL; /* one alone was compared with nothing */
    if (best && !given->write_bytes)
        tuning.write_bytes = best->write_bytes;
    if (best && !given->queue_depth)
        tuning.queue_depth = best->depth;
    if (best && !given->signal_every)
        tuning.signal_every = best->signal_every;
    tuning.signal_every = signal_for(&tuning, tuning.queue_depth);
    tuning.n_samples = probe.n;
    apply(source, &tuning);
    tuning.ns = clock_now_ns() - begin_ns;
    *out = tuning;
    return r;
}
