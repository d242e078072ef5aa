/* SPDX-License-Identifier: BSD-2-Clause */
/* QEMU's migration settings (capabilities and parameters): changed for ours, and put back as they were found. */
#ifndef TOOLS_QEMU_SETTINGS_H
#define TOOLS_QEMU_SETTINGS_H

#include "tools/qemu/qmp.h"

struct qemu_settings {
    struct json_object *capabilities, *parameters; /* as found; owned; NULL: nothing to put back */
};

/* settings_change: RAM that is shared is left to us; the source stops before the switchover; all else is off.
 * is_source    the parameters that matter at the source only
 * errors       -ENOTSUP this QEMU cannot ignore shared RAM; QEMU's own. Nothing is changed then */
int settings_change(struct qemu_settings *settings, struct qmp *qmp, bool is_source, struct tern_error *error);

/* settings_restore: put back, once; also after a change that failed. Harmless on a zeroed struct.
 * errors   QEMU's own; the settings are forgotten all the same */
int settings_restore(struct qemu_settings *settings, struct qmp *qmp, struct tern_error *error);
void settings_release(struct qemu_settings *settings);

#endif
