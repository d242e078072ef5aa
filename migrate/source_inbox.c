/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages from the destination. Each is checked against what the session expects before it changes anything. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/source.h"
#include "transport/error.h"

static int bad_message(uint16_t type, struct tern_error *error)
{
    char buffer[16];

    return error_set(error, -EPROTO, "both sides must run the same version of tern",
                     "the destination sent a %s message that is malformed or out of place",
                     wire_type_name(type, buffer));
}

/* What the destination's code would mean as this side's own, it must not mean. */
static int refusal_code(int code)
{
    return code == -ETIMEDOUT || code == -EINTR || code == -EINPROGRESS ? -EREMOTEIO : code;
}

static int refused(struct source *source, const struct control_frame *frame, struct tern_error *error)
{
    struct wire_refuse refuse;

    if (wire_get_refuse(frame->payload, frame->length_bytes, &refuse))
        return bad_message(frame->type, error);
    source->inbox.refused = true;
    refuse.code = refusal_code(refuse.code);
    error_set(error, refuse.code, refuse.hint, "%s", refuse.message);
    error_side(error, TERN_SIDE_DESTINATION);
    return refuse.code;
}

/* A chunk without a key is copied by the destination; its own messages say why. */
static void note_ring(struct source *source, const struct wire_key *key, uint64_t region_bytes)
{
    uint64_t left = region_bytes - key->chunk * source->chunk_bytes;

    if (key->key.address)
        return;
    if (!source->result.peer_ring_bytes)
        events_warning(&source->events, "the destination takes guest memory through a small registered ring, with one "
                                        "copy: look at its messages for the reason");
    source->result.peer_ring_bytes += left < source->chunk_bytes ? left : source->chunk_bytes;
}

static int take_keys(struct source *source, const struct control_frame *frame)
{
    struct wire_key keys[WIRE_KEYS_MAX];
    uint32_t n;

    if (!source->chunks || wire_get_keys(frame->payload, frame->length_bytes, keys, WIRE_KEYS_MAX, &n))
        return -EPROTO;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bytes = keys[i].region < source->guest.n_regions
                             ? source->guest.regions[keys[i].region].region->length_bytes
                             : source->state_capacity_bytes;

        if (keys[i].region > source->guest.n_regions || keys[i].chunk >= (bytes - 1) / source->chunk_bytes + 1)
            return -EPROTO;
        note_ring(source, &keys[i], bytes);
        source->provider->source_set_key(source->link, keys[i].region, keys[i].chunk, keys[i].key);
        if (chunks_mark(source->chunks, keys[i].region, keys[i].chunk, CHUNK_KEYED))
            return -EPROTO;
    }
    return 0;
}

/* The destination found a difference and narrows it down, to name the page. */
static int answer_ask(struct source *source, const struct control_frame *frame, struct tern_error *error)
{
    const uint64_t *entries;
    struct wire_ask ask;
    uint64_t n;

    if (wire_get_ask(frame->payload, frame->length_bytes, &ask) || ask.region >= source->guest.n_regions ||
        !source->guest.verify)
        return bad_message(frame->type, error);
    const struct digest_table *digests = &source->guest.regions[ask.region].digests;
    entries = ask.per_page ? digests->pages : digests->groups;
    n = ask.per_page ? digests->n_pages : digests->n_groups;
    if (ask.first > n || ask.n > n - ask.first)
        return bad_message(frame->type, error);
    return source_send(source, WIRE_DIGESTS, wire_put_digests(source->message, &ask, entries + ask.first), error);
}

/* Before PREPARE was sent nothing can be ready, before COMMIT nothing active. */
static int take_word(struct source *source, enum handover_state since, bool *word)
{
    if (source->handover.state < since)
        return -EPROTO;
    *word = true;
    return 0;
}

static int take_round_ack(struct source *source, const struct control_frame *frame)
{
    struct wire_round_ack ack;

    if (wire_get_round_ack(frame->payload, frame->length_bytes, &ack) || ack.round > source->round)
        return -EPROTO;
    source->inbox.round_ack = ack;
    return 0;
}

