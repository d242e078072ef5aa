/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's two decisions on a HELLO: a misfit is named with both values, and the choice of transport says why.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "migrate/layout.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static struct tern_region here_regions[2];
static struct tern_vm here;
static struct wire_hello hello;

static void same(void)
{
    here_regions[0] = (struct tern_region){.length_bytes = 3 * GIB, .page_bytes = 4096, .name = "low"};
    here_regions[1] =
        (struct tern_region){.guest_address = 4 * GIB, .length_bytes = GIB, .page_bytes = 4096, .name = "high"};
    here = (struct tern_vm){.kind = "vmm 1", .regions = here_regions, .n_regions = 2};
    hello = (struct wire_hello){
        .kind = "vmm 1", .n_regions = 2, .regions = {{0, 3 * GIB, 4096, "low"}, {4 * GIB, GIB, 4096, "high"}}};
}

/* Refused, on one line, with both values in it and something to do about it. */
static void refused(const char *at_source, const char *at_destination)
{
    struct tern_error error = {0};
    const char *one;

    cr_assert_eq(layout_check(&hello, &here, &error), -EINVAL);
    cr_assert_eq(error.code, -EINVAL);
    one = strstr(error.message, at_source);
    cr_assert_not_null(one, "'%s' is not in: %s", at_source, error.message);
    cr_assert_not_null(strstr(one + strlen(at_source), at_destination), "'%s' does not follow in: %s", at_destination,
                       error.message);
    cr_assert_null(strchr(error.message, '\n'));
    cr_assert_gt(strlen(error.hint), 0);
    cr_assert_eq(layout_check(&hello, &here, NULL), -EINVAL);
}

Test(layout, the_same_is_taken)
{
    struct tern_error error = {0};

    same();
    cr_assert_eq(layout_check(&hello, &here, &error), 0, "%s", error.message);
    cr_assert_eq(error.code, 0);
}

Test(layout, other_vmm)
{
    same();
    strcpy(hello.kind, "vmm 2");
    refused("'vmm 2'", "'vmm 1'");
}

Test(layout, other_amount_of_memory)
{
    same();
    hello.regions[1].length_bytes = 2 * GIB;
    refused("5 GiB", "4 GiB");
    hello.regions[1].length_bytes = 512 * MIB;
    refused("3584 MiB", "4 GiB");
    hello.regions[1].length_bytes = GIB + 4096;
    refused("4194308 KiB", "4 GiB");
    hello.n_regions = 0;
    refused("0 bytes", "4 GiB");
}

Test(layout, other_number_of_regions)
{
    same();
    hello.n_regions = 1;
    hello.regions[0].length_bytes = 4 * GIB;
    refused("1 memory regions at the source", "2 at the destination");
    same();
    here.n_regions = 1;
    here_regions[0].length_bytes = 4 * GIB;
    refused("2 memory regions at the source", "1 at the destination");
}

Test(layout, other_split)
{
    same();
    hello.regions[0].length_bytes = 2 * GIB;
    hello.regions[1].length_bytes = 2 * GIB;
    refused("'low': 2 GiB", "3 GiB");
}

Test(layout, other_address)
{
    same();
    hello.regions[1].guest_address = 8 * GIB;
    refused("'high': at 0x200000000", "0x100000000");
}

Test(layout, other_page_size)
{
    same();
    hello.regions[1].page_bytes = 2 * MIB;
    refused("'high': pages of 2 MiB", "4 KiB");
    hello.regions[1].page_bytes = GIB;
    refused("'high': pages of 1 GiB", "4 KiB");
}

Test(layout, other_name)
{
    same();
    strcpy(hello.regions[1].name, "pc.ram");
    refused("'pc.ram'", "'high'");
}

/* ---- the transport ---- */

#define CAN_BOTH (WIRE_CAN_VERBS | WIRE_CAN_TCP)

struct choice {
    uint32_t source;
    const char *no_verbs_at_source;
    struct transport_choice here;
    int chosen;
    const char *reason; /* or what the refusal names */
    const char *reason_too;
};

#define USABLE(wanted)                                                                                                 \
    {                                                                                                                  \
        wanted, true, "rxe0", NULL                                                                                     \
    }
