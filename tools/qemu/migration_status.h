/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting for what QEMU says of its migration. */
#ifndef TOOLS_QEMU_MIGRATION_STATUS_H
#define TOOLS_QEMU_MIGRATION_STATUS_H

#include "tools/qemu/qmp.h"

/* migration_status: "none", "active", "pre-switchover", ... into status; QEMU's reason of a failure into reason. */
int migration_status(struct qmp *qmp, char status[32], char reason[160], struct tern_error *error);

/* migration_wait: until the status is wanted. Told by QEMU's events, which must be on (capability "events") and not be
 * forgotten since before what leads there was asked for; where they are not heard it is asked.
 * active_ns    written when QEMU became "active" meanwhile: when, on CLOCK_MONOTONIC. May be NULL
 * errors   -EREMOTEIO it failed or was cancelled instead (what says of which step); -ETIMEDOUT */
int migration_wait(struct qmp *qmp, const char *wanted, const char *what, int timeout_ms, uint64_t *active_ns,
                   struct tern_error *error);

/* qemu_run_state: query-status's "running", "paused", "inmigrate", ... */
int qemu_run_state(struct qmp *qmp, char state[32], struct tern_error *error);
int qemu_wait_run_state(struct qmp *qmp, const char *wanted, int timeout_ms, struct tern_error *error);

#endif
