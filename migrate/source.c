/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define LAST_WORDS_MS 1000

struct tern_source {
    struct source session;
};

int tern_source_create(const struct tern_vm *vm, const struct tern_options *options, struct tern_source **out,
                       struct tern_error *error)
{
    struct tern_source *source = NULL;
    struct tern_options taken;
    int r = vm_check(vm, TERN_SIDE_SOURCE, error);

    if (!r)
        r = options_take(options, TERN_SIDE_SOURCE, &taken, error);
    if (!r && !(source = calloc(1, sizeof(*source))))
        r = error_set(error, -ENOMEM, NULL, "out of memory for the migration");
    if (!r && getrandom(source->session.session, WIRE_SESSION_BYTES, 0) != WIRE_SESSION_BYTES)
        r = error_set(error, -EIO, NULL, "no random numbers for the session");
    if (r) {
        free(source);
        return r;
    }
    source->session.vm = vm;
    source->session.options = taken;
    pthread_mutex_init(&source->session.lock, NULL);
    events_init(&source->session.events, &taken, TERN_SIDE_SOURCE);
    handover_init(&source->session.handover, HANDOVER_SOURCE);
    *out = source;
    return 0;
}

void tern_source_destroy(struct tern_source *source)
{
    if (!source)
        return;
    pthread_mutex_destroy(&source->session.lock);
    events_free(&source->session.events);
    free(source);
}

void tern_source_cancel(struct tern_source *source)
{
    struct source *s = &source->session;

    atomic_store(&s->cancelled, true);
    pthread_mutex_lock(&s->lock);
    if (s->control)
        control_kick(s->control);
    pthread_mutex_unlock(&s->lock);
}

static bool is_link_failure(int code)
{
    return code == -ENOTCONN || code == -ECONNRESET || code == -ECANCELED || code == -EPIPE || code == -EIO ||
           code == -EREMOTEIO;
}

/* When a lane broke, the destination has often said why on the control channel: that is the better message. */
static int prefer_last_words(struct source *source, int code, struct tern_error *error)
{
    uint64_t deadline_ns = clock_after_ms(LAST_WORDS_MS);
    struct tern_error words = {0};
    int r = 0;

    if (!source->control || atomic_load(&source->cancelled) || !is_link_failure(code) || error->side != TERN_SIDE_NONE)
        return code;
    while ((!r || r == -ETIMEDOUT) && clock_left_ms(deadline_ns))
        r = source_pump(source, clock_left_ms(deadline_ns), &words);
    if (!r || r == -ETIMEDOUT || !words.message[0])
        return code;
    /* It may have closed because it was told that this side gives up: then the lane's end is the reason. */
    if (!source->inbox.refused && r != -EHOSTDOWN && error->message[0]) {
        error_prefix(error, "the destination closed the connection without a word");
        error_side(error, TERN_SIDE_DESTINATION);
        return code;
    }
    *error = words;
    return r;
}

/* A pointer that unblock() may be using goes out of its sight before what it points to is freed. */
#define DETACH(source, member)                                                                                         \
    ({                                                                                                                 \
        pthread_mutex_lock(&(source)->lock);                                                                           \
        __typeof__((source)->member) taken = (source)->member;                                                         \
        (source)->member = NULL;                                                                                       \
        pthread_mutex_unlock(&(source)->lock);                                                                         \
        taken;                                                                                                         \
    })

/* Take back, in reverse, what the migration did to the VM and to this process. */
static void release(struct source *source)
{
    struct link_source *link;

    source_unblock(source);
    tuner_join(&source->tuner);
    rejoin_destroy(DETACH(source, rejoin));
    rounds_destroy(DETACH(source, rounds));
    registrar_destroy(DETACH(source, registrar));
    if (source->tracking && source->vm->tracker.ops->stop)
        source->vm->tracker.ops->stop(source->vm->tracker.self);
    if (source->inhibited)
        source->vm->inhibit_discards(source->vm->opaque, false, NULL);
    source_disconnect(source);
    link = DETACH(source, link);
    if (link)
        source->provider->source_close(link);
    chunks_destroy(DETACH(source, chunks));
    locality_destroy(source->locality);
    guest_free(&source->guest);
    if (source->state_buffer)
        munmap(source->state_buffer, source->state_capacity_bytes);
}

static int migrate(struct source *source, struct tern_error *error)
{
    int r = source_initiate(source, error);

    if (!r)
        r = source_precopy(source, error);
    if (!r)
        r = source_switchover(source, error);
    return r;
}

static void fill_result(struct source *source)
{
    struct tern_result *result = &source->result;
    uint64_t now_ns = clock_now_ns();

    result->rounds = source->round;
    if (source->rounds)
        rounds_report(source->rounds, result);
    result->memory_bytes = vm_memory_bytes(source->vm);
    result->registered_bytes = atomic_load(&source->registered_bytes);
    result->register_ns = atomic_load(&source->register_ns);
    result->ring_bytes = atomic_load(&source->ring_bytes);
    result->total_ns = now_ns - source->start_ns;
    if (source->first_page_ns) {
        result->setup_ns = source->first_page_ns - source->start_ns;
        if (now_ns > source->first_page_ns)
            result->mean_bps = (uint64_t)((double)result->bytes_sent * 8e9 / (double)(now_ns - source->first_page_ns));
    }
}

int tern_source_run(struct tern_source *handle, struct tern_result *result, struct tern_error *error)
{
    struct source *source = &handle->session;
    struct tern_error own = {0};
    int r;

    source->start_ns = clock_now_ns();
    r = migrate(source, &own);
    fill_result(source);
    if (r && handover_can_cancel(&source->handover)) {
        r = source_give_up(source, r, &own);
        r = prefer_last_words(source, r, &own);
    }
    if (source->throttled)
        source->vm->throttle(source->vm->opaque, 0, NULL);
    release(source);
    error_side(&own, TERN_SIDE_SOURCE);
    if (r && error)
        *error = own;
    source->result.struct_bytes = sizeof(*result);
    *result = source->result;
    return r;
}
