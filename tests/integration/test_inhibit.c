/* SPDX-License-Identifier: BSD-2-Clause */
/* Discards are inhibited where they would do harm: at the destination always, at the source only where its pages are
 * pinned. What follows from a refusal: test_callbacks.c. */
#include <criterion/criterion.h>

#include "tests/common/pair.h"

#define MIB (1ull << 20)

static struct {
    uint32_t calls;
    bool on;
} source, destination;

static int source_inhibit(void *opaque, bool on, struct tern_error *error)
{
    (void)opaque;
    (void)error;
    source.calls++;
    source.on = on;
    return 0;
}

static int destination_inhibit(void *opaque, bool on, struct tern_error *error)
{
    (void)opaque;
    (void)error;
    destination.calls++;
    destination.on = on;
    return 0;
}

Test(inhibit, discards_of_pinned_pages_only, .timeout = 60)
{
    static const struct process_guest_config config = {
        .memory_bytes = 16 * MIB, .random_bytes = 4 * MIB, .working_set_bytes = MIB, .dirty_pages_ps = 1000, .seed = 9};
    struct pair pair;
    bool pinned;

    pair_init(&pair, &config, NULL, pair_host(false));
    pinned = pair.source_options.transport == TERN_TRANSPORT_VERBS;
    pair.source_vm.inhibit_discards = source_inhibit;
    pair.destination_vm.inhibit_discards = destination_inhibit;
    pair_run(&pair);
    pair_check_moved(&pair);
    cr_assert_eq(source.calls, pinned ? 2 : 0, "%u", source.calls);
    cr_assert_eq(destination.calls, 2, "%u", destination.calls);
    cr_assert_not(source.on);
    cr_assert_not(destination.on);
    pair_free(&pair);
}
