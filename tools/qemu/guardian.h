/* SPDX-License-Identifier: BSD-2-Clause */
/* A process that outlives tern: should tern vanish (kill -9, a crash) while a QEMU is changed for its migration, the
 * guardian brings the guest back and puts QEMU's settings as they were; then it ends. It acts on nothing else: as long
 * as tern lives, it only takes orders.
 *
 *   tern --(duty, settings)--> guardian, which acknowledges; from then on that is what it would do
 *
 * The duty follows the handover: GUEST from before the first change until just before the commit, SETTINGS after it,
 * when only the other side's word or the operator's may run the guest here, NONE when all is as it was.
 *
 * While an image is read into a QEMU whose guest runs already, the guardian has what it takes to read the rest
 * (guardian_lend): then a tern that is killed costs the guest nothing, as its guardian reads on where tern was, before
 * it does anything else, for as long as that takes. So nothing but the death of both stops the reading, and then the
 * guest waits for what is missing (lent_ram.h).
 *
 * It connects to QEMU's QMP socket anew (a descriptor that it shared with tern could stand in the middle of a message,
 * and would keep the socket occupied), once QEMU has seen tern's own connection end. It tries for GUARDIAN_MS, which is
 * less than the time after which a destination that has lost its source is in doubt: so it never runs a guest that an
 * operator may be resolving at the other side. What came of it is told to syslog.
 *
 * It acts on the process that tern spoke with (guardian_watch) and on no other, whoever has the socket's path by then.
 *
 * It is forked before tern has threads, holds no descriptor of tern's but its end of a socket pair, has a session of
 * its own, ignores every signal that can be, and keeps no terminal or pipe of tern's open. What kills whole control
 * groups kills it too. */
#ifndef TOOLS_QEMU_GUARDIAN_H
#define TOOLS_QEMU_GUARDIAN_H

#include "tools/qemu/lent_ram.h"
#include "tools/qemu/settings.h"

/* tern's control socket of a QEMU lies beside its QMP socket; a guardian removes it where tern could not. */
#define QEMU_CONTROL_SUFFIX ".tern"
#define GUARDIAN_MS         20000

enum guardian_duty {
    GUARDIAN_NONE,
    GUARDIAN_SETTINGS, /* put back; the guest is left as it is */
    GUARDIAN_GUEST,    /* end QEMU's migration, run the guest if it ran, put the settings back */
};

struct guardian;

/* guardian_create: fork it, without a duty. qmp_path: copied; relative to the present folder */
int guardian_create(const char *qmp_path, struct guardian **out, struct tern_error *error);

/* guardian_watch: the process whose guest it is; told with the next order, when that is surely QEMU. NULL: nothing */
void guardian_watch(struct guardian *guardian, pid_t qemu);

/* guardian_charge: on return that is its duty. A NULL guardian has none.
 * was_running  the guest ran before
 * settings     what to put back; may be NULL with GUARDIAN_NONE
 * errors       -ETIMEDOUT it does not answer: which duty it has is unknown. -EPIPE it has ended: for SETTINGS and NONE
 *              that is success, as nobody would run the guest any more */
int guardian_charge(struct guardian *guardian, enum guardian_duty duty, bool was_running,
                    const struct qemu_settings *settings, struct tern_error *error);

/* guardian_lend: from now on it would read the rest of the image into this RAM; NULL: not any more.
 * files    it has copies of its own; NULL with NULL
 * errors   -ETIMEDOUT, -EPIPE: with NULL success, too */
int guardian_lend(struct guardian *guardian, const struct lent_ram *lent, const struct lent_files *files,
                  struct tern_error *error);

/* guardian_destroy: without a duty it is ended and waited for; one that still has one, or RAM to read into, is left
 * alone with it. tern's own QMP connection is closed by then. Takes NULL. */
void guardian_destroy(struct guardian *guardian);

#endif
