/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest without a hypervisor: memory in this process, and a thread that writes it as a vCPU would. It is an embedder
 * of libtern like any other (userfaultfd tracker), for benchmarks and for tests where there is no KVM.
 * What it writes depends on the seed and the step alone, so a guest that went on elsewhere can be compared.
 */
#ifndef PERF_PROCESS_GUEST_H
#define PERF_PROCESS_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/tern.h"

enum process_guest_pattern {
    PROCESS_GUEST_UNIFORM,
    PROCESS_GUEST_SEQUENTIAL,
    PROCESS_GUEST_HOT_COLD, /* nine writes of ten go to a tenth of the working set */
};

struct process_guest_config {
    uint64_t memory_bytes;
    uint64_t high_bytes;        /* of it, in a second region at 4 GiB; 0: one region */
    uint64_t page_bytes;        /* 4096 (anonymous, transparent huge pages advised), or 2 MiB or 1 GiB from hugetlbfs */
    bool shared;                /* a memfd, not anonymous memory */
    uint64_t random_bytes;      /* filled with random data, from the start; the rest stays untouched */
    uint64_t zero_bytes;        /* after that, written with zeros */
    uint64_t working_set_bytes; /* written by the thread, from the start; 0: nothing */
    uint64_t dirty_pages_ps;    /* 0: as fast as it goes */
    enum process_guest_pattern pattern;
    uint64_t seed;
    bool sync_tracker; /* userfaultfd's synchronous mode even where the asynchronous exists */
};

struct process_guest;

/* process_guest_create: map and, with fill, write the random data. errors -ENOMEM and the tracker's */
int process_guest_create(const struct process_guest_config *config, bool fill, struct process_guest **out,
                         struct tern_error *error);
void process_guest_destroy(struct process_guest *guest);

/* process_guest_describe: fill in *vm; valid until destroy. The guest is paused until its first resume. */
void process_guest_describe(struct process_guest *guest, struct tern_vm *vm);

/* process_guest_start: run the guest from its first step. */
void process_guest_start(struct process_guest *guest);
bool process_guest_runs(struct process_guest *guest);
uint64_t process_guest_steps(struct process_guest *guest);

/* process_guest_load_tracker: at the destination after activation, a tracker for the way on. */
int process_guest_load_tracker(struct process_guest *guest, struct tern_error *error);

/* process_guest_equal: do two paused guests have the same memory? first_difference: byte offset in the guest. */
bool process_guest_equal(const struct process_guest *a, const struct process_guest *b, uint64_t *first_difference);
uint8_t *process_guest_at(const struct process_guest *guest, uint64_t offset_bytes);

#endif
