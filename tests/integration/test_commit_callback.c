/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMM's last word before the commit: asked once, when the destination is ready and has not heard it yet; a no keeps
 * the guest at the source. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "tests/common/pair.h"

#define MIB (1ull << 20)

static const struct process_guest_config busy = {
    .memory_bytes = 24 * MIB,
    .random_bytes = 12 * MIB,
    .working_set_bytes = 4 * MIB,
    .dirty_pages_ps = 5000,
    .seed = 5,
};

static struct script {
    int code;
    const char *words;
    struct tern_vm source, destination;
    struct pair *pair;
    uint32_t commits, resumes;
    _Atomic bool loaded;
} script;

static int commit(void *opaque, struct tern_error *error)
{
    (void)opaque;
    cr_assert(atomic_load(&script.loaded), "the destination is not ready yet");
    cr_assert(!process_guest_runs(script.pair->source));
    cr_assert(!process_guest_runs(script.pair->destination), "the commit was sent already");
    script.commits++;
    if (script.words)
        snprintf(error->message, sizeof(error->message), "%s", script.words);
    return script.code;
}

static int load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    int r = script.destination.load_state(opaque, buffer, length_bytes, error);

    atomic_store(&script.loaded, !r);
    return r;
}

static int resume(void *opaque, struct tern_error *error)
{
    script.resumes++;
    return script.source.resume(opaque, error);
}

static void run(struct pair *pair, int code, const char *words)
{
    script = (struct script){.code = code, .words = words, .pair = pair};
    pair_init(pair, &busy, NULL, pair_host(false));
    script.source = pair->source_vm;
    script.destination = pair->destination_vm;
    pair->source_vm.commit = commit;
    pair->source_vm.resume = resume;
    pair->destination_vm.load_state = load;
    pair_run(pair);
    cr_assert_eq(script.commits, 1);
}

Test(commit_callback, a_yes_and_the_guest_moves, .timeout = 60)
{
    struct pair pair;

    run(&pair, 0, NULL);
    cr_assert_eq(pair.source_code, 0, "%s", pair.source_error.message);
    pair_check_moved(&pair);
    cr_assert_eq(script.resumes, 0);
    pair_free(&pair);
}

Test(commit_callback, a_no_and_the_guest_stays, .timeout = 60)
{
    static const int codes[] = {-EIO, -ETIMEDOUT, -ECONNRESET, -EPIPE, -ECANCELED, -EINPROGRESS};

    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        const char *words = i % 2 ? "the VMM's own words" : NULL;
        struct pair pair;

        run(&pair, codes[i], words);
        cr_assert_eq(pair.source_code, codes[i]);
        cr_assert_eq(pair.source_error.side, TERN_SIDE_SOURCE);
        cr_assert_not_null(strstr(pair.source_error.message, words ? words : "the VMM's commit failed"), "%s",
                           pair.source_error.message);
        pair_check_stayed(&pair);
        cr_assert_eq(script.resumes, 1);
        cr_assert_lt(pair.destination_code, 0);
        pair_free(&pair);
    }
}
