/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/suspend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "migrate/digest.h"
#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

struct tern_suspend {
    struct suspend session;
};

/* ---- waking ---- */

void suspend_wake(void *opaque)
{
    struct suspend *suspend = opaque;

    pthread_mutex_lock(&suspend->lock);
    suspend->woken = true;
    pthread_cond_broadcast(&suspend->wake);
    pthread_mutex_unlock(&suspend->lock);
}

void suspend_rest(struct suspend *suspend, uint64_t ns)
{
    struct timespec until = clock_timespec(clock_now_ns() + ns);
    int r = 0;

    pthread_mutex_lock(&suspend->lock);
    while (!suspend->woken && !r)
        r = pthread_cond_timedwait(&suspend->wake, &suspend->lock, &until);
    suspend->woken = false;
    pthread_mutex_unlock(&suspend->lock);
}

int suspend_cancelled(const struct suspend *suspend, struct tern_error *error)
{
    return atomic_load(&suspend->cancelled) ? error_set(error, -ECANCELED, NULL, "the suspend was cancelled") : 0;
}

/* ---- life ---- */

static int check(const struct tern_vm *vm, const char *path, struct tern_error *error)
{
    int r = vm_check(vm, TERN_SIDE_SOURCE, error);

    for (uint32_t i = 0; i < vm->n_regions && !r; i++)
        if (!*vm->regions[i].name)
            r = error_set(error, -EINVAL, "see migrate/tern.h", "tern_region: an image needs regions with names");
    if (!r && vm_memory_bytes(vm) > IMAGE_MEMORY_MAX)
        r = error_set(error, -EOPNOTSUPP, NULL, "an image holds 64 TiB of memory at most");
    return r || path ? r : error_set(error, -EINVAL, "see migrate/tern.h", "no name for the image");
}

