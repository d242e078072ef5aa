/* SPDX-License-Identifier: BSD-2-Clause */
/* The profile of the guest: it arrives as it was saved, and a callback that fails or refuses is heard of at the source,
 * with whatever words and code. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/common/pair.h"

#define MIB (1ull << 20)

static const struct process_guest_config small = {
    .memory_bytes = 8 * MIB, .random_bytes = 4 * MIB, .working_set_bytes = MIB, .dirty_pages_ps = 1000, .seed = 4};

/* One at a time. */
static struct script {
    int save_code, check_code;
    size_t claimed_bytes;
    const char *words;
    uint8_t saved[TERN_PROFILE_BYTES];
    size_t checked_bytes;
    bool equal;
} script;

static int speak(int code, struct tern_error *error)
{
    if (code && script.words)
        snprintf(error->message, sizeof(error->message), "%s", script.words);
    return code;
}

static int save(void *opaque, void *buffer, size_t capacity_bytes, size_t *length_bytes, struct tern_error *error)
{
    (void)opaque;
    memcpy(buffer, script.saved, capacity_bytes);
    *length_bytes = script.claimed_bytes;
    return speak(script.save_code, error);
}

static int check(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    (void)opaque;
    script.checked_bytes = length_bytes;
    script.equal = !memcmp(buffer, script.saved, length_bytes);
    return speak(script.check_code, error);
}

static void run(struct pair *pair)
{
    for (size_t i = 0; i < sizeof(script.saved); i++)
        script.saved[i] = (uint8_t)(i * 7 + i / 256);
    pair_init(pair, &small, NULL, pair_host(false));
    pair->source_vm.save_profile = save;
    pair->destination_vm.check_profile = check;
    pair_run(pair);
}

Test(profile, arrives_whole, .timeout = 60)
{
    static const size_t lengths[] = {0, 1, TERN_PROFILE_BYTES};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        struct pair pair;

        script = (struct script){.claimed_bytes = lengths[i]};
        run(&pair);
        pair_check_moved(&pair);
        cr_assert_eq(script.checked_bytes, lengths[i]);
        cr_assert(script.equal);
        pair_free(&pair);
    }
}

static void is_refused(struct script of, const char *expected, int code, enum tern_side side)
{
    struct pair pair;

    script = of;
    run(&pair);
    pair_check_stayed(&pair);
    cr_assert_not_null(strstr(pair.source_error.message, expected), "%s", pair.source_error.message);
    cr_assert_eq(pair.source_code, code, "%d: %s", pair.source_code, pair.source_error.message);
    cr_assert_eq(pair.source_error.side, side);
    pair_free(&pair);
}

Test(profile, a_check_that_refuses, .timeout = 60)
{
    is_refused((struct script){.check_code = -ENOTSUP, .words = "no AVX-512 here"}, "no AVX-512 here", -ENOTSUP,
               TERN_SIDE_DESTINATION);
    is_refused((struct script){.check_code = -ENOTSUP}, "check_profile", -ENOTSUP, TERN_SIDE_DESTINATION);
    is_refused((struct script){.check_code = 7}, "check_profile", -EIO, TERN_SIDE_DESTINATION);
}

/* A VMM writes what it likes; the source is told all the same, in one line. */
Test(profile, words_that_are_no_line, .timeout = 60)
{
    is_refused((struct script){.check_code = -EINVAL, .words = "first\nsecond\x7f\tthird"}, "first second  third",
               -EINVAL, TERN_SIDE_DESTINATION);
}

Test(profile, a_save_that_fails, .timeout = 60)
{
    is_refused((struct script){.save_code = -ENOMEM, .words = "no room for it"}, "no room for it", -ENOMEM,
               TERN_SIDE_SOURCE);
    is_refused((struct script){.save_code = -ENOMEM}, "save_profile", -ENOMEM, TERN_SIDE_SOURCE);
    is_refused((struct script){.save_code = 1}, "save_profile", -EIO, TERN_SIDE_SOURCE);
    is_refused((struct script){.claimed_bytes = TERN_PROFILE_BYTES + 1}, "16384 at most", -EINVAL, TERN_SIDE_SOURCE);
}
