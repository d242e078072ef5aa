/* SPDX-License-Identifier: BSD-2-Clause */
/* QEMU's part of the switchover: it stops its guest, hands out the device state, and takes it at the other side.
 *
 * Source:  active --pause--> pre-switchover (vCPUs stopped) --save--> completed (its disks released)
 *          resume leads back to active from both.
 * Destination (-incoming defer): inmigrate --load--> paused --resume--> active.
 *
 * The state is the migration stream that QEMU itself would send, over a descriptor passed by QMP; shared RAM is not in
 * it (settings.h). Every wait has a limit. One thread at a time.
 * source: QEMU docs/devel/migration, qapi/migration.json; measured with 7.2: 6 ms to stop, 6 ms for the state */
#ifndef TOOLS_QEMU_SWITCHOVER_H
#define TOOLS_QEMU_SWITCHOVER_H

#include "tools/qemu/announce.h"
#include "tools/qemu/guardian.h"
#include "tools/qemu/qmp.h"

struct qemu_source;

/* qemu_source_create: change QEMU's migration settings for ours.
 * qmp              borrowed until destroy, as is guardian, which takes its duty before anything is changed; may be NULL
 * capacity_bytes   the most that the device state may have
 * errors           -EBUSY QEMU is migrating already; those of settings_read, settings_change, guardian_charge */
int qemu_source_create(struct qmp *qmp, struct guardian *guardian, size_t capacity_bytes, struct qemu_source **out,
                       struct tern_error *error);

/* On return the guest stands still, its RAM changes no more. On failure the guest runs as before. Once. */
int qemu_source_pause(struct qemu_source *source, struct tern_error *error);
/* After pause: when QEMU had made its migration ready, and only then began to stop its guest (CLOCK_MONOTONIC). */
uint64_t qemu_source_stopped_ns(const struct qemu_source *source);

/* After pause. errors -ENOSPC the state is larger than capacity_bytes or the buffer */
int qemu_source_save(struct qemu_source *source, void *buffer, size_t buffer_bytes, size_t *length_bytes,
                     struct tern_error *error);

/* After save, just before the other side may run the guest: QEMU is marked (doubt.h), and the guardian, though tern
 * vanish, does not run it here any more. Undone by resume. On failure resume is to be called. */
int qemu_source_commit(struct qemu_source *source, struct tern_error *error);

/* Let the guest run again at the source, wherever it stands. */
int qemu_source_resume(struct qemu_source *source, struct tern_error *error);

/* Settings are put back; if the guest is still stopped before the switchover, it runs again first. What of that fails
 * stays the guardian's. Takes NULL. */
void qemu_source_destroy(struct qemu_source *source);

/* qemu_bring_back: end a migration that was begun, run the guest (if it ran before). For who knows no qemu_source. */
int qemu_bring_back(struct qmp *qmp, bool was_running, struct tern_error *error);

struct qemu_destination;

/* qemu_destination_create: QEMU waits for its incoming migration. qmp, guardian: as of the source.
 * errors   -EBUSY it does not; those of settings_read, settings_change, guardian_charge */
int qemu_destination_create(struct qmp *qmp, struct guardian *guardian, struct qemu_destination **out,
                            struct tern_error *error);
/* RAM is as at the source. On return the guest is whole, stands still, and QEMU is marked (doubt.h).
 * errors   QEMU's text of what does not fit */
int qemu_destination_load(struct qemu_destination *destination, const void *buffer, size_t length_bytes,
                          struct tern_error *error);
/* Run it, and tell the network where it is, without waiting for that. On failure it may run all the same, now or later:
 * QEMU is to be killed. */
int qemu_destination_resume(struct qemu_destination *destination, const struct announce *announce,
                            struct tern_error *error);
/* Settings are put back, the guest stays as it is. */
void qemu_destination_destroy(struct qemu_destination *destination);

#endif
