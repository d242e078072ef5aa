/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading the rest of an image into a QEMU's lent RAM, when the tern that began it has vanished: by its guardian.
 * Nothing of it is asked by QMP before all is there, as QEMU itself may be waiting for a page. */
#ifndef TOOLS_QEMU_FINISH_LOAD_H
#define TOOLS_QEMU_FINISH_LOAD_H

#include "tools/qemu/lent_ram.h"

enum qemu_stopped { QEMU_PAUSED, QEMU_KILLED, QEMU_HAD_ENDED };

/* qemu_stop_for_good: a part of its memory cannot come: the guest is paused, or, where QEMU itself or a CPU waits for
 * that part and does not stop, QEMU is killed. qmp may be NULL: it is.
 * returns  which it was; QEMU_HAD_ENDED: by itself, before (its guest was powered off, say) */
enum qemu_stopped qemu_stop_for_good(struct qmp *qmp, const struct process *process);

/* finish_load: read what is missing, check it, and end the lending. Blocks until the end.
 * process          QEMU's, opened when that was surely QEMU
 * files            borrowed
 * warn             takes what libtern warns of
 * stopped_out      with an error: how the guest was stopped; it is not, and this is as it was, where lent->all_there
 * errors           as of tern_resume_run: the guest is stopped then (qemu_stop_for_good), and what is missing never
 *                  reads as zeros */
int finish_load(const struct lent_ram *lent, const struct process *process, const char *qmp_path,
                const struct lent_files *files, void (*warn)(const char *text), enum qemu_stopped *stopped_out,
                struct tern_error *error);

#endif
