/* SPDX-License-Identifier: BSD-2-Clause */
/* QEMU's migration settings (capabilities and parameters): changed for ours, and put back as they were found. */
#ifndef TOOLS_QEMU_SETTINGS_H
#define TOOLS_QEMU_SETTINGS_H

#include "tools/qemu/qmp.h"

struct qemu_settings {
    struct json_object *capabilities, *parameters; /* as found; owned; NULL: nothing to put back */
};

/* settings_read: what is set now. Changes nothing.
 * is_source    the parameters that matter at the source too
 * errors       -ENOTSUP this QEMU cannot ignore shared RAM; QEMU's own */
int settings_read(struct qemu_settings *settings, struct qmp *qmp, bool is_source, struct tern_error *error);

/* settings_change: after a read. RAM that is shared is left to us; the source stops before the switchover; all else is
 * off. errors QEMU's own; nothing is changed then, and the struct is released */
int settings_change(struct qemu_settings *settings, struct qmp *qmp, struct tern_error *error);

/* settings_restore: put back, once; also after a change that failed. Harmless on a zeroed struct.
 * errors   QEMU's own; the settings are forgotten all the same */
int settings_restore(struct qemu_settings *settings, struct qmp *qmp, struct tern_error *error);

/* For another process: a new object, and what was read from one. errors -EINVAL it is none of ours */
struct json_object *settings_to_json(const struct qemu_settings *settings);
int settings_from_json(struct qemu_settings *settings, struct json_object *object);
void settings_release(struct qemu_settings *settings);

#endif
