/* SPDX-License-Identifier: BSD-2-Clause */
/* tern is killed at the source of a QEMU that nobody patched. Before the commit its guardian brings the guest back,
 * QEMU set as before; from then on the guest is left as it is, in doubt, and 'tern resolve' settles it. After each the
 * next migration succeeds. */
#include <criterion/criterion.h>

#include "tests/common/qemu_doomed.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

Test(qemu_source_killed, source_before_the_commit, .timeout = 90)
{
    static const struct moment moments[] = {
        {AT_PHASE, TERN_PHASE_PRE_COPY, "pre-copy"},
        {IN_PAUSE, 0, "about to pause"},
        {AFTER_PAUSE, 0, "paused"},
        {AFTER_SAVE, 0, "saved"},
        {AT_PHASE, TERN_PHASE_COMMIT, "all sent"},
        {IN_COMMIT, 0, "about to leave the guest"},
    };
    struct doomed_bench bench;

    doomed_start(&bench, QEMU_WRITER);
    for (size_t i = 0; i < COUNT(moments); i++) {
        doomed_source(&bench, moments[i]);
        qemu_side_expect_as_before(&bench.a, moments[i].name);
        if (moments[i].step == IN_COMMIT) {
            qemu_side_expect_ended(&bench.b, moments[i].name);
            doomed_replace(&bench.b);
        } else {
            qemu_side_expect(&bench.b, "inmigrate", moments[i].name);
        }
        doomed_next_succeeds(&bench, moments[i].name);
    }
    doomed_end(&bench);
}

/* The guardian leaves the guest alone, though the commit was not even sent: nobody can know that. */
Test(qemu_source_killed, source_that_may_have_committed, .timeout = 90)
{
    static const struct moment moments[] = {
        {AFTER_COMMIT, 0, "guest left"},
        {AT_PHASE, TERN_PHASE_ACTIVATE, "about to say COMMIT"},
    };
    struct doomed_bench bench;

    doomed_start(&bench, QEMU_WRITER);
    for (size_t i = 0; i < COUNT(moments); i++) {
        doomed_source(&bench, moments[i]);
        doomed_expect_doubt(&bench.a, "postmigrate", moments[i].name);
        qemu_side_expect_ended(&bench.b, moments[i].name);
        doomed_resolve(&bench.a, true, moments[i].name);
        doomed_replace(&bench.b);
        doomed_next_succeeds(&bench, moments[i].name);
    }
    doomed_end(&bench);
}