#define UNUSABLE(wanted)                                                                                               \
    {                                                                                                                  \
        wanted, false, NULL, "no port is up"                                                                           \
    }

static const struct choice choices[] = {
    /* both could */
    {CAN_BOTH, "", USABLE(TERN_TRANSPORT_AUTO), TERN_TRANSPORT_VERBS, "both ends", "RDMA device"},
    {CAN_BOTH, "", USABLE(TERN_TRANSPORT_VERBS), TERN_TRANSPORT_VERBS, "both ends", "RDMA device"},
    {CAN_BOTH, "", USABLE(TERN_TRANSPORT_TCP), TERN_TRANSPORT_TCP, "asked for", "destination"},
    {WIRE_CAN_VERBS, "", USABLE(TERN_TRANSPORT_AUTO), TERN_TRANSPORT_VERBS, "asked for", ""},
    {WIRE_CAN_TCP, "asked for", USABLE(TERN_TRANSPORT_AUTO), TERN_TRANSPORT_TCP, "asked for", ""},
    /* one cannot: tcp, and whose fault it is */
    {CAN_BOTH, "", UNUSABLE(TERN_TRANSPORT_AUTO), TERN_TRANSPORT_TCP, "destination: ", "no port is up"},
    {WIRE_CAN_TCP, "no device", USABLE(TERN_TRANSPORT_AUTO), TERN_TRANSPORT_TCP, "source: ", "no device"},
    {WIRE_CAN_TCP, "no device", UNUSABLE(TERN_TRANSPORT_AUTO), TERN_TRANSPORT_TCP, "source: ", "no device"},
    {WIRE_CAN_TCP, "no device", UNUSABLE(TERN_TRANSPORT_TCP), TERN_TRANSPORT_TCP, "source: ", "no device"},
    /* refused, with what each side said */
    {WIRE_CAN_TCP, "no device", USABLE(TERN_TRANSPORT_VERBS), -EOPNOTSUPP, "destination wants verbs", "no device"},
    {WIRE_CAN_TCP, "asked for", USABLE(TERN_TRANSPORT_VERBS), -EOPNOTSUPP, "destination wants verbs", "source"},
    {WIRE_CAN_VERBS, "", USABLE(TERN_TRANSPORT_TCP), -EOPNOTSUPP, "source wants verbs", "wants tcp"},
    {WIRE_CAN_VERBS, "", UNUSABLE(TERN_TRANSPORT_AUTO), -EOPNOTSUPP, "source wants verbs", "no port is up"},
    {WIRE_CAN_VERBS, "", UNUSABLE(TERN_TRANSPORT_VERBS), -EOPNOTSUPP, "destination wants verbs", "no port is up"},
    {CAN_BOTH, "", UNUSABLE(TERN_TRANSPORT_VERBS), -EOPNOTSUPP, "destination", "no port is up"},
};

static void choose(const struct choice *choice, size_t i)
{
    struct tern_error error = {0};
    char reason[128] = "";
    const char *text;
    int r;

    same();
    hello.transports = choice->source;
    strcpy(hello.no_verbs, choice->no_verbs_at_source);
    r = transport_choose(&hello, &choice->here, reason, &error);
    cr_assert_eq(r, choice->chosen, "choice %zu: %d, not %d (%s%s)", i, r, choice->chosen, reason, error.message);
    text = r < 0 ? error.message : reason;
    cr_assert_not_null(strstr(text, choice->reason), "choice %zu: %s", i, text);
    cr_assert_not_null(strstr(text, choice->reason_too), "choice %zu: %s", i, text);
    if (r < 0)
        cr_assert_gt(strlen(error.hint), 0);
}

Test(transport_choose, every_case)
{
    for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++)
        choose(&choices[i], i);
}

/* Reasons come from the peer as well: the longest one fits. */
Test(transport_choose, long_reasons_are_cut)
{
    struct transport_choice usable = {TERN_TRANSPORT_AUTO, true, "rxe0", NULL};
    char reason[128];

    same();
    hello.transports = WIRE_CAN_TCP;
    memset(hello.no_verbs, 'x', sizeof(hello.no_verbs) - 1);
    cr_assert_eq(transport_choose(&hello, &usable, reason, NULL), TERN_TRANSPORT_TCP);
    cr_assert_not_null(memchr(reason, 0, sizeof(reason)));
}
