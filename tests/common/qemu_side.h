/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU that nobody patched as one side of a migration, with the writing guest (tests/guest/writer.S): tern's socket,
 * "tern" in its folder, is one monitor; what is checked is asked over the other. */
#ifndef TESTS_COMMON_QEMU_SIDE_H
#define TESTS_COMMON_QEMU_SIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/tern.h"
#include "tests/common/qemu.h"
#include "tools/qemu/qemu_vm.h"

struct qemu_side {
    struct qemu qemu;
    char socket[96];
    char *settings; /* as they were at the start */
    struct qemu_vm *vm;
    struct tern_vm description;
    struct tern_options options;
    struct tern_result result;
    struct tern_error error;
    int code;
};

/* kernel: the guest, which writes when this returns: one that is still being loaded would stand still at a QEMU that
 * has no kernel. NULL: a destination. */
void qemu_side_start(struct qemu_side *side, const char *kernel);
/* Open it for a migration over loopback; description may be wrapped. */
void qemu_side_open(struct qemu_side *side, enum tern_side which);
void qemu_side_close(struct qemu_side *side);
void qemu_side_end(struct qemu_side *side);

/* Each asserts, and waits a while for it. name says of which case */
void qemu_side_expect(struct qemu_side *side, const char *run_state, const char *name);
void qemu_side_expect_doubt(struct qemu_side *side, bool doubt, const char *name);
void qemu_side_expect_settings(struct qemu_side *side, const char *name);
void qemu_side_expect_ended(struct qemu_side *side, const char *name);
/* The guest runs, nobody traces QEMU, none of its memory is write-protected, its settings are as before, no doubt. */
void qemu_side_expect_as_before(struct qemu_side *side, const char *name);

uint32_t qemu_side_counter(const struct qemu_side *side);
/* Wait until it is at least that. */
void qemu_side_await_counter(const struct qemu_side *side, uint32_t at_least);
/* Suspend it, opened as a source. returns side->code */
int qemu_side_suspend(struct qemu_side *side, const char *image);
/* build/bin/tern COMMAND --qmp SOCKET OPTIONS, cut at blanks: its process; its exit status; both. What it says is in
 * the folder's file COMMAND. */
pid_t qemu_side_spawn(const struct qemu_side *side, const char *command, const char *options);
int qemu_side_wait(pid_t pid, const char *name);
int qemu_side_tern(const struct qemu_side *side, const char *command, const char *options);
/* Has it said that? And until it has; what follows text is the caller's to free. */
bool qemu_side_said(const struct qemu_side *side, const char *command, const char *text);
char *qemu_side_hear(const struct qemu_side *side, const char *command, const char *text);

#endif
