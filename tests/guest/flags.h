/* SPDX-License-Identifier: BSD-2-Clause */
/* Does this CPU do what a guest that is to be believed needs? */
#ifndef TESTS_GUEST_FLAGS_H
#define TESTS_GUEST_FLAGS_H

#include <stdbool.h>

/* flags_are_kept: cmpxchg16b changes no flag but ZF; true also where there is none.
 * source   Intel SDM vol. 2, CMPXCHG8B/CMPXCHG16B; QEMU before 8.0 computes them from a stale cc_op (mem_helper.c) */
bool flags_are_kept(void);

#endif
