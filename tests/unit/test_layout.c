/* SPDX-License-Identifier: BSD-2-Clause */
/* Which transport a destination chooses, and what it says of the choice. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "migrate/layout.h"

#define BOTH (WIRE_CAN_VERBS | WIRE_CAN_TCP)

/* transports: what the source's HELLO offers. chosen: -EOPNOTSUPP, text is then the error's. */
static const struct choice {
    uint32_t transports;
    const char *source_why;
    enum tern_transport wanted;
    bool usable;
    const char *here_why;
    int chosen;
    const char *text;
} choices[] = {
    {BOTH, "", TERN_TRANSPORT_AUTO, true, "", TERN_TRANSPORT_VERBS, "both ends have an RDMA device"},
    {WIRE_CAN_VERBS, "", TERN_TRANSPORT_AUTO, true, "", TERN_TRANSPORT_VERBS, "asked for"},
    {WIRE_CAN_VERBS, "", TERN_TRANSPORT_VERBS, true, "", TERN_TRANSPORT_VERBS, "asked for"},
    {BOTH, "", TERN_TRANSPORT_AUTO, false, "no RDMA device", TERN_TRANSPORT_TCP, "destination: no RDMA device"},
    {WIRE_CAN_TCP, "no RDMA device", TERN_TRANSPORT_AUTO, true, "", TERN_TRANSPORT_TCP, "source: no RDMA device"},
    {WIRE_CAN_TCP, "no RDMA device", TERN_TRANSPORT_AUTO, false, "rxe0 is down", TERN_TRANSPORT_TCP,
     "source: no RDMA device"},
    {WIRE_CAN_TCP, "asked for", TERN_TRANSPORT_AUTO, true, "", TERN_TRANSPORT_TCP, "asked for"},
    {BOTH, "", TERN_TRANSPORT_TCP, false, "", TERN_TRANSPORT_TCP, "asked for at the destination"},
    {WIRE_CAN_VERBS, "", TERN_TRANSPORT_AUTO, false, "no RDMA device", -EOPNOTSUPP,
     "the source wants verbs, the destination cannot: no RDMA device"},
    {WIRE_CAN_VERBS, "", TERN_TRANSPORT_TCP, false, "", -EOPNOTSUPP,
     "the source wants verbs, the destination wants tcp"},
    {WIRE_CAN_TCP, "no RDMA device", TERN_TRANSPORT_VERBS, true, "", -EOPNOTSUPP,
     "the destination wants verbs, the source cannot: no RDMA device"},
    {BOTH, "", TERN_TRANSPORT_VERBS, false, "rxe0 is down", -EOPNOTSUPP,
     "the destination wants verbs, and cannot: rxe0 is down"},
    {0, "", TERN_TRANSPORT_AUTO, true, "", -EOPNOTSUPP, "the source"},
};

Test(transport, is_chosen_and_explained)
{
    for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++) {
        const struct choice *c = &choices[i];
        struct transport_choice here = {
            .wanted = c->wanted, .verbs_usable = c->usable, .device = "rxe0", .no_verbs = c->here_why};
        struct wire_hello hello = {.transports = c->transports};
        struct tern_error error = {0};
        char reason[128] = "";

        strcpy(hello.no_verbs, c->source_why);
        cr_assert_eq(transport_choose(&hello, &here, reason, &error), c->chosen, "choice %zu", i);
        if (c->chosen > 0) {
            cr_assert_str_eq(reason, c->text, "choice %zu", i);
            continue;
        }
        cr_assert_not_null(strstr(error.message, c->text), "choice %zu: %s", i, error.message);
        cr_assert_gt(strlen(error.hint), 0, "choice %zu", i);
    }
}