/* Only of one that was given up. */
static int take_lane_gone(struct source *source, const struct control_frame *frame)
{
    uint32_t lane;

    if (wire_get_lane(frame->payload, frame->length_bytes, &lane) || !lost_lanes_gone(&source->lost_lanes, lane))
        return -EPROTO;
    return 0;
}

static int handle(struct source *source, const struct control_frame *frame, struct tern_error *error)
{
    struct inbox *inbox = &source->inbox;
    int r = 0;

    switch (frame->type) {
    case WIRE_REFUSE:
        return refused(source, frame, error);
    case WIRE_ASK:
        return answer_ask(source, frame, error);
    case WIRE_HELLO_ACK:
        r = inbox->acknowledged ? -EPROTO : wire_get_hello_ack(frame->payload, frame->length_bytes, &inbox->ack);
        inbox->acknowledged |= !r;
        break;
    case WIRE_KEY:
        r = take_keys(source, frame);
        break;
    case WIRE_ROUND_ACK:
        r = take_round_ack(source, frame);
        break;
    case WIRE_LANE_GONE:
        r = take_lane_gone(source, frame);
        break;
    case WIRE_READY:
        r = take_word(source, HANDOVER_S_PREPARED, &inbox->ready);
        break;
    case WIRE_ACTIVE:
        r = take_word(source, HANDOVER_S_COMMITTED, &inbox->active);
        break;
    case WIRE_STANDING:
        r = wire_get_standing(frame->payload, frame->length_bytes, &inbox->standing);
        inbox->has_standing = !r;
        break;
    default:
        r = -EPROTO;
    }
    return r ? bad_message(frame->type, error) : 0;
}

static int async_failure(struct source *source, struct tern_error *error)
{
    int r = 0;

    pthread_mutex_lock(&source->lock);
    if (source->async_failed) {
        r = source->async_error.code;
        if (error)
            *error = source->async_error;
    }
    pthread_mutex_unlock(&source->lock);
    return r;
}

int source_pump(struct source *source, int timeout_ms, struct tern_error *error)
{
    struct control_frame frame;
    int r;

    if (atomic_load(&source->cancelled) && handover_can_cancel(&source->handover))
        return error_set(error, -ECANCELED, NULL, "the migration was cancelled");
    r = async_failure(source, error);
    if (r)
        return r;
    r = control_receive(source->control, timeout_ms, &frame, error);
    if (r == -EINTR)
        return 0;
    if (r == -ETIMEDOUT)
        return r;
    if (r) {
        error_prefix(error, "the destination is gone");
        error_side(error, TERN_SIDE_DESTINATION);
        return r;
    }
    r = handle(source, &frame, error);
    control_frame_free(&frame);
    return r;
}

int source_send(struct source *source, enum wire_type type, size_t length, struct tern_error *error)
{
    return control_send(source->control, (uint16_t)type, source->message, length, error);
}

void source_unblock(struct source *source)
{
    pthread_mutex_lock(&source->lock);
    if (source->rounds)
        rounds_abort(source->rounds);
    if (source->link)
        source->provider->source_abort(source->link);
    if (source->chunks)
        chunks_abort(source->chunks);
    if (source->rejoin)
        rejoin_stop(source->rejoin);
    if (source->control)
        control_kick(source->control);
    pthread_mutex_unlock(&source->lock);
}

void source_fail_async(struct source *source, const struct tern_error *error)
{
    pthread_mutex_lock(&source->lock);
    if (!source->async_failed) {
        source->async_error = *error;
        source->async_failed = true;
    }
    if (source->control)
        control_kick(source->control);
    pthread_mutex_unlock(&source->lock);
}

void source_round_is_over(void *opaque)
{
    struct source *source = opaque;

    pthread_mutex_lock(&source->lock);
    if (source->control)
        control_kick(source->control);
    pthread_mutex_unlock(&source->lock);
}
