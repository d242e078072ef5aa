/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting for what QEMU says of its migration. */
#ifndef TOOLS_QEMU_MIGRATION_STATUS_H
#define TOOLS_QEMU_MIGRATION_STATUS_H

#include "tools/qemu/qmp.h"

/* migration_status: "none", "active", "pre-switchover", ... into status; QEMU's reason of a failure into reason. */
int migration_status(struct qmp *qmp, char status[32], char reason[160], struct tern_error *error);

/* migration_wait: until the status is wanted.
 * errors   -EREMOTEIO it failed or was cancelled instead (what says of which step); -ETIMEDOUT */
int migration_wait(struct qmp *qmp, const char *wanted, const char *what, int timeout_ms, struct tern_error *error);

/* qemu_run_state: query-status's "running", "paused", "inmigrate", ... */
int qemu_run_state(struct qmp *qmp, char state[32], struct tern_error *error);
int qemu_wait_run_state(struct qmp *qmp, const char *wanted, int timeout_ms, struct tern_error *error);

#endif
