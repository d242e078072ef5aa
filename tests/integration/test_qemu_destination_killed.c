/* SPDX-License-Identifier: BSD-2-Clause */
/* tern is killed at the destination of a QEMU that nobody patched. Until its QEMU has loaded the guest it can be used
 * again; from then on it holds a whole guest, paused and in doubt, and the source, or 'tern resolve', decides. After
 * each the next migration succeeds. */
#include <criterion/criterion.h>

#include "tests/common/qemu_doomed.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

Test(qemu_destination_killed, destination_before_it_is_loaded, .timeout = 90)
{
    static const struct moment moments[] = {
        {AT_PHASE, TERN_PHASE_INITIATE, "initiate"},
        {AT_PHASE, TERN_PHASE_PRE_COPY, "pre-copy"},
        {IN_LOAD, 0, "about to load"},
    };
    struct doomed_bench bench;

    doomed_start(&bench, QEMU_WRITER);
    for (size_t i = 0; i < COUNT(moments); i++) {
        doomed_destination(&bench, moments[i], TERN_OUTCOME_FAILED);
        qemu_side_expect_as_before(&bench.a, moments[i].name);
        qemu_side_expect(&bench.b, "inmigrate", moments[i].name);
        qemu_side_expect_settings(&bench.b, moments[i].name);
        doomed_next_succeeds(&bench, moments[i].name);
    }
    doomed_end(&bench);
}

/* It holds a whole guest; the source, which has it too, decides. */
Test(qemu_destination_killed, destination_before_the_commit, .timeout = 90)
{
    static const struct moment moments[] = {
        {AFTER_LOAD, 0, "loaded"},
        {AT_PHASE, TERN_PHASE_COMMIT, "about to say READY"},
    };
    struct doomed_bench bench;

    doomed_start(&bench, QEMU_WRITER);
    for (size_t i = 0; i < COUNT(moments); i++) {
        doomed_destination(&bench, moments[i], TERN_OUTCOME_FAILED);
        qemu_side_expect_as_before(&bench.a, moments[i].name);
        doomed_expect_doubt(&bench.b, "paused", moments[i].name);
        doomed_resolve(&bench.b, false, moments[i].name);
        doomed_replace(&bench.b);
        doomed_next_succeeds(&bench, moments[i].name);
    }
    doomed_end(&bench);
}

Test(qemu_destination_killed, destination_after_the_commit, .timeout = 90)
{
    static const struct moment moments[] = {
        {AT_PHASE, TERN_PHASE_ACTIVATE, "commit heard"},
        {IN_RESUME, 0, "about to run the guest"},
    };
    struct doomed_bench bench;

    doomed_start(&bench, QEMU_WRITER);
    for (size_t i = 0; i < COUNT(moments); i++) {
        doomed_destination(&bench, moments[i], TERN_OUTCOME_IN_DOUBT);
        doomed_expect_doubt(&bench.a, "postmigrate", moments[i].name);
        doomed_expect_doubt(&bench.b, "paused", moments[i].name);
        doomed_resolve(i ? &bench.a : &bench.b, false, moments[i].name);
        doomed_resolve(i ? &bench.b : &bench.a, true, moments[i].name);
        if (i)
            doomed_swap(&bench);
        else
            doomed_replace(&bench.b);
        doomed_next_succeeds(&bench, moments[i].name);
    }
    doomed_end(&bench);
}

Test(qemu_destination_killed, destination_whose_guest_runs, .timeout = 90)
{
    static const struct moment moment = {AFTER_RESUME, 0, "about to say ACTIVE"};
    struct doomed_bench bench;

    doomed_start(&bench, QEMU_WRITER);
    doomed_destination(&bench, moment, TERN_OUTCOME_IN_DOUBT);
    doomed_expect_doubt(&bench.a, "postmigrate", moment.name);
    qemu_side_expect_as_before(&bench.b, moment.name);
    doomed_resolve(&bench.a, false, moment.name);
    doomed_swap(&bench);
    doomed_next_succeeds(&bench, moment.name);
    doomed_end(&bench);
}
