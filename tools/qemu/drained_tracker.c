/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/drained_tracker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/bitmap.h"
#include "migrate/dirty/tracker.h"
#include "tools/qemu/migration_status.h"
#include "transport/clock.h"
#include "transport/error.h"

struct drained {
    struct tracker_base base;
    struct tern_tracker_ops ops;
    char name[TERN_NAME_BYTES];
    struct tern_tracker inner;
    const struct guest_ram *ram;
    struct qmp *qmp;
    struct guardian *guardian;
    bool rests;
    uint64_t stopped_ns;
    uint64_t *dirty[RAM_PARTS_MAX]; /* not reported yet */
    uint32_t next;                  /* regions from here on have had no fetch since the last look */
};

static uint64_t words_of(const struct drained *tracker, uint32_t region)
{
    return bitmap_words(tracker->ram->regions[region].length_bytes / TERN_PAGE_BYTES);
}

/* ---- the guest stands still meanwhile ---- */

/* Whoever paused it (or a reset, a watchdog) had its reads waited for as well; it is not ours to run. */
static int hold(struct drained *tracker, bool *held, struct tern_error *error)
{
    char state[32];
    int r = qemu_run_state(tracker->qmp, state, error);

    *held = !r && (!strcmp(state, "running") || !strcmp(state, "suspended")); /* a cont leads back to either */
    if (!r && *held)
        r = guardian_charge(tracker->guardian, GUARDIAN_GUEST, true, NULL, error);
    qmp_forget_events(tracker->qmp);
    return r ? r : qmp_command(tracker->qmp, "stop", NULL, QMP_TIMEOUT_MS, NULL, error);
}

/* Somebody else at another monitor may have run the guest under our eyes. What happened before the answer was told
 * before it. */
static int check_held(struct drained *tracker, struct tern_error *error)
{
    struct json_object *event;
    char state[32];
    int r = qemu_run_state(tracker->qmp, state, error);

    if (r)
        return r;
    r = qmp_event(tracker->qmp, "RESUME", 0, &event, error);
    if (r)
        return r == -ETIMEDOUT ? 0 : r;
    json_object_put(event);
    return error_set(error, -EBUSY, "let only tern speak to this QEMU meanwhile, and migrate again",
                     "somebody had QEMU run its guest during a look at its pages");
}

/* Where it fails, the guardian keeps its duty. */
static int let_go(struct drained *tracker, struct tern_error *error)
{
    int r = qmp_command(tracker->qmp, "cont", NULL, QMP_TIMEOUT_MS, NULL, error);

    if (!r)
        r = guardian_charge(tracker->guardian, GUARDIAN_NONE, false, NULL, error);
    return r;
}

static int held_still(struct drained *tracker, int (*look)(struct drained *tracker, struct tern_error *error),
                      struct tern_error *error)
{
    uint64_t begin_ns, ns;
    bool held;
    int r, code;

    if (tracker->rests)
        return look(tracker, error);
    begin_ns = clock_now_ns();
    r = hold(tracker, &held, error);
    if (!r)
        r = look(tracker, error);
    if (!r)
        r = check_held(tracker, error);
    code = held ? let_go(tracker, r ? NULL : error) : 0;
    ns = clock_now_ns() - begin_ns;
    if (held && ns > tracker->stopped_ns)
        tracker->stopped_ns = ns;
    return r ? r : code;
}

/* ---- looks ---- */

static int look_first(struct drained *tracker, struct tern_error *error)
{
    return tracker->inner.ops->start(tracker->inner.self, error);
}

static int look(struct drained *tracker, struct tern_error *error)
{
    int r = 0;

    for (uint32_t i = 0; i < tracker->ram->n_regions && !r; i++)
        r = tracker->inner.ops->fetch(tracker->inner.self, i, tracker->dirty[i], error);
    if (!r)
        tracker->next = 0;
    return r;
}

static int start(void *self, struct tern_error *error)
{
    struct drained *tracker = self;
    int r = held_still(tracker, look_first, error);

    if (r)
        return r;
    for (uint32_t i = 0; i < tracker->ram->n_regions; i++)
        memset(tracker->dirty[i], 0, words_of(tracker, i) * sizeof(uint64_t));
    tracker->next = UINT32_MAX;
    tracker->base.running = true;
    return 0;
}

static int fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct drained *tracker = self;
    int r = region < tracker->next ? held_still(tracker, look, error) : 0;

    if (r)
        return r;
    for (uint64_t i = 0; i < words_of(tracker, region); i++)
        bitmap[i] |= tracker->dirty[region][i];
    memset(tracker->dirty[region], 0, words_of(tracker, region) * sizeof(uint64_t));
    tracker->next = region + 1;
    return 0;
}

static void stop(void *self)
{
    struct drained *tracker = self;

    tracker->inner.ops->stop(tracker->inner.self);
    tracker->base.running = false;
}

/* ---- life ---- */

static void destroy(void *self)
{
    struct drained *tracker = self;

    tern_tracker_destroy(&tracker->inner);
    for (uint32_t i = 0; i < tracker->ram->n_regions; i++)
        free(tracker->dirty[i]);
    free(tracker);
}

int drained_tracker_create(struct tern_tracker *inner, const struct guest_ram *ram, struct qmp *qmp,
                           struct guardian *guardian, struct tern_tracker *out, struct tern_error *error)
{
    struct drained *tracker = calloc(1, sizeof(*tracker));
    bool whole = tracker;

    if (tracker)
        *tracker = (struct drained){.base.destroy = destroy, .ram = ram, .qmp = qmp, .guardian = guardian};
    for (uint32_t i = 0; i < ram->n_regions && whole; i++) {
        tracker->dirty[i] = calloc(words_of(tracker, i), sizeof(uint64_t));
        whole = tracker->dirty[i];
    }
    if (!whole) {
        if (tracker)
            destroy(tracker);
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    }
    tracker->inner = *inner;
    *inner = (struct tern_tracker){0};
    snprintf(tracker->name, sizeof(tracker->name), "%s, drained", tracker->inner.ops->name);
    tracker->ops = (struct tern_tracker_ops){tracker->name, start, fetch, NULL, stop};
    *out = (struct tern_tracker){&tracker->ops, tracker};
    return 0;
}

bool drained_tracker_is(const struct tern_tracker *tracker)
{
    return tracker->ops->start == start;
}

void drained_tracker_rest(struct tern_tracker *tracker, bool rests)
{
    ((struct drained *)tracker->self)->rests = rests;
}

const struct tern_tracker *drained_tracker_inner(const struct tern_tracker *tracker)
{
    return &((const struct drained *)tracker->self)->inner;
}

uint64_t drained_tracker_stopped_ns(const struct tern_tracker *tracker)
{
    return ((const struct drained *)tracker->self)->stopped_ns;
}
