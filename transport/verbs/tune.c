/* SPDX-License-Identifier: BSD-2-Clause */
/* How long a write is best, and how many of them under way: measured for a moment on one lane, into memory of the
 * destination that will be written anew. The decision is pure. */
#include <errno.h>

#include "transport/clock.h"
#include "transport/verbs/verbs.h"

#define SAMPLES      6u
#define SLICES       8u /* of the budget: the samples, the first look, and what runs over */
#define FIRST_BYTES  (256u << 10)
#define WRITES_MIN   4u /* a sample of fewer tells nothing */
#define NEAR_PERCENT 95u
#define WAIT_MS      200
#define WRITE_SIZES  3u
#define WINDOWS      3u

/* ---- the decision ---- */

static uint64_t rate_of(const struct verbs_sample *sample)
{
    return sample->ns ? (uint64_t)((double)sample->bytes * 1e9 / (double)sample->ns) : 0;
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

        if (near && (!choice || (uint64_t)samples[i].write_bytes * samples[i].depth <
                                    (uint64_t)choice->write_bytes * choice->depth))
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

/* volume bytes in writes of one size, over and over the same memory, until all have completed. */
static int write_volume(struct probe *probe, struct verbs_sample *sample, uint64_t volume)
{
    struct verbs_lane *lane = &probe->source->lanes[0];
    uint64_t begin_ns = clock_now_ns(), at = 0;
    int r = 0;

    lane->window = sample->depth;
    probe->source->write_bytes_max = sample->write_bytes;
    for (sample->bytes = 0; sample->bytes < volume && r >= 0; sample->bytes += r > 0 ? sample->write_bytes : 0) {
        struct link_run run = {probe->region, at, sample->write_bytes};

        r = verbs_post(probe->source, 0, &run, 1, NULL);
        if (!r)
            r = verbs_wait(probe->source, 0, LINK_WAIT_ROOM, WAIT_MS, NULL);
        else
            at = at + 2ull * sample->write_bytes <= probe->length_bytes ? at + sample->write_bytes : 0;
    }
    if (r >= 0)
        r = verbs_wait(probe->source, 0, LINK_WAIT_DRAINED, WAIT_MS, NULL);
    sample->ns = clock_now_ns() - begin_ns;
    return r < 0 ? r : 0;
}

static int measure(struct probe *probe, uint32_t write_bytes, uint32_t depth)
{
    struct verbs_sample *sample = &probe->samples[probe->n];
    uint64_t volume = verbs_tune_volume(probe->bytes_ps, probe->slice_ns, write_bytes);
    int r;

    if (!volume || write_bytes > probe->length_bytes || probe->n == SAMPLES)
        return 0;
    *sample = (struct verbs_sample){.write_bytes = write_bytes, .depth = depth};
    r = write_volume(probe, sample, volume);
    probe->n += !r;
    return r;
}

static int probe_all(struct probe *probe, const struct link_tuning *given)
{
    static const uint32_t sizes[WRITE_SIZES] = {64u << 10, 256u << 10, 1u << 20};
    static const uint32_t windows[WINDOWS] = {16, 32, 64};
    struct verbs_sample first = {.write_bytes = sizes[0], .depth = 4};
    uint32_t depth = probe->source->lanes[0].window, write_bytes;
    const struct verbs_sample *best;
    int r = write_volume(probe, &first, FIRST_BYTES); /* cold: it tells nothing */

    if (!r)
        r = write_volume(probe, &first, FIRST_BYTES);
    probe->bytes_ps = rate_of(&first);
    for (uint32_t i = 0; i < WRITE_SIZES && !r && !given->write_bytes; i++)
        r = measure(probe, sizes[i], depth);
    best = verbs_tune_choose(probe->samples, probe->n);
    write_bytes = given->write_bytes ? given->write_bytes : best ? best->write_bytes : 0;
    for (uint32_t i = 0; i < WINDOWS && !r && !given->queue_depth && write_bytes; i++)
        if (windows[i] < depth && verbs_tune_volume(probe->bytes_ps, probe->slice_ns, write_bytes) / write_bytes >=
                                      2ull * windows[i]) /* else it fills no window, and tells nothing of it */
            r = measure(probe, write_bytes, windows[i]);
    return r;
}

/* Signalling: a quarter of the queue, so that room comes back in good time and completions stay few. */
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
    bool both_given = given->write_bytes && given->queue_depth;
    int r = 0;

    if (!tuning.queue_depth || tuning.queue_depth > depth)
        tuning.queue_depth = depth;
    if (!tuning.write_bytes)
        tuning.write_bytes = VERBS_WRITE_BYTES_MAX;
    source->lanes[0].window = tuning.queue_depth;
    if (budget_ms && !both_given && memory->keys[0].address && !memory->through_ring[0])
        r = probe_all(&probe, given);
    best = probe.n > 1 ? verbs_tune_choose(probe.samples, probe.n) : NULL; /* one alone was compared with nothing */
    if (best && !given->write_bytes)
        tuning.write_bytes = best->write_bytes;
    if (best && !given->queue_depth)
        tuning.queue_depth = best->depth;
    if (!tuning.signal_every || tuning.signal_every > tuning.queue_depth)
        tuning.signal_every = tuning.queue_depth < 4 ? 1 : tuning.queue_depth / 4;
    tuning.n_samples = probe.n;
    apply(source, &tuning);
    tuning.ns = clock_now_ns() - begin_ns;
    *out = tuning;
    return r;
}
