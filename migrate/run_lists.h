/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker's buffer of page runs on their way to the destination as LIST messages. One region and round at a time. */
#ifndef MIGRATE_RUN_LISTS_H
#define MIGRATE_RUN_LISTS_H

#include "migrate/wire.h"
#include "transport/control.h"

#define RUN_LIST_RUNS 1024u

struct run_list {
    struct control *control;
    enum wire_list_kind kind;
    uint32_t round, region, n_runs;
    struct wire_run runs[RUN_LIST_RUNS];
    uint8_t message[RUN_LIST_RUNS * 16u + 64u];
};

/* run_list_add: note a run; neighbours are joined. Sends when full, or when region or round change. */
int run_list_add(struct run_list *list, uint32_t round, uint32_t region, uint64_t first_page, uint64_t n_pages,
                 struct tern_error *error);
int run_list_flush(struct run_list *list, struct tern_error *error);

#endif
