/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/run_lists.h"

int run_list_flush(struct run_list *list, struct tern_error *error)
{
    size_t length;

    if (!list->n_runs)
        return 0;
    length = wire_put_list(list->message, list->round, list->region, list->kind, list->runs, list->n_runs);
    list->n_runs = 0;
    return control_send(list->control, WIRE_LIST, list->message, length, error);
}

int run_list_add(struct run_list *list, uint32_t round, uint32_t region, uint64_t first_page, uint64_t n_pages,
                 struct tern_error *error)
{
    struct wire_run *last = list->n_runs ? &list->runs[list->n_runs - 1] : NULL;
    int r = 0;

    if (last && list->round == round && list->region == region && last->first_page + last->n_pages == first_page) {
        last->n_pages += n_pages;
        return 0;
    }
    if (list->round != round || list->region != region || list->n_runs == RUN_LIST_RUNS)
        r = run_list_flush(list, error);
    list->round = round;
    list->region = region;
    list->runs[list->n_runs++] = (struct wire_run){first_page, n_pages};
    return r;
}
