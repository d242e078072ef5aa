/* SPDX-License-Identifier: BSD-2-Clause */
/* Two QEMUs of which one's guest moves to the other, tern's both ends within this process, so that their memory can be
 * compared byte for byte at the moment when neither guest runs. Assertions within. */
#ifndef TESTS_COMMON_QEMU_MOVE_H
#define TESTS_COMMON_QEMU_MOVE_H

#include <pthread.h>

#include "tests/common/qemu.h"
#include "tools/qemu/qemu_vm.h"

struct qemu_move_side {
    struct qemu qemu; /* started by the caller, with a socket "tern" in its folder */
    struct qemu_vm *vm;
    struct tern_vm description;
    struct tern_options options;
    struct tern_result result;
    struct tern_error error;
    int code;
};

struct qemu_move {
    struct qemu_move_side source, destination;
    struct tern_destination *session;
    struct tern_source *source_session;
    pthread_t thread;
    int (*resume)(void *opaque, struct tern_error *error);
    bool compared; /* all is sent, neither guest runs, the state is not loaded yet */
    uint64_t differing_pages, first_address;
};

/* The VM of one side, over tcp on this host. */
void qemu_move_open(struct qemu_move_side *side, enum tern_side which);
/* Both VMs are open: sessions of both sides, the destination waits. verify is on. */
void qemu_move_begin(struct qemu_move *move);
/* The migration, from beginning to end. */
void qemu_move_run(struct qemu_move *move);
/* It went well: both say so, memory was equal, the source's guest stands still and the destination's runs. */
void qemu_move_check(struct qemu_move *move);
void qemu_move_finish(struct qemu_move *move);

void qemu_move_expect_state(struct qemu_move_side *side, const char *wanted);

#endif
