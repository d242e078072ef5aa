/* SPDX-License-Identifier: BSD-2-Clause */
/* Is this QEMU's guest one whose handover is in doubt? The mark is an object within QEMU itself (an access list that
 * nothing refers to), so that it lives exactly as long as the guest it speaks of: no process has to stay for it, no
 * file can be mistaken for another QEMU's, and tern may be killed. It is set before the other side can have been given
 * the guest (source), or before the guest is loaded (destination), and means something only while a guest stands still.
 */
#ifndef TOOLS_QEMU_DOUBT_H
#define TOOLS_QEMU_DOUBT_H

#include "tools/qemu/qmp.h"

/* Both: done already is success. */
int doubt_mark(struct qmp *qmp, struct tern_error *error);
int doubt_clear(struct qmp *qmp, struct tern_error *error);
/* The same without waiting for QEMU's answer. */
void doubt_clear_soon(struct qmp *qmp);
/* Marked, and the guest stands still? run_state: of qemu_run_state */
int doubt_stands(struct qmp *qmp, const char *run_state, bool *stands_out, struct tern_error *error);

#endif
