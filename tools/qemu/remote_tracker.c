/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/remote_tracker.h"

#include <errno.h>

#include "tools/qemu/drained_tracker.h"
#include "tools/qemu/remote_soft_dirty.h"
#include "tools/qemu/remote_uffd.h"
#include "transport/error.h"

static int create_inner(const struct guest_ram *ram, const char *reporter, struct tern_tracker *out,
                        struct tern_error *error)
{
    int r = remote_uffd_create(ram, out, error);

    if (r != -ENOTSUP)
        return r;
    r = remote_soft_dirty_create(ram, out, error);
    /* A page that was written, given back and read again is in no page table as written. */
    if (!r && reporter) {
        tern_tracker_destroy(out);
        r = error_set(error, -ENOTSUP, "start QEMU without free-page-reporting, or take Linux 6.7",
                      "device '%s' reports free pages, which kernels before Linux 6.7 do not track", reporter);
    }
    return r;
}

int remote_tracker_create(const struct guest_ram *ram, const char *reporter, bool drained, struct qmp *qmp,
                          struct guardian *guardian, struct tern_tracker *out, struct tern_error *error)
{
    struct tern_tracker inner;
    int r = create_inner(ram, reporter, &inner, error);

    if (r)
        return r;
    if (drained)
        r = drained_tracker_create(&inner, ram, qmp, guardian, out, error);
    else
        *out = inner;
    if (r)
        tern_tracker_destroy(&inner);
    return r;
}

void remote_tracker_rest(struct tern_tracker *tracker, bool rests)
{
    if (drained_tracker_is(tracker))
        drained_tracker_rest(tracker, rests);
}

struct remote_tracker_cost remote_tracker_cost(const struct tern_tracker *tracker)
{
    if (drained_tracker_is(tracker)) {
        struct remote_tracker_cost inner = remote_tracker_cost(drained_tracker_inner(tracker));

        return (struct remote_tracker_cost){drained_tracker_stopped_ns(tracker), true, inner.n_distrusted};
    }
    if (remote_soft_dirty_is(tracker))
        return (struct remote_tracker_cost){remote_soft_dirty_stopped_ns(tracker), true,
                                            remote_soft_dirty_distrusted(tracker)};
    return (struct remote_tracker_cost){.stopped_ns = remote_uffd_stopped_ns(tracker)};
}
