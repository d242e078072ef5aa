/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest and an engine that do nothing but what a test lets them: whoever starts a migration, a suspend or a resume
 * hears of its phases until the test says how it ends. One a process, as the engine's functions have no opaque pointer
 * to it. */
#ifndef TESTS_UNIT_FAKE_ENGINE_H
#define TESTS_UNIT_FAKE_ENGINE_H

#include <stdatomic.h>

#include "tools/tern/vm_process.h"

#define FAKE_ENGINE_MS 20000 /* after which it ends by itself */

struct fake {
    atomic_bool receive; /* set by the test: this is a destination */
    atomic_bool runs;    /* the guest */
    atomic_bool cancelled;
    atomic_bool proceed; /* what was started may end, as outcome says */
    atomic_int outcome;  /* enum tern_outcome */
    atomic_bool under_way;
    atomic_bool deaf;            /* cancelling comes too late */
    struct tern_options options; /* as the engine was given them */
};

extern struct fake fake;
extern const struct guest_ops fake_guest;
extern const struct engine_ops fake_engine;

#endif
