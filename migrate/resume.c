/* SPDX-License-Identifier: BSD-2-Clause */
/* A session that resumes a guest from an image: the device state first, the memory before or after the guest runs. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/events.h"
#include "migrate/image_lazy.h"
#include "migrate/image_load.h"
#include "migrate/image_notes.h"
#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define PROGRESS_NS (200 * NS_PER_MS)

enum stage { BEFORE, CANCELLED, RUNS };

struct tern_resume {
    const struct tern_vm *vm;
    struct tern_options options;
    struct events events;
    struct tern_result result;
    struct image image;
    struct image_lazy *lazy;
    struct tern_lent_memory lent;
    bool is_lent;
    int own_notes; /* -1: none */
    uint64_t start_ns, report_ns, first_bytes;
    _Atomic uint64_t left_bytes;
    uint64_t load_ns; /* when the reading of memory began */
    bool runs;
    _Atomic uint8_t stage; /* any thread */
};

/* ---- life ---- */

static int check_profile(struct tern_resume *resume, struct tern_error *error)
{
    const struct image_section *section = image_find(&resume->image.head, IMAGE_PROFILE, 0);
    const struct tern_vm *vm = resume->vm;
    uint8_t *profile;
    int r = 0;

    if (!vm->check_profile)
        return 0;
    profile = malloc(TERN_PROFILE_BYTES);
    if (!profile)
        return error_set(error, -ENOMEM, NULL, "out of memory for the guest's profile");
    if (section)
        r = image_get(&resume->image, section, profile, error);
    if (!r)
        r = VM_ASK(vm->check_profile(vm->opaque, profile, section ? section->length_bytes : 0, error), "check_profile",
                   TERN_SIDE_DESTINATION, error);
    if (r && error && r != -EILSEQ)
        error_prefix(error, "section 'profile' does not fit");
    free(profile);
    return r;
}

int tern_resume_create(const struct tern_vm *vm, const char *path, const struct tern_options *options,
                       struct tern_resume **out, struct tern_error *error)
{
    struct tern_resume *resume = NULL;
    struct tern_options taken;
    int r = vm_check(vm, TERN_SIDE_DESTINATION, error);

    if (!r)
        r = options_take(options, TERN_SIDE_NONE, &taken, error);
    if (!r && !(resume = calloc(1, sizeof(*resume))))
        r = error_set(error, -ENOMEM, NULL, "out of memory for resuming");
    if (r)
        return r;
    resume->vm = vm;
    resume->options = taken;
    resume->image = (struct image){.fd = -1, .bulk_fd = -1};
    resume->own_notes = -1;
    events_init(&resume->events, &taken, TERN_SIDE_DESTINATION);
    r = image_open(path, &resume->image, error);
    if (!r)
        r = image_fits(&resume->image.head, vm, error);
    if (!r)
        r = check_profile(resume, error);
    if (r) {
        error_side(error, TERN_SIDE_DESTINATION);
        tern_resume_destroy(resume);
        return r;
    }
    *out = resume;
    return 0;
}

void tern_resume_destroy(struct tern_resume *resume)
{
    if (!resume)
        return;
    if (resume->own_notes >= 0)
        close(resume->own_notes);
    image_close(&resume->image);
    events_free(&resume->events);
    free(resume);
}

void tern_resume_cancel(struct tern_resume *resume)
{
    uint8_t before = BEFORE;

    if (!atomic_compare_exchange_strong(&resume->stage, &before, CANCELLED) && !resume->is_lent)
        atomic_store(&resume->stage, CANCELLED);
}

/* ---- memory ---- */

static int cancelled(struct tern_error *error)
{
    return error_set(error, -ECANCELED, NULL, "the resume was cancelled");
}

static int turn(void *opaque, uint64_t left_bytes, struct tern_error *error)
{
    struct tern_resume *resume = opaque;
    uint64_t now_ns = clock_now_ns(), done = resume->first_bytes - left_bytes, ns = now_ns - resume->load_ns;
    struct tern_event event = {.kind = TERN_EVENT_PROGRESS, .bytes_left = left_bytes, .bytes_sent = done};

    resume->left_bytes = left_bytes;
    if (atomic_load(&resume->stage) == CANCELLED)
        return cancelled(error);
    if (now_ns < resume->report_ns + PROGRESS_NS)
        return 0;
    resume->report_ns = now_ns;
    event.rate_bps = ns ? (uint64_t)((double)done * 8e9 / (double)ns) : 0;
    events_send(&resume->events, &event);
    return 0;
}

