/* SPDX-License-Identifier: BSD-2-Clause */
/* A source and a destination in one process, each a process guest, joined over an address of this machine. */
#ifndef TESTS_COMMON_PAIR_H
#define TESTS_COMMON_PAIR_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrate/tern.h"
#include "perf/process_guest.h"

struct pair {
    struct process_guest *source, *destination;
    struct tern_vm source_vm, destination_vm;
    struct tern_options source_options, destination_options;
    struct tern_source *source_session;
    struct tern_destination *destination_session;
    struct tern_result source_result, destination_result;
    struct tern_error source_error, destination_error;
    int source_code, destination_code;
    pthread_t destination_thread;

    /* What the destination's resume saw: source and destination memory, byte for byte, before the guest ran. */
    bool compared, equal;
    uint64_t first_difference;

    /* Events of each side; a test may set a hook. Called in libtern's threads. */
    void (*on_source_event)(struct pair *pair, const struct tern_event *event);
    void (*on_destination_event)(struct pair *pair, const struct tern_event *event);
    void *hook_opaque;
    _Atomic uint32_t source_rounds, destination_rounds, source_phase;
    char warnings[4096];                                   /* of the destination */
    int (*resume)(void *opaque, struct tern_error *error); /* the destination guest's own */
    int fail_resume;                                       /* the destination's resume returns this */
};

/* The address under test: loopback, or what the environment names. */
const char *pair_host(bool ipv6);

/* pair_init: both guests (the destination's like the source's unless given), default options over host. Asserts. */
void pair_init(struct pair *pair, const struct process_guest_config *source,
               const struct process_guest_config *destination, const char *host);

/* pair_run: start the guest, the destination, migrate, wait for both. */
void pair_run(struct pair *pair);
void pair_start_destination(struct pair *pair);
void pair_join_destination(struct pair *pair);

/* pair_check_moved: the guest was compared equal, runs at the destination only, and takes steps there. */
void pair_check_moved(struct pair *pair);
/* pair_check_stayed: the source failed, its guest runs and takes steps; the destination's does not run. */
void pair_check_stayed(struct pair *pair);
void pair_free(struct pair *pair);

#endif
