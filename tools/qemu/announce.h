/* SPDX-License-Identifier: BSD-2-Clause */
/* Telling the network where the guest is. QEMU does so by itself when a state has been loaded, some five times in 0.8
 * s; its guest then still stands still, and if the commit is late (a cut link, an operator's word) all of it is over
 * before the guest runs, or the switches have learnt a place where it never will. */
#ifndef TOOLS_QEMU_ANNOUNCE_H
#define TOOLS_QEMU_ANNOUNCE_H

#include "tools/qemu/qmp.h"

/* How often and how long, as QEMU's migration parameters have it. */
struct announce {
    uint64_t initial_ms, max_ms, rounds, step_ms;
};

/* parameters: query-migrate-parameters' answer, or NULL; what it lacks is QEMU's default. */
void announce_read(struct announce *announce, struct json_object *parameters);
/* Ask for announcements; QEMU makes them by itself from then on. Does not wait; QEMU before 4.0 has none. */
void announce_soon(const struct announce *announce, struct qmp *qmp);

#endif