int tern_suspend_create(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                        struct tern_suspend **out, struct tern_error *error)
{
    struct tern_suspend *handle = NULL;
    struct tern_options taken;
    pthread_condattr_t attributes;
    int r = check(vm, path, error);

    if (!r)
        r = options_take(options, TERN_SIDE_NONE, &taken, error);
    if (!r && !(handle = calloc(1, sizeof(*handle))))
        r = error_set(error, -ENOMEM, NULL, "out of memory for suspending");
    if (r)
        return r;
    handle->session.vm = vm;
    handle->session.path = path;
    handle->session.options = taken;
    handle->session.pacer.bandwidth_bps = taken.bandwidth_bps;
    handle->session.writer = IMAGE_WRITER_CLOSED;
    events_init(&handle->session.events, &taken, TERN_SIDE_SOURCE);
    pthread_mutex_init(&handle->session.lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&handle->session.wake, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = handle;
    return 0;
}

void tern_suspend_destroy(struct tern_suspend *handle)
{
    if (!handle)
        return;
    events_free(&handle->session.events);
    pthread_cond_destroy(&handle->session.wake);
    pthread_mutex_destroy(&handle->session.lock);
    free(handle);
}

void tern_suspend_cancel(struct tern_suspend *handle)
{
    atomic_store(&handle->session.cancelled, true);
    suspend_wake(&handle->session);
}

/* ---- the first part ---- */

static int take_profile(struct suspend *suspend, size_t *length_bytes, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;

    *length_bytes = 0;
    if (!vm->save_profile)
        return 0;
    suspend->profile = malloc(TERN_PROFILE_BYTES);
    if (!suspend->profile)
        return error_set(error, -ENOMEM, NULL, "out of memory for the guest's profile");
    return VM_ASK(vm->save_profile(vm->opaque, suspend->profile, TERN_PROFILE_BYTES, length_bytes, error),
                  "save_profile", TERN_SIDE_SOURCE, error);
}

/* The file, with all that does not change any more. */
static int open_image(struct suspend *suspend, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;
    struct image_section *section;
    size_t profile_bytes;
    int r = image_writer_open(suspend->path, &suspend->writer, error);

    if (!r)
        r = take_profile(suspend, &profile_bytes, error);
    if (r)
        return r;
    image_describe(&suspend->head, vm, profile_bytes, vm_state_capacity(vm));
    for (uint32_t i = 0; i < vm->n_regions; i++) {
        section = image_section(&suspend->head, IMAGE_MEMORY, i);
        suspend->regions[i] = (struct file_region){vm->regions[i].base, section->length_bytes, section->offset_bytes};
    }
    r = image_writer_reserve(&suspend->writer, suspend->head.file_bytes, error);
    section = image_section(&suspend->head, IMAGE_PROFILE, 0);
    if (!r && section) {
        section->digest = digest_bytes(suspend->profile, profile_bytes);
        r = image_writer_put(&suspend->writer, section, suspend->profile, error);
    }
    if (!r && !suspend->writer.is_direct)
        events_warning(&suspend->events, "the file system of %s has no O_DIRECT: the image passes the page cache",
                       suspend->path);
    return r ? r : guest_init(&suspend->guest, vm->regions, vm->n_regions, true, error);
}

/* A page that is given back between its digest and its write is no dirty one: the image would be a damaged one. */
static int inhibit_discards(struct suspend *suspend, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;
    int r;

    if (!vm->inhibit_discards)
        return 0;
    r = VM_ASK(vm->inhibit_discards(vm->opaque, true, error), "inhibit_discards", TERN_SIDE_SOURCE, error);
    suspend->inhibited = !r;
    return r;
}

/* ---- the last part: the guest stands still ---- */

static int pause_guest(struct suspend *suspend, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;
    uint64_t begin_ns = clock_now_ns();
    int r;

    suspend->paused = true; /* half a pause is undone by resume too */
    r = VM_ASK(vm->pause(vm->opaque, error), "pause", TERN_SIDE_SOURCE, error);
    suspend->at.paused_ns = clock_now_ns();
    suspend->at.pause_ns = begin_ns;
    if (!r && vm->paused_since) {
        uint64_t since_ns = vm->paused_since(vm->opaque);

        if (since_ns > begin_ns && since_ns < suspend->at.paused_ns)
            suspend->at.pause_ns = since_ns;
    }
    return r;
}

static int put_digests(struct suspend *suspend, struct tern_error *error)
{
    struct image_section *section = image_section(&suspend->head, IMAGE_DIGESTS, 0);
    uint64_t *all = malloc(section->length_bytes), at = 0;
    int r;

    if (!all)
        return error_set(error, -ENOMEM, NULL, "out of memory for the digests");
    for (uint32_t i = 0; i < suspend->guest.n_regions; i++) {
        struct digest_table *table = &suspend->guest.regions[i].digests;

        image_section(&suspend->head, IMAGE_MEMORY, i)->digest = digest_table_root(table);
        for (uint64_t group = 0; group < table->n_groups; group++)
            all[at++] = htole64(table->groups[group]);
    }
    section->digest = digest_bytes(all, section->length_bytes);
    r = image_writer_put(&suspend->writer, section, all, error);
    free(all);
    return r;
}

static int put_state(struct suspend *suspend, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;
    uint64_t capacity = vm_state_capacity(vm);
    struct image_section *section;
    size_t length = 0;
    void *buffer = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int r;

    if (buffer == MAP_FAILED)
        return error_set(error, -ENOMEM, NULL, "out of memory for the device state");
    r = VM_ASK(vm->save_state(vm->opaque, buffer, capacity, &length, error), "save_state", TERN_SIDE_SOURCE, error);
    if (r == -ENOSPC || (!r && length > capacity))
        r = error_set(error, -ENOSPC, "raise tern_vm.state_capacity_bytes", "the device state does not fit %llu bytes",
                      (unsigned long long)capacity);
    if (!r) {
        section = image_section(&suspend->head, IMAGE_STATE, 0);
        section->length_bytes = length;
        section->digest = digest_bytes(buffer, length);
        suspend->head.file_bytes = (section->offset_bytes + length + IMAGE_ALIGN - 1) / IMAGE_ALIGN * IMAGE_ALIGN;
        r = image_writer_put(&suspend->writer, section, buffer, error);
    }
    munmap(buffer, capacity);
    return r;
}

static int stop_and_copy(struct suspend *suspend, struct tern_error *error)
{
    int r = guest_fetch(&suspend->guest, &suspend->vm->tracker, error);

    suspend->at.scanned_ns = clock_now_ns();
    if (!r)
        r = suspend_round(suspend, true, error);
    suspend->at.written_ns = clock_now_ns();
    if (!r)
        r = put_digests(suspend, error);
    suspend->at.digested_ns = clock_now_ns();
    if (!r)
        r = put_state(suspend, error);
    suspend->at.saved_ns = clock_now_ns();
    return r;
}

/* Whoever would run the guest here if this process went, no longer does; then the image becomes one: by its head and
 * its name alone, so that nobody is left without either for long. */
static int commit(struct suspend *suspend, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;
    int r = suspend_cancelled(suspend, error);

    events_phase(&suspend->events, TERN_PHASE_COMMIT);
    if (!r)
        r = image_writer_settle(&suspend->writer, suspend->head.file_bytes, error);
    if (!r)
        r = suspend_cancelled(suspend, error);
    if (!r && vm->commit)
        r = VM_ASK(vm->commit(vm->opaque, error), "commit", TERN_SIDE_SOURCE, error);
    suspend->head.created_s = (uint64_t)time(NULL);
    if (!r)
        r = image_writer_finish(&suspend->writer, &suspend->head, error);
    suspend->at.done_ns = clock_now_ns();
    return r;
}

static int last_part(struct suspend *suspend, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;
    int r = 0;

    for (uint32_t i = 0; i < suspend->guest.n_regions; i++) /* so that the last time is cheap */
        digest_table_root(&suspend->guest.regions[i].digests);
    if (vm->prepare)
        r = VM_ASK(vm->prepare(vm->opaque, error), "prepare", TERN_SIDE_SOURCE, error);
    if (r)
        return r;
    events_phase(&suspend->events, TERN_PHASE_STOP_AND_COPY);
    r = pause_guest(suspend, error);
    if (!r)
        r = stop_and_copy(suspend, error);
    return r ? r : commit(suspend, error);
}

/* ---- the outcome ---- */

static void fill_ledger(struct suspend *suspend)
{
    const struct suspend_times *at = &suspend->at;

    suspend->result.ledger = (struct tern_ledger){
        .stop_ns = at->paused_ns - at->pause_ns,
        .last_scan_ns = at->scanned_ns - at->paused_ns,
        .last_write_ns = at->written_ns - at->scanned_ns,
        .fence_ns = at->digested_ns - at->written_ns,
        .state_ns = at->saved_ns - at->digested_ns,
        .commit_ns = at->done_ns - at->saved_ns,
    };
    suspend->result.downtime_ns = at->done_ns - at->pause_ns;
}

static void fill_result(struct suspend *suspend, bool ok)
{
    struct tern_result *result = &suspend->result;
    uint64_t now_ns = clock_now_ns();

    result->outcome = ok ? TERN_OUTCOME_SUSPENDED : TERN_OUTCOME_FAILED;
    snprintf(result->transport, sizeof(result->transport), "%s", link_file.name);
    if (suspend->link)
        snprintf(result->device, sizeof(result->device), "%s%s", link_file.source_device(suspend->link),
                 suspend->writer.is_direct ? ", O_DIRECT" : "");
    result->rounds = suspend->round;
    result->memory_bytes = vm_memory_bytes(suspend->vm);
    result->total_ns = now_ns - suspend->start_ns;
    if (suspend->first_page_ns) {
        result->setup_ns = suspend->first_page_ns - suspend->start_ns;
        result->mean_bps = (uint64_t)((double)result->bytes_sent * 8e9 / (double)(now_ns - suspend->first_page_ns + 1));
    }
    if (ok)
        fill_ledger(suspend);
}

/* There is no image, so the guest runs on. */
static int give_up(struct suspend *suspend, int code, struct tern_error *error)
{
    const struct tern_vm *vm = suspend->vm;
    struct tern_error why = *error;
    int r;

    if (!suspend->paused)
        return code;
    r = VM_ASK(vm->resume(vm->opaque, error), "resume", TERN_SIDE_SOURCE, error);
    if (!r || (r == -ESRCH && code == -ESRCH)) { /* a guest that has ended does not run on */
        *error = why;
        return code;
    }
    return error_set(error, -EIO, "look at the VMM's messages; 'tern cont' tries again",
                     "suspending failed (%.120s) and the guest could not be resumed: %.120s", why.message,
                     strerror(-r));
}

static void release(struct suspend *suspend)
{
    if (suspend->rounds)
        rounds_abort(suspend->rounds);
    if (suspend->link)
        link_file.source_abort(suspend->link);
    rounds_destroy(suspend->rounds);
    if (suspend->tracking && suspend->vm->tracker.ops->stop)
        suspend->vm->tracker.ops->stop(suspend->vm->tracker.self);
    if (suspend->inhibited)
        suspend->vm->inhibit_discards(suspend->vm->opaque, false, NULL);
    suspend->events.device = NULL;
    link_file.source_close(suspend->link);
    guest_free(&suspend->guest);
    free(suspend->profile);
    image_writer_close(&suspend->writer);
}

int tern_suspend_run(struct tern_suspend *handle, struct tern_result *result, struct tern_error *error)
{
    struct suspend *suspend = &handle->session;
    struct tern_error own = {0};
    int r;

    suspend->start_ns = clock_now_ns();
    suspend->events.transport = link_file.name;
    events_phase(&suspend->events, TERN_PHASE_INITIATE);
    r = open_image(suspend, &own);
    if (!r)
        r = inhibit_discards(suspend, &own);
    if (!r)
        r = suspend_precopy(suspend, &own);
    if (!r)
        r = last_part(suspend, &own);
    fill_result(suspend, !r);
    if (r)
        r = give_up(suspend, r, &own);
    if (suspend->throttled)
        suspend->vm->throttle(suspend->vm->opaque, 0, NULL);
    release(suspend);
    error_side(&own, TERN_SIDE_SOURCE);
    if (r && error)
        *error = own;
    suspend->result.struct_bytes = sizeof(*result);
    *result = suspend->result;
    return r;
}
