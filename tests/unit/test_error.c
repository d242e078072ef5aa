/* SPDX-License-Identifier: BSD-2-Clause */
#include <criterion/criterion.h>
#include <errno.h>

#include "transport/error.h"

Test(error, keeps_one_line_and_returns_the_code)
{
    struct tern_error error;

    cr_assert_eq(error_set(&error, -EINVAL, "do\nthis", "bad %s\n%d", "value", 7), -EINVAL);
    cr_assert_str_eq(error.message, "bad value 7");
    cr_assert_str_eq(error.hint, "do this");
    cr_assert_eq(error.code, -EINVAL);
}

Test(error, takes_null)
{
    cr_assert_eq(error_set(NULL, -EIO, NULL, "unheard"), -EIO);
}

Test(error, side_is_noted_once)
{
    struct tern_error error;

    error_set(&error, -EIO, NULL, "x");
    error_side(&error, TERN_SIDE_DESTINATION);
    error_side(&error, TERN_SIDE_SOURCE);
    cr_assert_eq(error.side, TERN_SIDE_DESTINATION);
}
