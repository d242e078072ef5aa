/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/dirty/tracker.h"

void tern_tracker_destroy(struct tern_tracker *tracker)
{
    struct tracker_base *base = tracker->self;

    if (!tracker->ops)
        return;
    if (base->running)
        tracker->ops->stop(base);
    base->destroy(base);
    *tracker = (struct tern_tracker){0};
}
