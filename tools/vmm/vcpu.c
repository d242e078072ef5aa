/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/vmm/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"

#define KICK_SIGNAL SIGRTMIN /* brings the thread out of the guest; does nothing else */
#define PERIOD_NS   10000000ull
#define TICK_NS     1000000 /* a timer signal that came outside KVM_RUN is repeated after this */
#define SECOND_NS   1000000000ull
#ifndef sigev_notify_thread_id /* glibc before 2.38 */
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void on_kick(int signal_number)
{
    (void)signal_number;
}

static void install_kick(void)
{
    struct sigaction action = {.sa_handler = on_kick};

    sigemptyset(&action.sa_mask);
    sigaction(KICK_SIGNAL, &action, NULL);
}

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
}

/* ---- in the vCPU's thread ---- */

/* The lock is held. */
static void wait_locked(struct vcpu *vcpu, uint64_t until_ns)
{
    struct timespec until = to_timespec(until_ns);

    while (vcpu->want_run && !vcpu->ending && clock_now_ns() < until_ns)
        pthread_cond_timedwait(&vcpu->changed, &vcpu->lock, &until);
}

void vcpu_wait_until(struct vcpu *vcpu, uint64_t until_ns)
{
    pthread_mutex_lock(&vcpu->lock);
    wait_locked(vcpu, until_ns);
    pthread_mutex_unlock(&vcpu->lock);
}

/* A signal to this thread when its slice is over. */
static bool make_timer(struct vcpu *vcpu)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KICK_SIGNAL};

    event.sigev_notify_thread_id = gettid();
    if (!vcpu->has_timer)
        vcpu->has_timer = !timer_create(CLOCK_MONOTONIC, &event, &vcpu->timer);
    return vcpu->has_timer;
}

/* The guest runs for its share of a period, then waits for the rest of it. The lock is held. */
static void take_slice(struct vcpu *vcpu)
{
    uint64_t share_ns = PERIOD_NS * (100 - vcpu->throttle_percent) / 100, now_ns = clock_now_ns();
    struct itimerspec timer = {.it_interval = {.tv_nsec = TICK_NS}};

    if (now_ns - vcpu->slice_began_ns < share_ns)
        return;
    if (now_ns - vcpu->slice_began_ns < PERIOD_NS)
        wait_locked(vcpu, vcpu->slice_began_ns + PERIOD_NS);
    vcpu->slice_began_ns = clock_now_ns();
    timer.it_value = to_timespec(share_ns);
    if (make_timer(vcpu))
        timer_settime(vcpu->timer, 0, &timer, NULL);
}

/* An exit for I/O is complete only once KVM_RUN has been entered again. */
static void complete_exit(struct vcpu *vcpu)
{
    vcpu->run->immediate_exit = 1;
    ioctl(vcpu->fd, KVM_RUN, 0);
}

static int run_once(struct vcpu *vcpu, struct tern_error *error)
{
    if (!ioctl(vcpu->fd, KVM_RUN, 0))
        return vcpu->ops->on_exit(vcpu->owner, vcpu->run, error);
    /* a dirty ring that is full is told by an exit; EAGAIN: a vCPU that waits to be started */
    if (errno == EINTR || errno == EAGAIN)
        return 0;
    return error_set(error, -errno, NULL, "KVM_RUN: %s", strerror(errno));
}

static void end(struct vcpu *vcpu, const struct tern_error *failure)
{
    pthread_mutex_lock(&vcpu->lock);
    vcpu->ended = true;
    vcpu->want_run = false;
    if (failure)
        vcpu->failure = *failure;
    pthread_mutex_unlock(&vcpu->lock);
    vcpu->ops->on_end(vcpu->owner, failure);
}

/* Stand still until there is something to do. The lock is held. */
static void park(struct vcpu *vcpu)
{
    if (vcpu->running && !vcpu->ended)
        complete_exit(vcpu);
    vcpu->running = false;
    pthread_cond_broadcast(&vcpu->changed);
    while (!vcpu->want_run && !vcpu->ending)
        pthread_cond_wait(&vcpu->changed, &vcpu->lock);
}

static void *vcpu_main(void *argument)
{
    struct vcpu *vcpu = argument;
    struct tern_error error = {0};

    pthread_mutex_lock(&vcpu->lock);
    while (!vcpu->ending) {
        int r;

        if (!vcpu->want_run) {
            park(vcpu);
            continue;
        }
        vcpu->running = true;
        vcpu->run->immediate_exit = 0; /* what a kick asked for is looked at here */
        if (vcpu->throttle_percent)
            take_slice(vcpu);
        pthread_mutex_unlock(&vcpu->lock);
        r = run_once(vcpu, &error);
        if (r)
            end(vcpu, r < 0 ? &error : NULL);
        pthread_mutex_lock(&vcpu->lock);
    }
    vcpu->running = false;
    pthread_cond_broadcast(&vcpu->changed);
    pthread_mutex_unlock(&vcpu->lock);
    return NULL;
}

