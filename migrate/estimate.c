/* SPDX-License-Identifier: BSD-2-Clause */
/* See the header. All weights and assumptions are named here, none is tuned to a workload. */
#include "migrate/estimate.h"

#include <string.h>

#define NS_PER_S 1e9

/* A round shorter than this measures latency and scheduling, not bandwidth. */
#define TELLING_NS 2e6
/* ... unless nothing better is known: then this much will do. */
#define TELLING_BYTES 65536.0
/* Time constant of the bandwidth: older rounds count for little after this much sending. */
#define BANDWIDTH_NS 1e9
/* What a peak loses with each new sample. */
#define PEAK_DECAY 0.75

#define ASSUMED_PAUSE_NS      500e3
#define ASSUMED_STATE_NS      1e6
#define ASSUMED_STATE_BYTES   65536u
#define ASSUMED_ACTIVATE_NS   500e3
#define ASSUMED_ROUND_TRIP_NS 200e3

void estimate_init(struct estimate *estimate, uint64_t page_bytes)
{
    memset(estimate, 0, sizeof(*estimate));
    estimate->page_bytes = page_bytes;
    estimate->costs.pause_ns = (uint64_t)ASSUMED_PAUSE_NS;
    estimate->costs.state_ns = (uint64_t)ASSUMED_STATE_NS;
    estimate->costs.state_bytes = ASSUMED_STATE_BYTES;
    estimate->costs.activate_ns = (uint64_t)ASSUMED_ACTIVATE_NS;
}

static uint64_t to_u64(double value)
{
    if (!(value > 0))
        return 0;
    return value >= 0x1p63 ? ESTIMATE_NEVER : (uint64_t)value;
}

/* Up at once, down slowly. */
static void raise_peak(double *peak, double sample)
{
    double decayed = *peak * PEAK_DECAY;

    *peak = sample > decayed ? sample : decayed;
}

static void add_bandwidth(struct estimate *estimate, double bytes, double ns)
{
    double keep;

    if (bytes <= 0 || ns <= 0)
        return;
    if (ns < TELLING_NS && (estimate->last_bytes_ps > 0 || bytes < TELLING_BYTES))
        return;
    keep = ns < BANDWIDTH_NS ? 1 - ns / BANDWIDTH_NS : 0;
    /* A short round still replaces a part: the last one's runs look most like the next one's. */
    if (keep > 0.75)
        keep = 0.75;
    estimate->sum_bytes = estimate->sum_bytes * keep + bytes;
    estimate->sum_ns = estimate->sum_ns * keep + ns;
    estimate->last_bytes_ps = bytes / ns * NS_PER_S;
}

void estimate_add_round(struct estimate *estimate, const struct estimate_round *round)
{
    double rate;

    add_bandwidth(estimate, (double)round->sent_bytes, (double)round->send_ns);
    if (round->dirty_ns > 0) {
        rate = (double)round->dirtied_pages / (double)round->dirty_ns * NS_PER_S;
        estimate->dirty_pages_ps = rate;
        raise_peak(&estimate->peak_dirty_pages_ps, rate);
    }
    raise_peak(&estimate->scan_ns, (double)round->scan_ns);
    estimate->n_rounds++;
}

void estimate_add_round_trip(struct estimate *estimate, uint64_t ns)
{
    raise_peak(&estimate->round_trip_ns, (double)ns);
}

void estimate_set_digest(struct estimate *estimate, uint64_t backlog_pages, uint64_t pages_ps)
{
    estimate->digest_backlog_pages = backlog_pages;
    if (pages_ps > 0)
        estimate->digest_pages_ps = (double)pages_ps;
}

/* The lower of the mean and the last round: a network that has just become slow counts at once. */
static double bytes_ps(const struct estimate *estimate)
{
    double mean;

    if (estimate->sum_ns <= 0)
        return 0;
    mean = estimate->sum_bytes / estimate->sum_ns * NS_PER_S;
    return estimate->last_bytes_ps < mean ? estimate->last_bytes_ps : mean;
}

uint64_t estimate_bytes_ps(const struct estimate *estimate)
{
    return to_u64(bytes_ps(estimate));
}

uint64_t estimate_dirty_pages_ps(const struct estimate *estimate)
{
    return to_u64(estimate->dirty_pages_ps);
}

static double fixed_ns(const struct estimate *estimate)
{
    double trip = estimate->round_trip_ns > 0 ? estimate->round_trip_ns : ASSUMED_ROUND_TRIP_NS;
    double rate = bytes_ps(estimate);
    double ns = (double)estimate->costs.pause_ns + (double)estimate->costs.state_ns +
                (double)estimate->costs.activate_ns + estimate->scan_ns + ESTIMATE_ROUND_TRIPS * trip;

    if (rate > 0)
        ns += (double)estimate->costs.state_bytes / rate * NS_PER_S;
    if (estimate->digest_pages_ps > 0)
        ns += (double)estimate->digest_backlog_pages / estimate->digest_pages_ps * NS_PER_S;
    return ns;
}

uint64_t estimate_fixed_ns(const struct estimate *estimate)
{
    return to_u64(fixed_ns(estimate));
}

uint64_t estimate_round_ns(const struct estimate *estimate, uint64_t left_bytes)
{
    double rate = bytes_ps(estimate);

    if (rate <= 0)
        return left_bytes ? ESTIMATE_NEVER : 0;
    return to_u64((double)left_bytes / rate * NS_PER_S);
}

uint64_t estimate_downtime_ns(const struct estimate *estimate, uint64_t left_bytes)
{
    double rate = bytes_ps(estimate);
    /* From the scan that found left_bytes until the vCPUs stand still. */
    double gap_ns = estimate->scan_ns + (double)estimate->costs.pause_ns;
    double late_pages = estimate->peak_dirty_pages_ps * gap_ns / NS_PER_S;
    double bytes = (double)left_bytes + late_pages * (double)estimate->page_bytes;
    double ns = fixed_ns(estimate);

    if (rate <= 0)
        return left_bytes ? ESTIMATE_NEVER : to_u64(ns);
    ns += bytes / rate * NS_PER_S;
    if (estimate->digest_pages_ps > 0 && estimate->page_bytes > 0)
        ns += bytes / (double)estimate->page_bytes / estimate->digest_pages_ps * NS_PER_S;
    return to_u64(ns);
}
