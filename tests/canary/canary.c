/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests that must be reported as failed or skipped: tests/run looks whether they are.
 * Compiled once for each CANARY_ name; never part of an ordinary run. */
#include <criterion/criterion.h>
#include <stdlib.h>

#if defined(CANARY_FAILS)
Test(canary, fails)
{
    cr_assert_eq(1, 2);
}
#elif defined(CANARY_SKIPS)
Test(canary, skips)
{
    cr_skip_test("a canary skips");
}
#elif defined(CANARY_LEAKS)
Test(canary, leaks)
{
    void *volatile leaked = malloc(77);

    leaked = NULL;
    (void)leaked;
}
#elif defined(CANARY_FINI)
static void assert_too_late(void)
{
    cr_assert_eq(1, 2);
}

Test(canary, fails_in_fini, .fini = assert_too_late)
{
}
#elif defined(CANARY_HANGS)
Test(canary, hangs)
{
    for (;;)
        ;
}
#endif