/* Straight into guest memory; what is a hole there stays one here. */
static uint8_t *place(void *opaque, uint64_t group, uint32_t slot)
{
    struct tern_resume *resume = opaque;
    struct image_group at = image_group(&resume->image, group);

    (void)slot;
    return (uint8_t *)resume->vm->regions[at.region].base + at.offset_bytes;
}

static int done(void *opaque, uint64_t group, const uint8_t *bytes, const uint64_t digests[DIGEST_GROUP_PAGES],
                struct tern_error *error)
{
    struct tern_resume *resume = opaque;

    (void)group;
    (void)bytes;
    (void)digests;
    (void)error;
    atomic_fetch_sub(&resume->left_bytes, IMAGE_GROUP_BYTES);
    return 0;
}

static int eager_turn(void *opaque, struct tern_error *error)
{
    struct tern_resume *resume = opaque;

    return turn(resume, resume->left_bytes, error);
}

static int load_all(struct tern_resume *resume, struct tern_error *error)
{
    static const struct image_load_ops ops = {.place = place, .done = done, .turn = eager_turn};
    int no_ring, r = image_load(&resume->image, &ops, resume, &no_ring, error);

    if (!r && no_ring)
        events_warning(&resume->events, "the kernel gives no io_uring (%s): the image was read more slowly",
                       strerrordesc_np(no_ring));
    return r;
}

static uint64_t bytes_to_read(const struct image *image)
{
    uint64_t bytes = 0;

    for (uint64_t group = 0; group < image->n_groups; group++)
        bytes += image_group_is_zero(image, group) ? 0 : IMAGE_GROUP_BYTES;
    return bytes;
}

static int lend(struct tern_resume *resume, bool on, struct tern_error *error)
{
    const struct tern_vm *vm = resume->vm;

    resume->lent.image_fd = resume->image.fd;
    return VM_ASK(vm->lend_memory(vm->opaque, on, &resume->lent, error), "lend_memory", TERN_SIDE_DESTINATION, error);
}

/* The reason why not is the last word of `error`, whatever comes after it. */
static int begin_lazily(struct tern_resume *resume, struct tern_error *error)
{
    bool of_other = resume->vm->lend_memory != NULL;
    struct tern_error late = {0};
    int r = of_other ? image_notes_create(resume->image.n_groups, &resume->own_notes, error) : 0;

    if (of_other && !r) {
        resume->lent.notes_fd = resume->own_notes;
        r = lend(resume, true, error);
    }
    if (r)
        return r;
    r = image_lazy_start(&resume->image, resume->vm, of_other ? &resume->lent : NULL, &resume->lazy, error);
    if (r && of_other && !resume->lent.begun && lend(resume, false, &late))
        events_warning(&resume->events, "%s", late.message);
    resume->is_lent = !r && of_other;
    return r;
}

/* Lazily where it can be had and was not forbidden. */
static int begin_memory(struct tern_resume *resume, struct tern_error *error)
{
    struct tern_error why = {0};

    resume->load_ns = resume->report_ns = clock_now_ns();
    resume->first_bytes = bytes_to_read(&resume->image);
    resume->left_bytes = resume->first_bytes;
    if (!resume->options.eager && !begin_lazily(resume, &why))
        return 0;
    if (resume->lent.begun) { /* what is there must not be written again */
        if (error)
            *error = why;
        return why.code;
    }
    if (!resume->options.eager)
        events_warning(&resume->events, "all memory is read before the guest runs: %s%s%s", why.message,
                       *why.hint ? "; " : "", why.hint);
    return load_all(resume, error);
}

/* ---- the guest ---- */

