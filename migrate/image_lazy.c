/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/image_lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/image_load.h"
#include "migrate/image_notes.h"
#include "transport/error.h"

#define NO_MEMORY_PAUSE_MS 100
#define NO_MEMORY_TRIES    200u

enum group_state { GROUP_MISSING, GROUP_READING, GROUP_THERE, GROUP_LOST };

struct image_lazy {
    const struct image *image;
    const struct tern_region *regions;
    const struct tern_lent_memory *lent;        /* NULL: the memory is this process's */
    uint64_t addresses[TERN_IMAGE_REGIONS_MAX]; /* of the regions, in the process that has them */
    uint32_t n_regions, n_registered;
    int uffd, stop_fd;
    bool started;
    pthread_t thread;
    uint8_t *buffers; /* IMAGE_LOAD_SLOTS for the filling, one for faults; a group each */
    _Atomic uint8_t *states;
    _Atomic uint8_t *notes; /* the groups that were begun, be it by a process that has ended; lent memory: shared */
    _Atomic uint64_t left_groups;
    int (*turn)(void *opaque, uint64_t left_bytes, struct tern_error *error);
    void *turn_opaque;

    pthread_mutex_t lock; /* guards what follows: the first failure of the faults' thread */
    int code;
    struct tern_error error;
};

static uint8_t *buffer_of(const struct image_lazy *lazy, uint32_t slot)
{
    return lazy->buffers + slot * IMAGE_GROUP_BYTES;
}

/* The next state, from this one only. */
static bool pass(struct image_lazy *lazy, uint64_t group, uint8_t from, uint8_t to)
{
    return atomic_compare_exchange_strong(&lazy->states[group], &from, to);
}

/* ---- putting pages there ---- */

static void wake(const struct image_lazy *lazy, uint64_t address, uint64_t length_bytes)
{
    struct uffdio_range range = {address, length_bytes};

    ioctl(lazy->uffd, UFFDIO_WAKE, &range);
}

/* Memory that the host is short of may come; whoever waits for the page can wait on. */
static bool is_to_be_tried_again(const struct image_lazy *lazy, int code, uint32_t *tries)
{
    struct pollfd stop = {.fd = lazy->stop_fd, .events = POLLIN};

    if (code != ENOMEM)
        return code == EAGAIN;
    return (*tries)++ < NO_MEMORY_TRIES && !poll(&stop, 1, NO_MEMORY_PAUSE_MS);
}

/* is_begun: what is there was put there by us, or by a process that has ended, and stays. Nobody else does. */
static int copy(const struct image_lazy *lazy, uint64_t to, const uint8_t *from, uint64_t length_bytes, bool is_begun)
{
    uint32_t tries = 0;

    while (length_bytes) {
        struct uffdio_copy copy = {.dst = to, .src = (uintptr_t)from, .len = length_bytes};
        uint64_t done;

        if (!ioctl(lazy->uffd, UFFDIO_COPY, &copy))
            return 0;
        done = copy.copy > 0 ? (uint64_t)copy.copy : 0;
        if (!done && errno == EEXIST && is_begun)
            done = TERN_PAGE_BYTES;
        if (!done && !is_to_be_tried_again(lazy, errno, &tries))
            return -errno;
        to += done;
        from += done;
        length_bytes -= done;
    }
    return 0;
}

