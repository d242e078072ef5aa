/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration between two QEMUs in which one side's tern is a process of its own that kills itself (SIGKILL) at a
 * chosen moment; the other side's is this process. */
#ifndef TESTS_COMMON_QEMU_DOOMED_H
#define TESTS_COMMON_QEMU_DOOMED_H

#include "tests/common/qemu_side.h"

enum step {
    AT_PHASE,
    IN_PAUSE,
    AFTER_PAUSE,
    AFTER_SAVE,
    IN_COMMIT,
    AFTER_COMMIT,
    IN_LOAD,
    AFTER_LOAD,
    IN_RESUME,
    AFTER_RESUME
};

struct moment {
    enum step step;
    uint32_t phase;
    const char *name;
};

/* a has the guest, b waits. kernel: borrowed */
struct doomed_bench {
    struct qemu_side a, b;
};

void doomed_start(struct doomed_bench *bench, const char *kernel);
void doomed_end(struct doomed_bench *bench);
/* Another QEMU that waits, for one that cannot any more. */
void doomed_replace(struct qemu_side *side);
/* The guest is at b: that is a from here on, with another b. */
void doomed_swap(struct doomed_bench *bench);

/* Both return when the surviving side's session has ended, and assert that the moment was reached and the outcome. */
void doomed_source(struct doomed_bench *bench, struct moment moment);
void doomed_destination(struct doomed_bench *bench, struct moment moment, enum tern_outcome outcome);

/* One that dies or stands still (SIGSTOP) at the moment, and the port that a destination listens at or a source is to
 * connect to. One at a time. */
pid_t doomed_spawn(struct qemu_side *side, enum tern_side which, struct moment moment, int signal);
uint16_t doomed_port(void);
void doomed_set_port(uint16_t port);

/* a's guest moves to b, verified, and is as before there; then they swap. */
void doomed_next_succeeds(struct doomed_bench *bench, const char *name);
/* Its guest stands still, is in doubt, and may neither be run nor migrated. */
void doomed_expect_doubt(struct qemu_side *side, const char *run_state, const char *name);
/* tern resolve --owner here or there does as it says. */
void doomed_resolve(struct qemu_side *side, bool here, const char *name);

#endif
