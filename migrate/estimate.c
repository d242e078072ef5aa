/* SPDX-License-Identifier: BSD-2-Clause */
/* See the header. All weights and assumptions are named here, none is tuned to a workload. */
#include "migrate/estimate.h"

#include <string.h>

#define NS_PER_S 1e9

/* A round shorter than this measures latency and scheduling: it can show that the network is faster than
 * thought (after a first round spent in zero pages), never that it is slower. */
#define TELLING_NS 2e6
/* The same holds for a round that sent less than this. */
#define TELLING_BYTES 65536.0
/* Share of a telling round in the mean. */
#define MEAN_WEIGHT 0.5
/* The first round travels in long runs, what is left after it in short ones: until a round of those was seen, this
 * share. */
#define FIRST_SHARE 0.5
/* Where rounds have sent nothing but zero pages, so far. */
#define ASSUMED_BYTES_PS 125e6
/* Pages wait for their digests, and none was measured yet. Low: the wait for them costs no downtime, and then it is
 * measured. */
#define ASSUMED_DIGEST_PAGES_PS 250e3
/* What a peak loses with each new sample. */
#define PEAK_DECAY 0.75

/* Assumptions are low: an estimate may be wrong, but must not refuse a limit for a cost that nobody has measured. */
#define ASSUMED_PAUSE_NS      100000u
#define ASSUMED_STATE_NS      200000u
#define ASSUMED_STATE_BYTES   65536u
#define ASSUMED_ACTIVATE_NS   100000u
#define ASSUMED_ROUND_TRIP_NS 100e3

void estimate_init(struct estimate *estimate, uint64_t page_bytes)
{
    memset(estimate, 0, sizeof(*estimate));
    estimate->page_bytes = page_bytes;
    estimate->costs.pause_ns = ASSUMED_PAUSE_NS;
    estimate->costs.state_ns = ASSUMED_STATE_NS;
    estimate->costs.state_bytes = ASSUMED_STATE_BYTES;
    estimate->costs.activate_ns = ASSUMED_ACTIVATE_NS;
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
    double rate;

    if (bytes <= 0 || ns <= 0)
        return;
    rate = bytes / ns * NS_PER_S;
    if ((ns < TELLING_NS || bytes < TELLING_BYTES) && estimate->n_telling > 0 && rate <= estimate->mean_bytes_ps)
        return;
    if (estimate->n_telling == 0)
        estimate->mean_bytes_ps = rate;
    else
        estimate->mean_bytes_ps += (rate - estimate->mean_bytes_ps) * MEAN_WEIGHT;
    estimate->last_bytes_ps = rate;
    estimate->n_telling++;
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
    double rate = estimate->last_bytes_ps < estimate->mean_bytes_ps ? estimate->last_bytes_ps : estimate->mean_bytes_ps;

    if (estimate->n_telling == 0)
        rate = estimate->n_rounds > 1 ? ASSUMED_BYTES_PS : 0;
    else if (estimate->n_telling == 1)
        rate *= FIRST_SHARE;
    return estimate->limit_bytes_ps && rate > (double)estimate->limit_bytes_ps ? (double)estimate->limit_bytes_ps
                                                                               : rate;
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
    return ns;
}

static double backlog_ns(const struct estimate *estimate)
{
    double rate = estimate->digest_pages_ps > 0 ? estimate->digest_pages_ps : ASSUMED_DIGEST_PAGES_PS;

    return (double)estimate->digest_backlog_pages / rate * NS_PER_S;
}

uint64_t estimate_backlog_ns(const struct estimate *estimate)
{
    return to_u64(backlog_ns(estimate));
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

/* Those known, and those of the time from the scan that found them until the vCPUs stand still. */
static double last_bytes(const struct estimate *estimate, uint64_t left_bytes)
{
    double gap_ns = estimate->scan_ns + (double)estimate->costs.pause_ns;
    double late_pages = estimate->peak_dirty_pages_ps * gap_ns / NS_PER_S;

    return (double)left_bytes + late_pages * (double)estimate->page_bytes;
}

static double digest_ns(const struct estimate *estimate, double bytes)
{
    double ns = backlog_ns(estimate);

    if (estimate->digest_pages_ps > 0 && estimate->page_bytes > 0)
        ns += bytes / (double)estimate->page_bytes / estimate->digest_pages_ps * NS_PER_S;
    return ns;
}

uint64_t estimate_digest_ns(const struct estimate *estimate, uint64_t left_bytes)
{
    return to_u64(digest_ns(estimate, last_bytes(estimate, left_bytes)));
}

uint64_t estimate_downtime_ns(const struct estimate *estimate, uint64_t left_bytes)
{
    double rate = bytes_ps(estimate), bytes = last_bytes(estimate, left_bytes), ns = fixed_ns(estimate);

    if (rate <= 0)
        return left_bytes ? ESTIMATE_NEVER : to_u64(ns + backlog_ns(estimate));
    return to_u64(ns + digest_ns(estimate, bytes) + bytes / rate * NS_PER_S);
}