/* A page of zeros, once somebody has touched it: all others stay holes. */
static int put_zeros(const struct image_lazy *lazy, uint64_t page, uint64_t page_bytes)
{
    struct uffdio_zeropage zero = {.range = {page, page_bytes}};
    uint32_t tries = 0;
    uint8_t *zeros;
    int r = 0;

    if (page_bytes == TERN_PAGE_BYTES) {
        while (!r && ioctl(lazy->uffd, UFFDIO_ZEROPAGE, &zero))
            r = is_to_be_tried_again(lazy, errno, &tries) ? 0 : -errno;
    } else {
        zeros = mmap(NULL, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        r = zeros == MAP_FAILED ? -errno : copy(lazy, page, zeros, page_bytes, false);
        if (zeros != MAP_FAILED)
            munmap(zeros, page_bytes);
    }
    wake(lazy, page, page_bytes);
    return r == -EEXIST ? 0 : r;
}

static uint64_t address_of(const struct image_lazy *lazy, const struct image_group *place)
{
    return lazy->addresses[place->region] + place->offset_bytes;
}

static int cannot_put(int code, struct tern_error *error)
{
    if (code == -ESRCH)
        return error_set(error, code, NULL, "the process that has the guest's memory has ended");
    if (code == -EEXIST)
        return error_set(error, code, NULL,
                         "guest memory was touched by somebody else before it was read from its image, and may have "
                         "been seen as zeros");
    return error_set(error, code, NULL, "cannot put guest memory in its place: %s", strerror(-code));
}

/* All of a group's data, then whoever waits for it. */
static int put_group(struct image_lazy *lazy, uint64_t group, uint8_t *bytes, const uint64_t *digests,
                     struct tern_error *error)
{
    struct image_group place = image_group(lazy->image, group);
    uint64_t length = (uint64_t)place.n_pages * TERN_PAGE_BYTES;
    uint64_t page_bytes = lazy->regions[place.region].page_bytes;
    uint64_t to = address_of(lazy, &place);
    bool is_begun = atomic_exchange(&lazy->notes[group], 1);
    int r = 0;

    if (page_bytes > TERN_PAGE_BYTES) {
        for (uint32_t page = 0; page < place.n_pages; page++)
            if (!digests[page])
                memset(bytes + (uint64_t)page * TERN_PAGE_BYTES, 0, TERN_PAGE_BYTES);
        r = copy(lazy, to, bytes, length, is_begun);
    } else {
        for (uint32_t first = 0, end; first < place.n_pages && !r; first = end + 1) {
            for (end = first; end < place.n_pages && digests[end]; end++)
                ;
            if (end > first)
                r = copy(lazy, to + (uint64_t)first * TERN_PAGE_BYTES, bytes + (uint64_t)first * TERN_PAGE_BYTES,
                         (uint64_t)(end - first) * TERN_PAGE_BYTES, is_begun);
        }
    }
    if (r)
        return cannot_put(r, error);
    atomic_store(&lazy->states[group], GROUP_THERE);
    atomic_fetch_sub(&lazy->left_groups, 1);
    wake(lazy, to, length);
    return 0;
}

/* Whoever touches it faults, instead of waiting for ever or of reading zeros. Another process's protection is not ours
 * to change: there it is waited for. */
static void lose_group(struct image_lazy *lazy, uint64_t group)
{
    struct image_group place = image_group(lazy->image, group);
    uint64_t length = (uint64_t)place.n_pages * TERN_PAGE_BYTES;

    if (!lazy->lent)
        mprotect((void *)(uintptr_t)address_of(lazy, &place), length, PROT_NONE);
    atomic_store(&lazy->states[group], GROUP_LOST);
    if (!lazy->lent)
        wake(lazy, address_of(lazy, &place), length);
}

/* ---- faults ---- */

static void note_failure(struct image_lazy *lazy, int code, const struct tern_error *error)
{
    pthread_mutex_lock(&lazy->lock);
    if (!lazy->code) {
        lazy->code = code;
        lazy->error = *error;
    }
    pthread_mutex_unlock(&lazy->lock);
}

static void read_for_fault(struct image_lazy *lazy, uint64_t group)
{
    uint8_t *bytes = buffer_of(lazy, IMAGE_LOAD_SLOTS);
    uint64_t digests[DIGEST_GROUP_PAGES];
    struct tern_error error = {0};
    int r = image_read_group(lazy->image, group, bytes, digests, &error);

    if (!r)
        r = put_group(lazy, group, bytes, digests, &error);
    if (!r)
        return;
    if (r == -ENOMEM)
        atomic_store(&lazy->states[group], GROUP_MISSING); /* the image has it: it is not lost */
    else
        lose_group(lazy, group);
    note_failure(lazy, r, &error);
}

static void put_zeros_for_fault(struct image_lazy *lazy, uint64_t page, uint64_t page_bytes)
{
    struct tern_error error = {0};
    int r = put_zeros(lazy, page, page_bytes);

    if (r)
        note_failure(lazy, cannot_put(r, &error), &error);
}

static void take_fault(struct image_lazy *lazy, uint64_t address)
{
    for (uint32_t i = 0; i < lazy->n_regions; i++) {
        const struct tern_region *region = &lazy->regions[i];
        uint64_t offset = address - lazy->addresses[i], group;

        if (address < lazy->addresses[i] || offset >= region->length_bytes)
            continue;
        group = lazy->image->first_group[i] + offset / IMAGE_GROUP_BYTES;
        offset -= offset % region->page_bytes;
        if (pass(lazy, group, GROUP_MISSING, GROUP_READING))
            read_for_fault(lazy, group);
        else if (atomic_load(&lazy->states[group]) == GROUP_THERE)
            put_zeros_for_fault(lazy, lazy->addresses[i] + offset, region->page_bytes);
        return; /* or the filling is at it, and wakes all that wait when it is there */
    }
}

static void *faults_main(void *opaque)
{
    struct image_lazy *lazy = opaque;
    struct pollfd fds[2] = {{.fd = lazy->uffd, .events = POLLIN}, {.fd = lazy->stop_fd, .events = POLLIN}};

    for (;;) {
        struct uffd_msg message;

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[1].revents)
            return NULL;
        while (read(lazy->uffd, &message, sizeof(message)) == sizeof(message))
            if (message.event == UFFD_EVENT_PAGEFAULT)
                take_fault(lazy, message.arg.pagefault.address);
    }
}

