/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "tools/vmm/machine.h"
#include "tools/vmm/payload_loader.h"
#include "transport/clock.h"
#include "transport/error.h"

#define SECOND_NS     1000000000ull
#define IDLE_NS       10000000ull /* between the heartbeats of a guest that writes nothing */
#define LATENESS_NS   5000000ull  /* a guest that fell behind further than this does not catch up */
#define HOLD_LIMIT_NS (10 * SECOND_NS)

void heartbeat_init(struct heartbeat *heartbeat)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&heartbeat->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&heartbeat->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void heartbeat_destroy(struct heartbeat *heartbeat)
{
    pthread_cond_destroy(&heartbeat->changed);
    pthread_mutex_destroy(&heartbeat->lock);
}

/* How long a batch is to take; a throttled guest's clock runs slower. */
static uint64_t batch_ns(const struct vmm *vmm, const volatile struct payload_mailbox *box)
{
    uint64_t ns = 0, steps = box->batch_steps, rate = box->dirty_pages_ps;

    if (!steps)
        ns = IDLE_NS;
    else if (rate)
        ns = steps * SECOND_NS / rate;
    return ns * 100 / (100 - vmm->throttle_percent);
}

static void pace(struct vmm *vmm, const volatile struct payload_mailbox *box)
{
    struct heartbeat *heartbeat = &vmm->heartbeat;
    uint64_t ns = batch_ns(vmm, box), now_ns = clock_now_ns();

    if (!ns)
        return;
    if (heartbeat->due_ns + LATENESS_NS < now_ns)
        heartbeat->due_ns = now_ns;
    heartbeat->due_ns += ns;
    vcpu_wait_until(&vmm->vcpu, heartbeat->due_ns);
}

static void stand_if_held(struct heartbeat *heartbeat)
{
    pthread_mutex_lock(&heartbeat->lock);
    while (heartbeat->hold) {
        heartbeat->held = true;
        pthread_cond_broadcast(&heartbeat->changed);
        pthread_cond_wait(&heartbeat->changed, &heartbeat->lock);
    }
    heartbeat->held = false;
    pthread_mutex_unlock(&heartbeat->lock);
}

int heartbeat_take(struct vmm *vmm, struct tern_error *error)
{
    const volatile struct payload_mailbox *box = payload_mailbox(&vmm->memory);
    struct heartbeat *heartbeat = &vmm->heartbeat;

    if (!box)
        return error_set(error, -EIO, NULL, "the guest's mailbox is damaged");
    if (box->alarm)
        return error_set(error, -EILSEQ, NULL, "the guest found itself damaged: %s", payload_alarm_name(box->alarm));
    heartbeat->step = box->step;
    heartbeat->sweeps = box->sweeps;
    heartbeat->count++;
    vmm->is_payload = true;
    stand_if_held(heartbeat);
    pace(vmm, box);
    return 0;
}

int heartbeat_hold(struct vmm *vmm, struct tern_error *error)
{
    struct heartbeat *heartbeat = &vmm->heartbeat;
    uint64_t until_ns = clock_now_ns() + HOLD_LIMIT_NS;
    struct timespec until = {(time_t)(until_ns / SECOND_NS), (long)(until_ns % SECOND_NS)};
    int r = 0;

    pthread_mutex_lock(&heartbeat->lock);
    heartbeat->hold = true;
    while (!heartbeat->held && !r)
        r = pthread_cond_timedwait(&heartbeat->changed, &heartbeat->lock, &until);
    pthread_mutex_unlock(&heartbeat->lock);
    if (!r)
        return 0;
    heartbeat_release(vmm);
    return error_set(error, -ETIMEDOUT, NULL, "cannot verify: no heartbeat of the guest within 10 s");
}

void heartbeat_release(struct vmm *vmm)
{
    pthread_mutex_lock(&vmm->heartbeat.lock);
    vmm->heartbeat.hold = false;
    pthread_cond_broadcast(&vmm->heartbeat.changed);
    pthread_mutex_unlock(&vmm->heartbeat.lock);
}
