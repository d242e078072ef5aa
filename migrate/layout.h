/* SPDX-License-Identifier: BSD-2-Clause */
/* Decisions of the destination on a source's HELLO: does the guest fit, and over what does it come. Pure. */
#ifndef MIGRATE_LAYOUT_H
#define MIGRATE_LAYOUT_H

#include "migrate/tern.h"
#include "migrate/wire.h"

/* layout_check: the same kind, regions, addresses, sizes, page sizes. -EINVAL names what differs, with both values. */
int layout_check(const struct wire_hello *hello, const struct tern_vm *vm, struct tern_error *error);

/* What the destination can use. device and no_verbs are borrowed. */
struct transport_choice {
    enum tern_transport wanted; /* here */
    bool verbs_usable;          /* here */
    const char *device;         /* if so */
    const char *no_verbs;       /* why not, if not */
};

/* transport_choose: verbs where both ends can, else tcp; reason says why in a few words.
 * returns  TERN_TRANSPORT_VERBS or TERN_TRANSPORT_TCP, or -EOPNOTSUPP with the reasons of both sides */
int transport_choose(const struct wire_hello *hello, const struct transport_choice *here, char reason[128],
                     struct tern_error *error);

#endif