/* ---- life ---- */

static int cannot(const char *what, struct tern_error *error)
{
    int code = -errno;

    return error_set(error, code, code == -EPERM ? "run tern as root, or set vm.unprivileged_userfaultfd=1" : NULL,
                     "%s: %s", what, strerror(-code));
}

/* Faults of the kernel on the guest's behalf (KVM) are to be seen too. */
static int open_uffd(struct image_lazy *lazy, struct tern_error *error)
{
    struct uffdio_api api = {.api = UFFD_API};

    lazy->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (lazy->uffd < 0)
        return cannot("no userfaultfd", error);
    return ioctl(lazy->uffd, UFFDIO_API, &api) ? cannot("no userfaultfd of this version", error) : 0;
}

/* It reads as zero, but who has read it (a look at the status) has pages of zeros there, where no fault would come. Now
 * that it is registered, no more of them appear. MADV_REMOVE is for what is shared. */
static int drop(const struct tern_region *region)
{
    return madvise(region->base, region->length_bytes, MADV_REMOVE) &&
           madvise(region->base, region->length_bytes, MADV_DONTNEED);
}

static int register_regions(struct image_lazy *lazy, struct tern_error *error)
{
    for (; lazy->n_registered < lazy->n_regions; lazy->n_registered++) {
        const struct tern_region *region = &lazy->regions[lazy->n_registered];
        struct uffdio_register request = {.range = {(uintptr_t)region->base, region->length_bytes},
                                          .mode = UFFDIO_REGISTER_MODE_MISSING};

        if (region->page_bytes > IMAGE_GROUP_BYTES)
            return error_set(error, -EOPNOTSUPP, NULL, "region '%s' has pages of 1 GiB", region->name);
        if (ioctl(lazy->uffd, UFFDIO_REGISTER, &request))
            return cannot("userfaultfd does not take the guest's memory", error);
        if (drop(region))
            return cannot("cannot empty the guest's memory", error);
    }
    return 0;
}

/* What a process that has ended had heard of and not answered is asked again. */
static void take_lent(struct image_lazy *lazy)
{
    lazy->uffd = lazy->lent->uffd;
    for (uint32_t i = 0; i < lazy->n_regions; i++) {
        lazy->addresses[i] = lazy->lent->addresses[i];
        wake(lazy, lazy->addresses[i], lazy->regions[i].length_bytes);
    }
}

static int take_own(struct image_lazy *lazy, struct tern_error *error)
{
    int r = open_uffd(lazy, error);

    for (uint32_t i = 0; i < lazy->n_regions; i++)
        lazy->addresses[i] = (uintptr_t)lazy->regions[i].base;
    return r ? r : register_regions(lazy, error);
}

