/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/model.h"

#include <math.h>
#include <string.h>

#include "migrate/estimate.h"

#define NS_PER_S    1e9
#define LAST_ROUNDS 2u  /* while the guest stands still: its memory, its device state */
#define HOT_PART    0.1 /* of the working set, see process_guest.h */
#define HOT_RATE    0.9 /* of the writes */

/* Of so many writes spread evenly over so many pages, those that hit different ones. */
static double different(double writes, double pages)
{
    return pages > 0 ? pages * -expm1(-writes / pages) : 0;
}

double model_dirtied_pages(const struct model *model, double ns, uint32_t throttle_percent)
{
    double pages = (double)(model->working_set_bytes / TERN_PAGE_BYTES);
    double writes = (double)model->dirty_pages_ps * (100 - throttle_percent) / 100 * ns / NS_PER_S;

    switch (model->pattern) {
    case PROCESS_GUEST_SEQUENTIAL:
        return writes < pages ? writes : pages;
    case PROCESS_GUEST_HOT_COLD: /* cold writes go anywhere in the working set, the hot part too */
        return different(writes * (HOT_RATE + (1 - HOT_RATE) * HOT_PART), pages * HOT_PART) +
               different(writes * (1 - HOT_RATE) * (1 - HOT_PART), pages * (1 - HOT_PART));
    default:
        return different(writes, pages);
    }
}

static void init_estimate(const struct model *model, struct estimate *estimate)
{
    estimate_init(estimate, TERN_PAGE_BYTES);
    if (!model->fixed_ns)
        return;
    estimate->costs = (struct estimate_costs){.pause_ns = model->fixed_ns};
    estimate_add_round_trip(estimate, 1); /* all of it is in fixed_ns */
}

static void decide(struct converge *converge, const struct estimate *estimate, uint32_t round, double now_ns,
                   double left_bytes, struct converge_decision *out)
{
    uint64_t left = (uint64_t)left_bytes;
    struct converge_round known = {
        .round = round,
        .elapsed_ns = (uint64_t)now_ns,
        .left_bytes = left,
        .page_bytes = TERN_PAGE_BYTES,
        .bytes_ps = estimate_bytes_ps(estimate),
        .dirty_pages_ps = estimate_dirty_pages_ps(estimate),
        .downtime_ns = estimate_downtime_ns(estimate, left),
        .fixed_ns = estimate_fixed_ns(estimate),
        .round_ns = estimate_round_ns(estimate, left),
    };

    converge_decide(converge, &known, out);
}

static void finish(const struct model *model, const struct estimate *estimate, double now_ns, double left_bytes,
                   struct model_result *out)
{
    double write_ns = left_bytes / (double)model->bytes_ps * NS_PER_S;

    out->downtime_ns = estimate_fixed_ns(estimate) + (uint64_t)write_ns;
    out->total_ns = (uint64_t)now_ns + out->downtime_ns;
    out->bytes_sent += (uint64_t)left_bytes;
    out->rounds += LAST_ROUNDS;
}

void model_run(const struct model *model, struct model_result *out)
{
    double now_ns = (double)model->setup_ns, left = (double)model->memory_bytes;
    struct converge_decision decision = {.kind = CONVERGE_CONTINUE};
    struct converge converge;
    struct estimate estimate;

    memset(out, 0, sizeof(*out));
    converge_init(&converge, &model->limits);
    init_estimate(model, &estimate);
    while (out->n_rounds < MODEL_ROUNDS_MAX &&
           (decision.kind == CONVERGE_CONTINUE || decision.kind == CONVERGE_THROTTLE)) {
        double send_ns = left / (double)model->bytes_ps * NS_PER_S + (double)model->turn_ns;
        double dirty_ns = send_ns + (double)decision.settle_ns, pages;
        struct model_round *round = &out->round[out->n_rounds++];

        pages = model_dirtied_pages(model, dirty_ns, converge.throttle_percent);
        *round = (struct model_round){.bytes = (uint64_t)left,
                                      .ns = (uint64_t)send_ns,
                                      .left_bytes = (uint64_t)(pages * TERN_PAGE_BYTES),
                                      .throttle_percent = converge.throttle_percent};
        out->bytes_sent += (uint64_t)left;
        now_ns += dirty_ns;
        estimate_add_round(&estimate, &(struct estimate_round){.sent_bytes = round->bytes,
                                                               .send_ns = round->ns,
                                                               .dirtied_pages = (uint64_t)pages,
                                                               .dirty_ns = (uint64_t)dirty_ns});
        left = pages * TERN_PAGE_BYTES;
        decide(&converge, &estimate, out->n_rounds, now_ns, left, &decision);
    }
    out->kind = decision.kind;
    out->rounds = out->n_rounds;
    out->throttle_percent = converge.throttle_percent;
    out->limit_missed = decision.limit_missed;
    memcpy(out->text, decision.text, sizeof(out->text));
    memcpy(out->hint, decision.hint, sizeof(out->hint));
    if (decision.kind == CONVERGE_SWITCH_OVER)
        finish(model, &estimate, now_ns, left, out);
    else
        out->total_ns = (uint64_t)now_ns;
}