/* ---- from outside ---- */

/* The lock is held. KVM_RUN that has not been entered yet returns at once; one that has is left for the signal. */
static void kick(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&vcpu->changed);
    pthread_kill(vcpu->thread, KICK_SIGNAL);
}

int vcpu_pause(struct vcpu *vcpu, struct tern_error *error)
{
    int r = 0;

    pthread_mutex_lock(&vcpu->lock);
    vcpu->want_run = false;
    if (vcpu->running)
        kick(vcpu);
    vcpu->n_pausing++;
    while (vcpu->running)
        pthread_cond_wait(&vcpu->changed, &vcpu->lock);
    vcpu->n_pausing--;
    if (vcpu->failure.code) {
        r = vcpu->failure.code;
        if (error)
            *error = vcpu->failure;
    } else if (vcpu->ended) {
        r = error_set(error, -ESRCH, NULL, "the guest has ended");
    }
    pthread_mutex_unlock(&vcpu->lock);
    return r;
}

int vcpu_resume(struct vcpu *vcpu, struct tern_error *error)
{
    int r = 0;

    pthread_mutex_lock(&vcpu->lock);
    if (vcpu->ended) {
        r = error_set(error, -ESRCH, NULL, "the guest has ended");
    } else if (vcpu->n_pausing) { /* who waits for it to stand still would miss that */
        r = error_set(error, -EBUSY, "try again", "the guest is just being paused");
    } else if (!vcpu->want_run) {
        vcpu->want_run = true;
        vcpu->slice_began_ns = 0;
        pthread_cond_broadcast(&vcpu->changed);
    }
    pthread_mutex_unlock(&vcpu->lock);
    return r;
}

bool vcpu_runs(struct vcpu *vcpu)
{
    bool runs;

    pthread_mutex_lock(&vcpu->lock);
    runs = vcpu->want_run;
    pthread_mutex_unlock(&vcpu->lock);
    return runs;
}

void vcpu_throttle(struct vcpu *vcpu, uint32_t percent)
{
    struct itimerspec off = {0};

    pthread_mutex_lock(&vcpu->lock);
    vcpu->throttle_percent = percent;
    if (!percent && vcpu->has_timer)
        timer_settime(vcpu->timer, 0, &off, NULL);
    if (vcpu->running)
        kick(vcpu); /* a guest that never exits would not see it */
    pthread_mutex_unlock(&vcpu->lock);
}

/* ---- life ---- */

int vcpu_create(struct vcpu *vcpu, int kvm_fd, int vm_fd, const struct vcpu_ops *ops, void *owner,
                struct tern_error *error)
{
    int run_bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    pthread_condattr_t attributes;
    int r;

    vcpu->ops = ops;
    vcpu->owner = owner;
    pthread_mutex_init(&vcpu->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&vcpu->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    vcpu->fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0);
    if (vcpu->fd < 0 || run_bytes < 0)
        return error_set(error, -errno, NULL, "KVM cannot make a vCPU: %s", strerror(errno));
    vcpu->run_bytes = (size_t)run_bytes;
    vcpu->run = mmap(NULL, vcpu->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED) {
        vcpu->run = NULL;
        return error_set(error, -errno, NULL, "cannot map the vCPU: %s", strerror(errno));
    }
    install_kick();
    r = pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);
    if (r)
        return error_set(error, -r, NULL, "cannot start the vCPU's thread: %s", strerror(r));
    vcpu->has_thread = true;
    return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    if (!vcpu->ops)
        return;
    if (vcpu->has_thread) {
        pthread_mutex_lock(&vcpu->lock);
        vcpu->ending = true;
        kick(vcpu);
        pthread_mutex_unlock(&vcpu->lock);
        pthread_join(vcpu->thread, NULL);
    }
    if (vcpu->has_timer)
        timer_delete(vcpu->timer);
    if (vcpu->run)
        munmap(vcpu->run, vcpu->run_bytes);
    if (vcpu->fd >= 0)
        close(vcpu->fd);
    pthread_cond_destroy(&vcpu->changed);
    pthread_mutex_destroy(&vcpu->lock);
}
