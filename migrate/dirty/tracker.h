/* SPDX-License-Identifier: BSD-2-Clause */
/* What libtern's own trackers have in common: the first member of each. */
#ifndef MIGRATE_DIRTY_TRACKER_H
#define MIGRATE_DIRTY_TRACKER_H

#include <stdbool.h>

#include "migrate/tern.h"

struct tracker_base {
    void (*destroy)(void *self);
    bool running;
};

#endif