static int load_state(struct tern_resume *resume, struct tern_error *error)
{
    const struct image_section *section = image_find(&resume->image.head, IMAGE_STATE, 0);
    const struct tern_vm *vm = resume->vm;
    uint8_t *state = malloc(section->length_bytes + 1);
    int r;

    if (!state)
        return error_set(error, -ENOMEM, NULL, "out of memory for the device state");
    r = image_get(&resume->image, section, state, error);
    if (!r && vm->prepare)
        r = VM_ASK(vm->prepare(vm->opaque, error), "prepare", TERN_SIDE_DESTINATION, error);
    if (!r) /* after the state was checked, before a part of the guest is made of it */
        r = begin_memory(resume, error);
    if (!r)
        r = VM_ASK(vm->load_state(vm->opaque, state, section->length_bytes, error), "load_state", TERN_SIDE_DESTINATION,
                   error);
    free(state);
    return r;
}

static int activate(struct tern_resume *resume, struct tern_error *error)
{
    const struct tern_vm *vm = resume->vm;
    uint8_t before = BEFORE;
    int r;

    if (!atomic_compare_exchange_strong(&resume->stage, &before, RUNS)) /* nothing has happened to the guest yet */
        return cancelled(error);
    r = VM_ASK(vm->resume(vm->opaque, error), "resume", TERN_SIDE_DESTINATION, error);
    if (r)
        return r;
    resume->runs = true;
    resume->result.setup_ns = clock_now_ns() - resume->start_ns;
    events_phase(&resume->events, TERN_PHASE_ACTIVATE);
    return resume->lazy ? image_lazy_fill(resume->lazy, turn, resume, error) : 0;
}

/* The guest may have written its disks: no image goes with them any more. */
static void explain_late(const struct tern_resume *resume, int code, struct tern_error *error)
{
    static const char hint[] =
        "its disks may have been written since: an image, or a copy of one, fits only disks as they "
        "were when it was made";

    if (resume->runs && code != -ESRCH && code != -ECANCELED)
        snprintf(error->hint, sizeof(error->hint), "%s", hint);
}

/* It waits for what cannot come, or is not wanted any more: stopped while what can come still does. */
static void stop_guest(struct tern_resume *resume)
{
    struct tern_event event = {.kind = TERN_EVENT_STOPPING};

    if (!resume->runs)
        return;
    events_send(&resume->events, &event);
    if (resume->vm->pause)
        resume->vm->pause(resume->vm->opaque, NULL);
}

static void fill_result(struct tern_resume *resume, bool ok)
{
    struct tern_result *result = &resume->result;
    uint64_t now_ns = clock_now_ns();

    result->outcome = ok ? TERN_OUTCOME_RESUMED : TERN_OUTCOME_FAILED;
    snprintf(result->transport, sizeof(result->transport), "file");
    snprintf(result->device, sizeof(result->device), "%s", resume->lazy ? "lazy" : "eager");
    result->memory_bytes = vm_memory_bytes(resume->vm);
    result->bytes_sent = resume->first_bytes - resume->left_bytes;
    result->total_ns = now_ns - resume->start_ns;
    if (resume->load_ns)
        result->mean_bps = (uint64_t)((double)result->bytes_sent * 8e9 / (double)(now_ns - resume->load_ns + 1));
}

int tern_resume_run(struct tern_resume *resume, struct tern_result *result, struct tern_error *error)
{
    struct tern_error own = {0}, late = {0};
    int r;

    resume->start_ns = clock_now_ns();
    resume->events.transport = "file";
    events_phase(&resume->events, TERN_PHASE_INITIATE);
    r = load_state(resume, &own);
    if (!r)
        r = activate(resume, &own);
    if (r && resume->lazy && image_lazy_noted(resume->lazy, &late)) { /* what has hung on it knows less */
        r = late.code;
        own = late;
        late = (struct tern_error){0};
    }
    if (!r)
        resume->left_bytes = 0;
    if (r)
        stop_guest(resume);
    if (r)
        explain_late(resume, r, &own);
    fill_result(resume, !r);
    image_lazy_stop(resume->lazy);
    resume->lazy = NULL;
    if (!r && resume->is_lent && lend(resume, false, &late))
        events_warning(&resume->events, "%s", late.message);
    error_side(&own, TERN_SIDE_DESTINATION);
    if (r && error)
        *error = own;
    resume->result.struct_bytes = sizeof(*result);
    *result = resume->result;
    return r;
}
