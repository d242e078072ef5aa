/* SPDX-License-Identifier: BSD-2-Clause */
/* One side of a migration as a process of its own, forked before the test has threads. */
#ifndef TESTS_LAB_VERBS_CHILD_H
#define TESTS_LAB_VERBS_CHILD_H

#include <sys/types.h>

#include "tests/common/pair.h"

extern const struct process_guest_config small_guest;

/* The destination sends its port through port_fd; the source waits for one. */
struct child {
    pid_t pid;
    int port_fd;
};

/* child_destination, child_source: set_up is called in the child, after pair_init. Exit status 0: migrated. */
struct child child_destination(const char *host, void (*set_up)(struct pair *pair));
struct child child_source(const char *host, void (*set_up)(struct pair *pair));

/* run_source: the source is here, the destination a child. returns the source's code; pair keeps result and error */
int run_source(struct pair *pair, const struct child *destination);

#endif
