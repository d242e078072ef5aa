/* SPDX-License-Identifier: BSD-2-Clause */
/* A process guest that is suspended to an image in a folder of its own, and resumed in another one. */
#ifndef TESTS_COMMON_SUSPENDED_H
#define TESTS_COMMON_SUSPENDED_H

#include "migrate/tern.h"
#include "perf/process_guest.h"

struct suspended {
    char folder[64], path[96];
    struct process_guest_config config;
    struct process_guest *guest, *back; /* back: the one that takes it up */
    struct tern_vm vm, back_vm;
    struct tern_options options;
    struct tern_result result;
    struct tern_error error;
    char warnings[1024];
    /* What the resume callback saw: both guests' memory, byte for byte, before the guest ran. */
    bool blind; /* it shall not look */
    bool compared, equal;
    uint64_t first_difference;
    int (*resume)(void *opaque, struct tern_error *error);
    void (*on_event)(struct suspended *suspended, const struct tern_event *event);
};

/* A guest that writes all the time: 64 MiB, of which 24 hold data. */
extern const struct process_guest_config suspended_busy;

/* A guest that runs, and a folder in `parent` (NULL: where there is a disk). Asserts. */
void suspended_init(struct suspended *suspended, const struct process_guest_config *config, const char *parent);
/* Removes the folder, with what a test has left in it. */
void suspended_free(struct suspended *suspended);

/* Each returns what libtern does; result and error are filled. */
int suspended_suspend(struct suspended *suspended);
int suspended_resume(struct suspended *suspended, bool eager);

/* The guest runs where it was, and takes steps. */
void suspended_expect_stayed(struct suspended *suspended, const char *name);
/* It was equal when it was resumed, runs there, takes steps. */
void suspended_expect_back(struct suspended *suspended);
/* The guest that came back is the one to suspend now. */
void suspended_swap(struct suspended *suspended);
bool suspended_has(const struct suspended *suspended, const char *suffix);

#endif
