/* SPDX-License-Identifier: BSD-2-Clause */
/* A QEMU child for tests: emulated, without a guest unless given one, ended with its test however that ends. */
#ifndef TESTS_COMMON_QEMU_H
#define TESTS_COMMON_QEMU_H

#include <sys/types.h>

#include "tools/qemu/qmp.h"

struct qemu {
    pid_t pid;
    char folder[64]; /* its own: $QEMU_FOLDER; "qmp" is its socket, "log" what it said */
    struct qmp *qmp;
};

/* qemu_folder: make the folder, for what must exist before the child. qemu_start does it otherwise. */
void qemu_folder(struct qemu *qemu);
/* qemu_start: words are cut at blanks; @ is replaced by the folder. Nothing but -nodefaults, no display, TCG (or
 * $TERN_TEST_ACCELERATOR) and a QMP socket is given besides. Asserts that it comes up; qemu->qmp is connected. */
void qemu_start(struct qemu *qemu, const char *words);
/* qemu_end: close, end by pid, wait, remove the folder. */
void qemu_end(struct qemu *qemu);

/* A command that must succeed. json: arguments or NULL; @ as above. The caller puts the reply. */
struct json_object *qemu_do(struct qemu *qemu, const char *command, const char *json);
/* The guest's physical memory as the guest sees it, by pmemsave. */
void qemu_read(struct qemu *qemu, uint64_t guest_address, void *buffer, size_t length);

#endif
