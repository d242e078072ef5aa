/* SPDX-License-Identifier: BSD-2-Clause */
/* See the header for the rules. Decisions only: every figure comes with the round. */
#include "migrate/converge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Predicted downtime must fit into this share of the limit, so that the measured one fits into 110 %. */
#define FIT_SHARE 0.9
/* A round made progress if it left at most this share of the least so far. */
#define PROGRESS_SHARE 0.85
/* Polishing must at least halve what is left, and what is left must matter: more than this share of the limit. */
#define POLISH_SHARE   0.5
#define POLISH_MATTERS 0.05

/* The longest single wait for the destination's digests. */
#define SETTLE_NS_MAX 1000000000ull

/* Between rounds that are to show whether it is the guest or the moment that stands in the way. */
#define PAUSE_NS 10000000ull

#define NS_PER_S  1e9
#define NS_PER_MS 1e6

static const char hint_waits[] = "raise --downtime-limit, or set --deadline to accept a longer downtime then";

void converge_init(struct converge *converge, const struct converge_options *options)
{
    memset(converge, 0, sizeof(*converge));
    converge->options = *options;
    converge->best_left_bytes = UINT64_MAX;
    converge->last_left_bytes = UINT64_MAX;
}

/* ---- text ---- */

static void say(char *text, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(char *text, size_t bytes, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(text, bytes, format, args);
    va_end(args);
}

static void say_ms(char text[32], uint64_t ns)
{
    double ms = (double)ns / NS_PER_MS;

    if (ns == UINT64_MAX)
        say(text, 32, "unknown");
    else if (ms < 10000)
        say(text, 32, "%.*f ms", ms < 10 ? 1 : 0, ms);
    else
        say(text, 32, "%.1f s", ms / 1000);
}

static void say_rate(char text[32], double bytes_ps)
{
    double bps = bytes_ps * 8;

    if (bps >= 1e9)
        say(text, 32, "%.1f Gb/s", bps / 1e9);
    else if (bps >= 1e6)
        say(text, 32, "%.1f Mb/s", bps / 1e6);
    else
        say(text, 32, "%.0f kb/s", bps / 1e3);
}

static double dirty_bytes_ps(const struct converge_round *round)
{
    return (double)round->dirty_pages_ps * (double)round->page_bytes;
}

/* "the guest dirties 3.2 Gb/s, the lanes carry 2.9 Gb/s, stopping it now would take 310 ms (limit 50 ms)" */
static void say_figures(char text[192], const struct converge *converge, const struct converge_round *round)
{
    char dirty[32], lanes[32], downtime[32], limit[32];

    say_rate(dirty, dirty_bytes_ps(round));
    say_rate(lanes, (double)round->bytes_ps);
    say_ms(downtime, round->downtime_ns);
    say_ms(limit, converge->options.downtime_limit_ns);
    say(text, 192, "the guest dirties %s, the lanes carry %s, stopping it now would take %s (limit %s)", dirty, lanes,
        downtime, limit);
}

/* ---- predictions ---- */

static bool fits(const struct converge *converge, uint64_t downtime_ns)
{
    return downtime_ns != UINT64_MAX && (double)downtime_ns <= (double)converge->options.downtime_limit_ns * FIT_SHARE;
}

/* What the guest would dirty in a round of what is left now. */
static double next_left_bytes(const struct converge_round *round)
{
    return dirty_bytes_ps(round) * ((double)round->round_ns / NS_PER_S);
}

static bool worth_polishing(const struct converge *converge, const struct converge_round *round)
{
    double left = (double)round->left_bytes;
    double limit_ns = (double)converge->options.downtime_limit_ns;
    double after_ns = (double)round->elapsed_ns + (double)round->round_ns + (double)round->downtime_ns;

    if (converge->polished >= CONVERGE_POLISH_MAX || (double)round->round_ns < limit_ns * POLISH_MATTERS)
        return false;
    if (converge->options.deadline_ns && after_ns > (double)converge->options.deadline_ns)
        return false;
    /* Twice: what the rate promises, and what the last round has shown. */
    return next_left_bytes(round) <= left * POLISH_SHARE && left <= (double)converge->last_left_bytes * POLISH_SHARE;
}

/* Would it fit if the destination had digested all that it has? */
static bool only_digests_behind(const struct converge *converge, const struct converge_round *round)
{
    return converge->settled < CONVERGE_SETTLE_MAX && round->backlog_ns > 0 && round->downtime_ns != UINT64_MAX &&
           round->downtime_ns >= round->digest_ns && fits(converge, round->downtime_ns - round->digest_ns);
}

/* Is there time for one more round, and for what must follow it? Where a miss would only end in giving
 * up, the best that could follow counts; where it ends in a long downtime, the likely. */
static bool time_is_up(const struct converge *converge, const struct converge_round *round)
{
    double after_ns = (double)round->fixed_ns;

    if (!converge->options.deadline_ns)
        return false;
    if (converge->options.on_no_converge == TERN_NO_CONVERGE_THROTTLE && round->bytes_ps)
        after_ns += next_left_bytes(round) / (double)round->bytes_ps * NS_PER_S;
    return (double)round->elapsed_ns + (double)round->round_ns + after_ns > (double)converge->options.deadline_ns;
}

/* Progress is judged against the least so far, so that a guest that swings up and down is seen to stall; a round
 * that comes down from a peak is neither progress nor a stall. */
static void judge_progress(struct converge *converge, const struct converge_round *round)
{
    double left = (double)round->left_bytes;

    if (left < (double)converge->best_left_bytes && left <= (double)converge->best_left_bytes * PROGRESS_SHARE) {
        converge->best_left_bytes = round->left_bytes;
        converge->progress_ns = round->elapsed_ns;
        converge->stalled = 0;
    } else if (left >= (double)converge->last_left_bytes * PROGRESS_SHARE) {
        converge->stalled++;
    }
}

/* ---- decisions ---- */

static void switch_over(const struct converge *converge, const struct converge_round *round, const char *why,
                        struct converge_decision *out)
{
    char figures[192];

    out->kind = CONVERGE_SWITCH_OVER;
    if (!why)
        return;
    out->limit_missed = round->downtime_ns > converge->options.downtime_limit_ns;
    say_figures(figures, converge, round);
    say(out->text, sizeof(out->text), "%s: switching over %s; %s", why,
        out->limit_missed ? "although the downtime limit will be missed" : "now", figures);
}

static void give_up(const struct converge *converge, const struct converge_round *round, const char *why,
                    struct converge_decision *out)
{
    char figures[192], needed[32];

    out->kind = CONVERGE_ABORT;
    say_figures(figures, converge, round);
    say(out->text, sizeof(out->text), "%s: %s", why, figures);
    if (round->downtime_ns == UINT64_MAX) {
        say(out->hint, sizeof(out->hint), "%s", hint_waits);
        return;
    }
    say_ms(needed, (uint64_t)((double)round->downtime_ns / FIT_SHARE));
    say(out->hint, sizeof(out->hint), "a --downtime-limit of %s would do now; %s", needed,
        converge->options.on_no_converge == TERN_NO_CONVERGE_ABORT
            ? "or let the guest be slowed: --on-no-converge throttle"
            : "or set --deadline to accept a longer downtime then");
}

static void decide_at_deadline(const struct converge *converge, const struct converge_round *round,
                               struct converge_decision *out)
{
    if (converge->options.on_no_converge == TERN_NO_CONVERGE_ABORT)
        give_up(converge, round, "pre-copy would miss the deadline", out);
    else
        switch_over(converge, round, "the deadline leaves no time for another round", out);
}

/* Nothing that can be done while the guest runs would bring the downtime under the limit. */
static void decide_helpless(const struct converge *converge, const struct converge_round *round, const char *why,
                            bool waiting_may_help, struct converge_decision *out)
{
    if (!converge->options.deadline_ns || converge->options.on_no_converge == TERN_NO_CONVERGE_ABORT)
        give_up(converge, round, why, out);
    else if (!waiting_may_help || round->round >= CONVERGE_ROUNDS_MAX)
        switch_over(converge, round, why, out);
    /* else: the deadline, which is the user's consent, will end it */
}

static void raise_throttle(struct converge *converge, const struct converge_round *round, struct converge_decision *out)
{
    uint32_t percent =
        converge->throttle_percent ? converge->throttle_percent + CONVERGE_THROTTLE_STEP : CONVERGE_THROTTLE_FIRST;
    char figures[192];

    if (percent > CONVERGE_THROTTLE_LAST)
        percent = CONVERGE_THROTTLE_LAST;
    converge->throttle_percent = percent;
    converge->stalled = 0;
    converge->best_left_bytes = round->left_bytes;
    out->kind = CONVERGE_THROTTLE;
    out->throttle_percent = percent;
    say_figures(figures, converge, round);
    say(out->text, sizeof(out->text), "rounds have stopped shrinking: taking %u %% of the guest's time; %s", percent,
        figures);
}

static void decide_stalled(struct converge *converge, const struct converge_round *round, struct converge_decision *out)
{
    bool too_slow = !fits(converge, round->fixed_ns);

    /* One moment in which this machine was busy elsewhere weighs on the estimates of several rounds. */
    if (too_slow && converge->stalled < CONVERGE_FIXED_ROUNDS && round->round < CONVERGE_ROUNDS_MAX)
        out->settle_ns = PAUSE_NS;
    else if (too_slow)
        decide_helpless(converge, round, "the downtime limit is below what a switchover takes with nothing dirty",
                        false, out);
    else if (round->round >= CONVERGE_ROUNDS_MAX)
        decide_helpless(converge, round, "pre-copy has not converged in all its rounds", false, out);
    else if (converge->options.on_no_converge == TERN_NO_CONVERGE_ABORT)
        give_up(converge, round, "pre-copy does not converge", out);
    else if (!converge->options.can_throttle && round->elapsed_ns - converge->progress_ns < CONVERGE_STALL_NS)
        out->settle_ns = PAUSE_NS;
    else if (!converge->options.can_throttle)
        decide_helpless(converge, round, "pre-copy does not converge, and this VM cannot be throttled", true, out);
    else if (converge->throttle_percent >= CONVERGE_THROTTLE_LAST)
        decide_helpless(converge, round, "pre-copy does not converge with the guest throttled to the utmost", true,
                        out);
    else
        raise_throttle(converge, round, out);
}

void converge_decide(struct converge *converge, const struct converge_round *round, struct converge_decision *out)
{
    uint32_t patience = converge->throttle_percent ? CONVERGE_THROTTLE_ROUNDS : CONVERGE_STALL_ROUNDS;

    memset(out, 0, sizeof(*out));
    out->throttle_percent = converge->throttle_percent;
    judge_progress(converge, round);
    if (fits(converge, round->downtime_ns)) {
        if (worth_polishing(converge, round))
            converge->polished++;
        else
            switch_over(converge, round, NULL, out);
    } else if (time_is_up(converge, round)) {
        decide_at_deadline(converge, round, out);
    } else if (only_digests_behind(converge, round)) {
        converge->settled++;
        converge->stalled = 0;
        out->settle_ns = round->backlog_ns < SETTLE_NS_MAX ? round->backlog_ns : SETTLE_NS_MAX;
    } else if (converge->stalled >= patience || round->round >= CONVERGE_ROUNDS_MAX) {
        decide_stalled(converge, round, out);
    }
    converge->last_left_bytes = round->left_bytes;
}

bool converge_overdue(const struct converge *converge, uint64_t elapsed_ns, uint64_t unsent_bytes,
                      struct converge_decision *out)
{
    char deadline[32];

    if (!converge->options.deadline_ns || elapsed_ns < converge->options.deadline_ns)
        return false;
    memset(out, 0, sizeof(*out));
    out->throttle_percent = converge->throttle_percent;
    say_ms(deadline, converge->options.deadline_ns);
    if (converge->options.on_no_converge == TERN_NO_CONVERGE_ABORT) {
        out->kind = CONVERGE_ABORT;
        say(out->text, sizeof(out->text), "the deadline of %s has passed with %.1f MiB of the round unsent", deadline,
            (double)unsent_bytes / 1048576);
        say(out->hint, sizeof(out->hint),
            "give it a longer --deadline, or --on-no-converge throttle to switch over then");
        return true;
    }
    out->kind = CONVERGE_SWITCH_OVER;
    out->limit_missed = true;
    say(out->text, sizeof(out->text),
        "the deadline of %s has passed with %.1f MiB of the round unsent: switching over although the downtime limit "
        "will be missed",
        deadline, (double)unsent_bytes / 1048576);
    return true;
}
