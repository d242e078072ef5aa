/* SPDX-License-Identifier: BSD-2-Clause */
/* Lanes that are lost with their rail, and come back with it. lost_lanes.h decides; this does. All of it is pre-copy's:
 * once the guest stands still a lane that is lost stays lost. */
#include <errno.h>

#include "migrate/source.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PUMP_MS     100
#define PATIENCE_NS (10 * NS_PER_S) /* for the destination's word that lost lanes are torn down */

static int tell_loss(struct source *source, uint32_t lane, struct tern_error *error)
{
    events_warning(&source->events, "lane %u is lost with its rail; the others go on, and send what it had not", lane);
    return source_send(source, WIRE_LANE_DOWN, wire_put_lane(source->message, lane), error);
}

/* Without memory for it the lanes stay lost, which is no failure. */
static void make_rejoin(struct source *source)
{
    struct rejoin *rejoin;

    if (source->rejoin || !source->provider->rejoin || source->handover.state != HANDOVER_S_ACTIVE ||
        rejoin_create(source->provider, source->link, &rejoin, NULL))
        return;
    pthread_mutex_lock(&source->lock);
    source->rejoin = rejoin;
    pthread_mutex_unlock(&source->lock);
}

int source_lose_lanes(struct source *source, uint64_t lost, struct tern_error *error)
{
    uint64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
    int r = 0;

    lost_lanes_lose(&source->lost_lanes, lost);
    for (uint32_t lane = 0; lane < source->link_options.n_lanes && !r; lane++)
        if (lost >> lane & 1)
            r = tell_loss(source, lane, error);
    while ((!r || r == -ETIMEDOUT) && !lost_lanes_settled(&source->lost_lanes)) {
        if (!clock_left_ms(deadline_ns))
            return error_set(error, -ETIMEDOUT, "look at the destination's own messages",
                             "the destination did not tear a lost lane down within %u s",
                             (unsigned int)(PATIENCE_NS / NS_PER_S));
        r = source_pump(source, PUMP_MS, error);
    }
    if (r && r != -ETIMEDOUT)
        return r;
    make_rejoin(source);
    return 0;
}

void source_tend_lanes(struct source *source)
{
    uint64_t now_ns = clock_now_ns();
    uint32_t tried;
    bool joined;
    int lane;

    if (!source->rejoin)
        return;
    if (rejoin_ended(source->rejoin, &tried, &joined, &source->away))
        lost_lanes_tried(&source->lost_lanes, tried, joined, now_ns);
    lane = rejoin_running(source->rejoin) ? -1 : lost_lanes_due(&source->lost_lanes, now_ns);
    if (lane >= 0)
        rejoin_start(source->rejoin, (uint32_t)lane);
}

int source_take_lanes_back(struct source *source, struct tern_error *error)
{
    uint64_t back;
    int r = 0;

    source_tend_lanes(source);
    back = lost_lanes_take(&source->lost_lanes);
    for (uint32_t lane = 0; lane < source->link_options.n_lanes && !r; lane++)
        if (back >> lane & 1) {
            source->provider->readmit(source->link, lane);
            events_warning(&source->events, "rail %s is back: lane %u rides it again",
                           source->provider->source_rail(source->link, lane), lane);
            r = source_send(source, WIRE_LANE_UP, wire_put_lane(source->message, lane), error);
        }
    rounds_readmit(source->rounds, back);
    return r;
}

void source_end_tries(struct source *source)
{
    struct rejoin *rejoin;

    if (source->rejoin && source->lost_lanes.lost && source->away.message[0])
        events_warning(&source->events, "not all lanes have come back: %s", source->away.message);
    pthread_mutex_lock(&source->lock);
    rejoin = source->rejoin;
    source->rejoin = NULL;
    pthread_mutex_unlock(&source->lock);
    rejoin_destroy(rejoin);
}