static int start(struct image_lazy *lazy, struct tern_error *error)
{
    int r = 0;

    lazy->stop_fd = eventfd(0, EFD_CLOEXEC);
    lazy->states = calloc(lazy->image->n_groups, sizeof(*lazy->states));
    lazy->buffers = mmap(NULL, (IMAGE_LOAD_SLOTS + 1) * IMAGE_GROUP_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (lazy->stop_fd < 0 || !lazy->states || lazy->buffers == MAP_FAILED)
        r = error_set(error, -ENOMEM, NULL, "out of memory for reading the image");
    for (uint64_t group = 0; group < lazy->image->n_groups && !r; group++) {
        bool zero = image_group_is_zero(lazy->image, group);

        lazy->states[group] = zero ? GROUP_THERE : GROUP_MISSING;
        lazy->left_groups += !zero;
    }
    if (!r)
        r = image_notes_map(lazy->lent ? lazy->lent->notes_fd : -1, lazy->image->n_groups, &lazy->notes, error);
    if (!r && lazy->lent)
        take_lent(lazy);
    else if (!r)
        r = take_own(lazy, error);
    if (!r) {
        r = -pthread_create(&lazy->thread, NULL, faults_main, lazy);
        lazy->started = !r;
        if (r)
            error_set(error, r, NULL, "cannot start a thread: %s", strerror(-r));
    }
    return r;
}

int image_lazy_start(const struct image *image, const struct tern_vm *vm, const struct tern_lent_memory *lent,
                     struct image_lazy **out, struct tern_error *error)
{
    struct image_lazy *lazy = calloc(1, sizeof(*lazy));
    int r;

    if (!lazy)
        return error_set(error, -ENOMEM, NULL, "out of memory for reading the image");
    lazy->image = image;
    lazy->lent = lent;
    lazy->regions = vm->regions;
    lazy->n_regions = vm->n_regions;
    lazy->uffd = lazy->stop_fd = -1;
    lazy->buffers = MAP_FAILED;
    pthread_mutex_init(&lazy->lock, NULL);
    r = start(lazy, error);
    if (r)
        image_lazy_stop(lazy);
    else
        *out = lazy;
    return r;
}

/* Runs of groups of a region that are not there; all of it, if the kernel has no room for so many mappings. */
static void forbid_missing(const struct image_lazy *lazy, uint32_t index)
{
    const struct tern_region *region = &lazy->regions[index];
    const _Atomic uint8_t *states = lazy->states + lazy->image->first_group[index];
    uint64_t n = image_groups(region->length_bytes);

    for (uint64_t first = 0, end; first < n; first = end + 1) {
        uint64_t from = first * IMAGE_GROUP_BYTES, to;

        for (end = first; end < n && atomic_load(&states[end]) != GROUP_THERE; end++)
            ;
        to = end < n ? end * IMAGE_GROUP_BYTES : region->length_bytes;
        if (end > first && mprotect((uint8_t *)region->base + from, to - from, PROT_NONE)) {
            mprotect(region->base, region->length_bytes, PROT_NONE);
            return;
        }
    }
}

void image_lazy_stop(struct image_lazy *lazy)
{
    uint64_t one = 1;

    if (!lazy)
        return;
    if (lazy->started && write(lazy->stop_fd, &one, sizeof(one)) == sizeof(one))
        pthread_join(lazy->thread, NULL);
    if (lazy->started && !lazy->lent && atomic_load(&lazy->left_groups)) /* before it can be read as zeros */
        for (uint32_t i = 0; i < lazy->n_regions; i++)
            forbid_missing(lazy, i);
    for (uint32_t i = 0; i < lazy->n_registered; i++) { /* wakes whoever waits */
        struct uffdio_range range = {(uintptr_t)lazy->regions[i].base, lazy->regions[i].length_bytes};

        ioctl(lazy->uffd, UFFDIO_UNREGISTER, &range);
    }
    if (lazy->uffd >= 0 && !lazy->lent)
        close(lazy->uffd);
    if (lazy->stop_fd >= 0)
        close(lazy->stop_fd);
    if (lazy->buffers != MAP_FAILED)
        munmap(lazy->buffers, (IMAGE_LOAD_SLOTS + 1) * IMAGE_GROUP_BYTES);
    if (lazy->notes)
        munmap((void *)lazy->notes, lazy->image->n_groups);
    free(lazy->states);
    pthread_mutex_destroy(&lazy->lock);
    free(lazy);
}

/* ---- filling ---- */

static bool claim(void *opaque, uint64_t group)
{
    return pass(opaque, group, GROUP_MISSING, GROUP_READING);
}

static uint8_t *place(void *opaque, uint64_t group, uint32_t slot)
{
    (void)group;
    return buffer_of(opaque, slot);
}

static int done(void *opaque, uint64_t group, const uint8_t *bytes, const uint64_t digests[DIGEST_GROUP_PAGES],
                struct tern_error *error)
{
    return put_group(opaque, group, (uint8_t *)bytes, digests, error);
}

/* What was not read to the end can still be, for who touches it. */
static void failed(void *opaque, uint64_t group, bool is_damaged)
{
    struct image_lazy *lazy = opaque;
    struct image_group at = image_group(lazy->image, group);

    if (is_damaged) {
        lose_group(lazy, group);
        return;
    }
    atomic_store(&lazy->states[group], GROUP_MISSING);
    wake(lazy, address_of(lazy, &at), (uint64_t)at.n_pages * TERN_PAGE_BYTES);
}

int image_lazy_noted(struct image_lazy *lazy, struct tern_error *error)
{
    int r;

    pthread_mutex_lock(&lazy->lock);
    r = lazy->code;
    if (r)
        *error = lazy->error;
    pthread_mutex_unlock(&lazy->lock);
    return r;
}

static int turn(void *opaque, struct tern_error *error)
{
    struct image_lazy *lazy = opaque;
    int r = image_lazy_noted(lazy, error);

    return r ? r : lazy->turn(lazy->turn_opaque, atomic_load(&lazy->left_groups) * IMAGE_GROUP_BYTES, error);
}

int image_lazy_fill(struct image_lazy *lazy, int (*each)(void *opaque, uint64_t left_bytes, struct tern_error *error),
                    void *opaque, struct tern_error *error)
{
    static const struct image_load_ops ops = {
        .claim = claim, .place = place, .done = done, .failed = failed, .turn = turn};
    struct tern_error own = {0};
    int r;

    lazy->turn = each;
    lazy->turn_opaque = opaque;
    r = image_load(lazy->image, &ops, lazy, NULL, &own);
    while (!r && atomic_load(&lazy->left_groups)) { /* the last ones are being read for a fault */
        r = turn(lazy, &own);
        poll(NULL, 0, 1);
    }
    if (r && error)
        *error = own;
    return r;
}
