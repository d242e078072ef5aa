/* SPDX-License-Identifier: BSD-2-Clause */
/* Connecting a lost lane again takes a second where nobody answers, so each try is a thread of its own beside the
 * session. One at a time. */
#ifndef MIGRATE_REJOIN_H
#define MIGRATE_REJOIN_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/link.h"

struct rejoin;

/* rejoin_create: provider has rejoin. link is borrowed until rejoin_destroy. errors -ENOMEM */
int rejoin_create(const struct link_provider *provider, struct link_source *link, struct rejoin **out,
                  struct tern_error *error);
/* rejoin_start: try lane. None is under way. */
void rejoin_start(struct rejoin *rejoin, uint32_t lane);
/* rejoin_ended: has the last try ended since this was asked last? Then which lane, and whether it is connected; if not,
 * *error says why. */
bool rejoin_ended(struct rejoin *rejoin, uint32_t *lane, bool *joined, struct tern_error *error);
bool rejoin_running(const struct rejoin *rejoin);
/* rejoin_stop: a try that is under way ends soon, and later ones at once. Any thread. */
void rejoin_stop(struct rejoin *rejoin);
/* rejoin_destroy: stops, waits, frees. Takes NULL. */
void rejoin_destroy(struct rejoin *rejoin);

#endif
